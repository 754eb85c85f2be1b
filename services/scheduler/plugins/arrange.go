package plugins

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/services/scheduler/framework"
)

// everything stands for all default plugins where plugins are disabled.
const everything = "*"

// Arrangement is which plugins run at each extension point, in their order.
type Arrangement map[framework.Point][]Enabled

// Arrange works out where plugins run, by the rules of Kubernetes: those that
// a configuration enables at an extension point come before its multiPoint
// ones, and these before the default ones, in what they say of a plugin; a
// plugin that is disabled at a point runs there only if it is enabled there.
func Arrange(path *field.Path, custom *configv1.Plugins) (Arrangement, field.ErrorList) {
	if custom == nil {
		custom = &configv1.Plugins{}
	}
	b := newArranger()
	multi := b.multiPoint(path.Child("multiPoint"), custom.MultiPoint)
	out := make(Arrangement)
	for _, at := range framework.Points() {
		set := pluginSet(custom, at)
		out[at] = b.at(path.Child(string(at)), at, set, multi)
	}
	for name, set := range pointsOfOthers(custom) {
		for i, p := range set.Enabled {
			b.errs = append(b.errs, field.Invalid(path.Child(name, "enabled").Index(i).Child("name"), p.Name, "there is no plugin that takes part in "+name))
		}
		b.checkDisabled(path.Child(name), set)
	}
	return out, b.errs
}

// pluginSet returns what a configuration says of an extension point.
func pluginSet(custom *configv1.Plugins, at framework.Point) *configv1.PluginSet {
	switch at {
	case framework.PreEnqueuePoint:
		return &custom.PreEnqueue
	case framework.QueueSortPoint:
		return &custom.QueueSort
	case framework.PreFilterPoint:
		return &custom.PreFilter
	case framework.FilterPoint:
		return &custom.Filter
	case framework.PostFilterPoint:
		return &custom.PostFilter
	case framework.PreScorePoint:
		return &custom.PreScore
	case framework.ScorePoint:
		return &custom.Score
	case framework.ReservePoint:
		return &custom.Reserve
	case framework.PermitPoint:
		return &custom.Permit
	case framework.PreBindPoint:
		return &custom.PreBind
	default:
		return &custom.Bind
	}
}

// pointsOfOthers are the extension points that no plugin here has.
func pointsOfOthers(custom *configv1.Plugins) map[string]*configv1.PluginSet {
	return map[string]*configv1.PluginSet{
		"postBind": &custom.PostBind, "placementGenerate": &custom.PlacementGenerate,
		"placementScore": &custom.PlacementScore, "podGroupPostFilter": &custom.PodGroupPostFilter,
	}
}

// absent are the plugins of Kubernetes that are not here. A configuration may
// disable them, as there is nothing to leave out.
func absent() []string {
	return []string{
		"DeferredPodScheduling", "GangScheduling", "NodeDeclaredFeatures", "PodGroupPodsCount", "TopologyPlacementGenerator",
	}
}

// arranger arranges plugins and collects what is wrong.
type arranger struct {
	// samples are plugins in which nobody takes part; they show where each
	// could.
	samples map[string]framework.Plugin
	errs    field.ErrorList
}

func newArranger() *arranger {
	b := &arranger{samples: make(map[string]framework.Plugin)}
	for name, entry := range Registry() {
		if p, err := entry.New(Environment{}); err == nil { // defaults are never wrong
			b.samples[name] = p
		}
	}
	return b
}

// multiPoint returns the plugins that run wherever they can: the default ones
// that are not disabled, with what the configuration says of them, then its
// others.
func (b *arranger) multiPoint(path *field.Path, set configv1.PluginSet) []Enabled {
	enabled := b.checkEnabled(path, &set)
	disabled := b.checkDisabled(path, &set)
	var out []Enabled
	for _, e := range Defaults() {
		e.Weight = max(e.Weight, 1)
		if disabled[everything] || disabled[e.Name] {
			continue
		}
		if i := indexOf(enabled, e.Name); i >= 0 {
			e = enabled[i]
			enabled = slices.Delete(enabled, i, i+1)
		}
		out = append(out, e)
	}
	return append(out, enabled...)
}

// at returns the plugins of one extension point: first those of multi that are
// also enabled here, in the order of here, then the others of multi, then the
// others of here.
func (b *arranger) at(path *field.Path, at framework.Point, set *configv1.PluginSet, multi []Enabled) []Enabled {
	own := b.checkEnabled(path, set)
	disabled := b.checkDisabled(path, set)
	for i, p := range set.Enabled {
		if b.known(p.Name) && !b.implements(p.Name, at) {
			b.errs = append(b.errs, field.Invalid(path.Child("enabled").Index(i).Child("name"), p.Name, fmt.Sprintf("the plugin takes no part in %s", at)))
		}
	}
	var again, rest, others []Enabled
	for _, e := range multi {
		if b.implements(e.Name, at) && !disabled[everything] && !disabled[e.Name] && indexOf(own, e.Name) < 0 {
			rest = append(rest, e)
		}
	}
	for _, e := range own {
		if !disabled[everything] && !disabled[e.Name] && indexOf(multi, e.Name) >= 0 {
			again = append(again, e)
		} else {
			others = append(others, e)
		}
	}
	return slices.Concat(again, rest, others)
}

func indexOf(list []Enabled, name string) int {
	return slices.IndexFunc(list, func(e Enabled) bool { return e.Name == name })
}

// implements says whether a plugin can take part in a point.
func (b *arranger) implements(name string, at framework.Point) bool {
	return framework.Implements(b.samples[name], at)
}

func (b *arranger) known(name string) bool { return b.samples[name] != nil }

// checkEnabled returns the plugins that a set enables and that exist.
func (b *arranger) checkEnabled(path *field.Path, set *configv1.PluginSet) []Enabled {
	var out []Enabled
	for i, p := range set.Enabled {
		at := path.Child("enabled").Index(i)
		var weight int64
		if p.Weight != nil {
			weight = int64(*p.Weight)
		}
		switch {
		case p.Name == "":
			b.errs = append(b.errs, field.Required(at.Child("name"), "must name a plugin"))
		case !b.known(p.Name):
			b.errs = append(b.errs, field.NotSupported(at.Child("name"), p.Name, Names()))
		case indexOf(out, p.Name) >= 0:
			b.errs = append(b.errs, field.Duplicate(at.Child("name"), p.Name))
		case weight < 0:
			b.errs = append(b.errs, field.Invalid(at.Child("weight"), weight, "must be greater than 0, or 0 for 1"))
		default:
			out = append(out, Enabled{Name: p.Name, Weight: max(weight, 1)})
		}
	}
	return out
}

func (b *arranger) checkDisabled(path *field.Path, set *configv1.PluginSet) map[string]bool {
	out := make(map[string]bool)
	for i, p := range set.Disabled {
		at := path.Child("disabled").Index(i).Child("name")
		if !b.known(p.Name) && p.Name != everything && !slices.Contains(absent(), p.Name) {
			b.errs = append(b.errs, field.NotSupported(at, p.Name, append([]string{everything}, Names()...)))
		}
		out[p.Name] = true
	}
	return out
}
