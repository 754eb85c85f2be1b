package registry

import (
	"fmt"
	"sync"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	registrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	registration "k8s.io/kube-aggregator/pkg/client/applyconfiguration"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"navarch.dev/navarch/internal/kinds"
)

const (
	// unnamedManager is recorded for writers that do not say who they are.
	unnamedManager = "unknown"
	// earlierManager owns what an object held before its fields were tracked.
	earlierManager = "before-first-apply"
)

// tracker keeps metadata.managedFields, by which server-side apply merges.
//
// An object is tracked from its creation on if a user made it, through a
// gateway. What the services make for themselves, pods above all, is tracked
// once a user writes to it: until then nobody could be in anybody's way, and
// most such objects live and die without paying for it.
type tracker struct {
	kinds *kinds.Registry
	// shared are the kinds whose objects are shown in several versions.
	shared map[schema.GroupKind]bool
	known  outcomes

	mu       sync.Mutex // guards the fields below
	types    managedfields.TypeConverter
	scheme   *runtime.Scheme
	managers map[managerKey]*managedfields.FieldManager
}

type managerKey struct {
	gvk         schema.GroupVersionKind
	subresource string
	// custom is the kind itself where that can be replaced.
	custom *kinds.Kind
}

func newTracker(k *kinds.Registry) *tracker {
	t := &tracker{kinds: k, shared: make(map[schema.GroupKind]bool), known: newOutcomes(), managers: make(map[managerKey]*managedfields.FieldManager)}
	for _, kind := range k.All() {
		if kind.StoredAs == nil {
			continue
		}
		t.shared[kind.GVK().GroupKind()] = true
		if stored, ok := k.ForResource(kind.StoredAs.GVR); ok {
			t.shared[stored.GVK().GroupKind()] = true
		}
	}
	return t
}

// manager returns what merges and tracks a kind's fields. The schemas of all
// kinds are read when the first is needed.
func (t *tracker) manager(kind *kinds.Kind, subresource string) (*managedfields.FieldManager, error) {
	if kind.Custom != nil {
		return t.customManager(managerKey{kind.GVK(), subresource, kind})
	}
	return t.managerOf(managerKey{kind.GVK(), subresource, nil}, writable(kind, subresource))
}

// scaleManager is manager for the form in which every kind's scale is shown.
func (t *tracker) scaleManager() (*managedfields.FieldManager, error) {
	return t.managerOf(managerKey{scaleGVK(), "scale", nil}, nil)
}

// customManager is managerOf for a custom kind. Those of kinds that are no longer
// what they were are forgotten.
func (t *tracker) customManager(key managerKey) (*managedfields.FieldManager, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m, ok := t.managers[key]; ok {
		return m, nil
	}
	for have := range t.managers {
		if have.custom == nil {
			continue
		}
		select {
		case <-have.custom.Custom.Retired:
			delete(t.managers, have)
		default:
		}
	}
	m, err := customManager(key.custom, key.subresource)
	if err != nil {
		return nil, err
	}
	t.managers[key] = m
	return m, nil
}

func (t *tracker) managerOf(key managerKey, kept fieldpath.Filter) (*managedfields.FieldManager, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m, ok := t.managers[key]; ok {
		return m, nil
	}
	t.readTypes()
	types := t.types
	if key.gvk == scaleGVK() || isDefinition(key.gvk) {
		types = managedfields.NewDeducedTypeConverter() // no schema has them; their lists are replaced as a whole
	}
	gv := key.gvk.GroupVersion()
	var filters map[fieldpath.APIVersion]fieldpath.Filter
	if kept != nil {
		filters = map[fieldpath.APIVersion]fieldpath.Filter{fieldpath.APIVersion(gv.String()): kept}
	}
	m, err := managedfields.NewDefaultFieldManager(types, versions{t.scheme, t.kinds}, t.scheme, t.scheme, key.gvk, gv, key.subresource, filters)
	if err != nil {
		return nil, fmt.Errorf("prepare to track the fields of %s: %w", key.gvk.Kind, err)
	}
	t.managers[key] = m
	return m, nil
}

// fieldTypes tells which fields the kinds have, and how they merge.
func (t *tracker) fieldTypes() managedfields.TypeConverter {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.readTypes()
	return t.types
}

// readTypes reads the schemas of all kinds once. t.mu must be held.
func (t *tracker) readTypes() {
	if t.types == nil {
		t.scheme = schemeOf(t.kinds)
		t.types = newFieldTypes(schemas{
			TypeConverter: applyconfigurations.NewTypeConverter(t.scheme),
			byGroup:       map[string]managedfields.TypeConverter{registrationv1.GroupName: registration.NewTypeConverter(t.scheme)},
		}, t.kinds)
	}
}

// schemeOf returns a scheme of the stored kinds and of scales.
func schemeOf(k *kinds.Registry) *runtime.Scheme {
	s := runtime.NewScheme()
	for _, kind := range k.Stock() {
		s.AddKnownTypeWithName(kind.GVK(), kind.New())
	}
	s.AddKnownTypes(autoscalingv1.SchemeGroupVersion, &autoscalingv1.Scale{})
	return s
}

// writable keeps the fields that a write to a resource or subresource can
// change, so that nobody comes to own others by writing there; nil keeps all.
func writable(kind *kinds.Kind, subresource string) fieldpath.Filter {
	without := func(paths ...fieldpath.Path) fieldpath.Filter {
		return fieldpath.NewExcludeSetFilter(fieldpath.NewSet(paths...))
	}
	switch {
	case kind.Kind == "CertificateSigningRequest": // nobody owns what was asked for
		kept := map[string][]any{"": {"status"}, "status": {"status", "conditions"}, "approval": {"status", "certificate"}}
		return without(fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie(kept[subresource]...))
	case subresource == "" && kind.HasSubresource("status"):
		return without(fieldpath.MakePathOrDie("status"))
	case subresource == "status" && kind.Kind == "Node": // agents report labels too
		return without(fieldpath.MakePathOrDie("spec"))
	case subresource == "status":
		return without(
			fieldpath.MakePathOrDie("spec"),
			fieldpath.MakePathOrDie("metadata", "labels"),
			fieldpath.MakePathOrDie("metadata", "finalizers"),
			fieldpath.MakePathOrDie("metadata", "ownerReferences"),
		)
	case subresource == "ephemeralcontainers":
		return fieldpath.NewIncludeMatcherFilter(fieldpath.MakePrefixMatcherOrDie("spec", "ephemeralContainers"))
	case subresource == "resize":
		every := fieldpath.MatchAnyPathElement()
		return fieldpath.NewIncludeMatcherFilter(
			fieldpath.MakePrefixMatcherOrDie("spec", "containers", every, "resources"),
			fieldpath.MakePrefixMatcherOrDie("spec", "containers", every, "resizePolicy"),
			fieldpath.MakePrefixMatcherOrDie("spec", "initContainers", every, "resources"),
			fieldpath.MakePrefixMatcherOrDie("spec", "initContainers", every, "resizePolicy"),
		)
	}
	return nil
}

// trackNew records whose the fields of a new object are.
func (t *tracker) trackNew(w Write, obj kinds.Object) error {
	if w.applied || !w.FromUser && len(obj.GetManagedFields()) == 0 {
		return nil
	}
	if t.converted(w.Kind, obj) {
		return t.update(w, obj, t.empty(w.Kind))
	}
	return t.updateAlike(w, obj, t.empty(w.Kind))
}

// track records what a write other than an apply changed.
func (t *tracker) track(w Write, obj, old kinds.Object) error {
	tracked := len(obj.GetManagedFields()) > 0 || len(old.GetManagedFields()) > 0
	switch {
	case w.applied || !tracked && !w.FromUser:
		return nil
	case !tracked && obj.GetManagedFields() != nil:
		obj.SetManagedFields(nil) // an empty list: not to be tracked
		return nil
	}
	whole := t.converted(w.Kind, obj)
	var live kinds.Object
	if whole {
		live = old.DeepCopyObject().(kinds.Object)
	} else {
		live = shallow(old) // managed fields alone are set in it
	}
	if !tracked {
		if err := t.begin(w.Kind, live); err != nil {
			return err
		}
	}
	if whole {
		return t.update(w, obj, live)
	}
	changed, live := differing(obj, live)
	if err := t.updateAlike(w, changed, live); err != nil {
		return err
	}
	obj.GetObjectKind().SetGroupVersionKind(w.Kind.GVK())
	obj.SetManagedFields(changed.GetManagedFields())
	return nil
}

// begin records an object's fields as being there already.
func (t *tracker) begin(kind *kinds.Kind, obj kinds.Object) error {
	return t.update(Write{Kind: kind, Manager: earlierManager}, obj, t.empty(kind))
}

func (t *tracker) empty(kind *kinds.Kind) kinds.Object {
	obj := kind.New()
	obj.GetObjectKind().SetGroupVersionKind(kind.GVK())
	return obj
}

// converted tells whether an object is tracked as a whole: a part of it cannot be
// converted between versions or to a Go type.
func (t *tracker) converted(kind *kinds.Kind, obj kinds.Object) bool {
	return isUnstructured(obj) || t.shared[kind.GVK().GroupKind()]
}

// updateAlike is update, with what a write that touched the same fields was found
// to make of managed fields.
func (t *tracker) updateAlike(w Write, obj, live kinds.Object) error {
	key, before, ok := t.known.keyOf(w, obj, live)
	if ok {
		if after, have := t.known.get(key, before, time.Now().UTC()); have {
			obj.GetObjectKind().SetGroupVersionKind(w.Kind.GVK())
			obj.SetManagedFields(after)
			return nil
		}
	}
	if err := t.update(w, obj, live); err != nil {
		return err
	}
	if ok {
		t.known.add(key, w, before, obj.GetManagedFields())
	}
	return nil
}

func (t *tracker) update(w Write, obj, live kinds.Object) error {
	m, err := t.manager(w.Kind, w.Subresource)
	if err != nil {
		return err
	}
	obj.GetObjectKind().SetGroupVersionKind(w.Kind.GVK())
	if tracked, ok := m.UpdateNoErrors(live, obj, managerName(w)).(kinds.Object); ok {
		obj.SetManagedFields(tracked.GetManagedFields())
	}
	return nil
}

func managerName(w Write) string {
	if w.Manager == "" {
		return unnamedManager
	}
	return w.Manager
}
