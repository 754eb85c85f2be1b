package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/cache"
)

// unnamedManager is recorded for writers that do not say who they are.
const unnamedManager = "unknown"

// applier keeps metadata.managedFields, which server-side apply merges by. The
// fields of an object are tracked from its first apply on: what nobody applies
// need not pay for it.
type applier struct {
	kinds *kinds.Registry

	mu       sync.Mutex // guards the fields below
	types    managedfields.TypeConverter
	scheme   *runtime.Scheme
	managers map[managerKey]*managedfields.FieldManager
}

type managerKey struct {
	gvk         schema.GroupVersionKind
	subresource string
}

func newApplier(k *kinds.Registry) *applier {
	return &applier{kinds: k, managers: make(map[managerKey]*managedfields.FieldManager)}
}

// manager returns what merges and tracks a kind's fields. The schemas of all
// kinds are read when the first is needed.
func (a *applier) manager(kind *kinds.Kind, subresource string) (*managedfields.FieldManager, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := managerKey{kind.GVK(), subresource}
	if m, ok := a.managers[key]; ok {
		return m, nil
	}
	if a.types == nil {
		a.scheme = schemeOf(a.kinds)
		a.types = applyconfigurations.NewTypeConverter(a.scheme)
	}
	m, err := managedfields.NewDefaultFieldManager(a.types, a.scheme, a.scheme, a.scheme, kind.GVK(), kind.GVK().GroupVersion(), subresource, nil)
	if err != nil {
		return nil, fmt.Errorf("prepare to apply %s: %w", kind.Kind, err)
	}
	a.managers[key] = m
	return m, nil
}

// schemeOf returns a scheme of the stored kinds.
func schemeOf(k *kinds.Registry) *runtime.Scheme {
	s := runtime.NewScheme()
	for _, kind := range k.All() {
		s.AddKnownTypeWithName(kind.GVK(), kind.New())
	}
	return s
}

// track records what a write other than an apply changed, if the object's
// fields are tracked.
func (a *applier) track(w Write, obj, old kinds.Object) error {
	if w.applied || old == nil || (len(obj.GetManagedFields()) == 0 && len(old.GetManagedFields()) == 0) {
		return nil
	}
	m, err := a.manager(w.Kind, w.Subresource)
	if err != nil {
		return err
	}
	name := w.Manager
	if name == "" {
		name = unnamedManager
	}
	tracked, ok := m.UpdateNoErrors(old.DeepCopyObject(), obj, name).(kinds.Object)
	if ok {
		obj.SetManagedFields(tracked.GetManagedFields())
	}
	return nil
}

// merge returns live with an applied configuration merged in.
func (a *applier) merge(w Write, live kinds.Object, patch *unstructured.Unstructured, force bool) (kinds.Object, error) {
	m, err := a.manager(w.Kind, w.Subresource)
	if err != nil {
		return nil, err
	}
	merged, err := m.Apply(live, patch.DeepCopy(), w.Manager, force)
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &status):
		return nil, err
	case err != nil:
		return nil, apierrors.NewBadRequest(err.Error())
	}
	obj, ok := merged.(kinds.Object)
	if !ok {
		return nil, fmt.Errorf("apply %s %s: the result is a %T", w.Kind.Kind, w.Name, merged)
	}
	return obj, nil
}

// parseApplied reads an applied configuration and checks that it is for the
// object that the request names.
func parseApplied(w Write, body []byte) (*unstructured.Unstructured, error) {
	patch := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(body, &patch.Object); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	if w.Manager == "" {
		return nil, apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("PatchOptions").GroupKind(), "", field.ErrorList{
			field.Required(field.NewPath("fieldManager"), "is required for apply patch"),
		})
	}
	switch gvk := patch.GroupVersionKind(); {
	case gvk != w.Kind.GVK():
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the applied configuration is a %s, not a %s", gvk, w.Kind.GVK()))
	case len(patch.GetManagedFields()) > 0:
		return nil, apierrors.NewBadRequest("metadata.managedFields must be nil")
	case patch.GetName() != "" && patch.GetName() != w.Name:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", patch.GetName(), w.Name))
	}
	return patch, nil
}

// Apply merges an applied configuration into an object, or makes the object of
// it.
func (r *Registry) Apply(ctx context.Context, w Write, opts PatchOptions) (v *cache.Version, created bool, err error) {
	patch, err := parseApplied(w, opts.Patch)
	if err != nil {
		return nil, false, err
	}
	w.applied = true
	for range conflictAttempts {
		v, err = r.Change(ctx, w, func(cur *cache.Version) (kinds.Object, error) {
			return r.applier.merge(w, cur.Object.DeepCopyObject().(kinds.Object), patch, opts.Force)
		})
		if !apierrors.IsNotFound(err) || w.Subresource != "" || patch.GetUID() != "" {
			return v, false, err
		}
		v, err = r.applyNew(ctx, w, patch, opts)
		if !apierrors.IsAlreadyExists(err) {
			return v, err == nil, err
		}
	}
	return nil, false, err
}

func (r *Registry) applyNew(ctx context.Context, w Write, patch *unstructured.Unstructured, opts PatchOptions) (*cache.Version, error) {
	if opts.MayCreate != nil {
		if err := opts.MayCreate(); err != nil {
			return nil, err
		}
	}
	empty := w.Kind.New()
	empty.GetObjectKind().SetGroupVersionKind(w.Kind.GVK())
	obj, err := r.applier.merge(w, empty, patch, opts.Force)
	if err != nil {
		return nil, err
	}
	obj.SetName(w.Name)
	return r.Create(ctx, w, obj)
}
