package plugins

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/services/scheduler/framework"
)

// Profile makes a profile of what a configuration says of it: which plugins
// run, and what each is told. Errors name the fields below path.
func Profile(path *field.Path, config *configv1.KubeSchedulerProfile, percentageOfNodes int, env Environment) (*framework.Profile, field.ErrorList) {
	arrangement, errs := Arrange(path.Child("plugins"), config.Plugins)
	args, wrong := decodeArgs(path.Child("pluginConfig"), config.PluginConfig)
	if errs = append(errs, wrong...); len(errs) > 0 {
		return nil, errs
	}
	layout, err := lay(arrangement, args, env)
	if err != nil {
		return nil, field.ErrorList{field.Invalid(path.Child("plugins"), field.OmitValueType{}, err.Error())}
	}
	settings := framework.Settings{PercentageOfNodes: percentageOfNodes, Plugins: layout}
	if set := env.Extenders; set != nil {
		settings.Extenders = set.Extenders
		if set.Binder != nil {
			layout[framework.BindPoint] = slices.Insert(layout[framework.BindPoint], 0, framework.Weighted{Plugin: set.Binder})
		}
	}
	if config.SchedulerName != nil {
		settings.SchedulerName = *config.SchedulerName
	}
	if config.PercentageOfNodesToScore != nil {
		settings.PercentageOfNodes = int(*config.PercentageOfNodesToScore)
	}
	profile, err := framework.NewProfile(settings)
	if err != nil {
		return nil, field.ErrorList{field.Invalid(path.Child("plugins"), field.OmitValueType{}, err.Error())}
	}
	return profile, nil
}

// DefaultProfile is a profile of the default plugins but some.
func DefaultProfile(schedulerName string, disabled []string) configv1.KubeSchedulerProfile {
	p := configv1.KubeSchedulerProfile{SchedulerName: &schedulerName}
	if len(disabled) > 0 {
		p.Plugins = &configv1.Plugins{}
		for _, name := range disabled {
			p.Plugins.MultiPoint.Disabled = append(p.Plugins.MultiPoint.Disabled, configv1.Plugin{Name: name})
		}
	}
	return p
}

// decodeArgs returns what each plugin is told, by its name.
func decodeArgs(path *field.Path, configs []configv1.PluginConfig) (map[string]any, field.ErrorList) {
	registry := Registry()
	out := make(map[string]any)
	var errs field.ErrorList
	for i := range configs {
		c := &configs[i]
		at := path.Index(i)
		switch entry, known := registry[c.Name]; {
		case !known:
			errs = append(errs, field.NotSupported(at.Child("name"), c.Name, configurable(registry)))
		case entry.decode == nil:
			errs = append(errs, field.Invalid(at.Child("name"), c.Name, "the plugin takes no arguments"))
		case out[c.Name] != nil:
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		default:
			args, wrong := entry.decode(at.Child("args"), c.Name, c.Args.Raw)
			errs = append(errs, wrong...)
			out[c.Name] = args
		}
	}
	return out, errs
}

// configurable returns the names of the plugins that take arguments.
func configurable(registry map[string]Entry) []string {
	return slices.DeleteFunc(Names(), func(name string) bool { return registry[name].decode == nil })
}

// lay makes each plugin once and puts it where it runs.
func lay(arrangement Arrangement, args map[string]any, env Environment) (framework.Layout, error) {
	registry := Registry()
	made := make(map[string]framework.Plugin)
	layout := make(framework.Layout)
	for _, at := range framework.Points() {
		for _, e := range arrangement[at] {
			p, ok := made[e.Name]
			if !ok {
				var err error
				if p, err = create(registry[e.Name], args[e.Name], env); err != nil {
					return nil, fmt.Errorf("make plugin %s: %w", e.Name, err)
				}
				made[e.Name] = p
			}
			layout[at] = append(layout[at], framework.Weighted{Plugin: p, Weight: e.Weight})
		}
	}
	return layout, nil
}

func create(entry Entry, args any, env Environment) (framework.Plugin, error) {
	if args == nil {
		return entry.New(env)
	}
	return entry.create(env, args)
}
