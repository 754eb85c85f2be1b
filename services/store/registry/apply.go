package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/yaml"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
)

// Applied is what became of an Apply.
type Applied struct {
	Version *cache.Version
	// Created says that there was no such object before.
	Created bool
	// Warnings are about the applied configuration.
	Warnings []string
}

// merge returns live with an applied configuration merged in.
func merge[O runtime.Object](m *managedfields.FieldManager, w Write, live O, patch *unstructured.Unstructured, force bool) (O, error) {
	var none O
	merged, err := m.Apply(live, patch.DeepCopy(), w.Manager, force)
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &status):
		return none, err
	case err != nil:
		return none, apierrors.NewBadRequest(err.Error())
	}
	obj, ok := merged.(O)
	if !ok {
		return none, fmt.Errorf("apply %s %s: the result is a %T", w.Kind.Kind, w.Name, merged)
	}
	return obj, nil
}

// parseApplied reads an applied configuration and checks that it is for the
// object that the request names, which is of kind gvk.
func parseApplied(w Write, opts PatchOptions, gvk schema.GroupVersionKind) (*unstructured.Unstructured, []string, error) {
	patch, err := decodeApplied(opts.Patch)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	if w.Manager == "" {
		return nil, nil, apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("PatchOptions").GroupKind(), "", field.ErrorList{
			field.Required(field.NewPath("fieldManager"), "is required for apply patch"),
		})
	}
	if err := checkMetadata(patch); err != nil {
		return nil, nil, err
	}
	switch got := patch.GroupVersionKind(); {
	case got.Group == gvk.Group && got.Kind == gvk.Kind && got.Version != gvk.Version:
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf(
			"Incorrect version specified in apply patch. Specified patch version: %s, expected: %s", got.GroupVersion(), gvk.GroupVersion()))
	case got != gvk:
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("invalid object type: %v", got))
	case patch.GetManagedFields() != nil:
		return nil, nil, apierrors.NewBadRequest("metadata.managedFields must be nil")
	case patch.GetName() != "" && patch.GetName() != w.Name:
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", patch.GetName(), w.Name))
	}
	warnings, err := repeatedKeys(opts)
	return patch, warnings, err
}

// decodeApplied reads a document in YAML, of which JSON is a part. Whole numbers are
// integers, as everywhere else in objects.
func decodeApplied(document []byte) (*unstructured.Unstructured, error) {
	obj := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(document, &obj.Object); err != nil {
		return nil, err
	}
	return obj, nil
}

// checkMetadata refuses metadata that is no metadata, which accessors would
// take for none.
func checkMetadata(patch *unstructured.Unstructured) error {
	raw, given := patch.Object["metadata"]
	if !given || raw == nil {
		return nil
	}
	fields, ok := raw.(map[string]any)
	if !ok {
		return apierrors.NewBadRequest("metadata of the applied configuration is not an object")
	}
	var meta metav1.ObjectMeta
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &meta); err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("metadata of the applied configuration: %v", err))
	}
	return nil
}

// repeatedKeys judges keys that a configuration holds twice.
func repeatedKeys(opts PatchOptions) ([]string, error) {
	if opts.Validation == storev1.FieldValidation_FIELD_VALIDATION_IGNORE {
		return nil, nil
	}
	err := yaml.UnmarshalStrict(opts.Patch, &map[string]any{})
	switch {
	case err == nil:
		return nil, nil
	case opts.Validation == storev1.FieldValidation_FIELD_VALIDATION_STRICT:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error strict decoding patch: %v", err))
	}
	_, each, found := strings.Cut(err.Error(), "yaml: unmarshal errors:\n")
	if !found {
		return []string{err.Error()}, nil
	}
	var warnings []string
	for line := range strings.Lines(each) {
		warnings = append(warnings, strings.TrimSpace(line))
	}
	return warnings, nil
}

// Apply merges an applied configuration into an object, or makes the object of
// it.
func (r *Registry) Apply(ctx context.Context, w Write, opts PatchOptions) (Applied, error) {
	patch, warnings, err := parseApplied(w, opts, w.Kind.GVK())
	if err != nil {
		return Applied{}, err
	}
	out := Applied{Warnings: warnings}
	w.applied = true
	for range conflictAttempts {
		out.Version, err = r.applyChange(ctx, w, patch, opts.Force)
		if !apierrors.IsNotFound(err) || w.Subresource != "" {
			return out, err
		}
		if patch.GetUID() != "" {
			return out, apierrors.NewConflict(w.Kind.GroupResource(), w.Name, fmt.Errorf("uid mismatch: the provided object specified uid %s, and no existing object was found", patch.GetUID()))
		}
		out.Version, err = r.applyNew(ctx, w, patch, opts)
		if !apierrors.IsAlreadyExists(err) {
			out.Created = err == nil
			return out, err
		}
	}
	return out, err
}

func (r *Registry) applyChange(ctx context.Context, w Write, patch *unstructured.Unstructured, force bool) (*cache.Version, error) {
	m, err := r.tracker.manager(w.Kind, w.Subresource)
	if err != nil {
		return nil, err
	}
	return r.Change(ctx, w, func(cur *cache.Version) (kinds.Object, error) {
		return merge(m, w, cur.Object().DeepCopyObject().(kinds.Object), patch, force)
	})
}

func (r *Registry) applyNew(ctx context.Context, w Write, patch *unstructured.Unstructured, opts PatchOptions) (*cache.Version, error) {
	if opts.MayCreate != nil {
		if err := opts.MayCreate(); err != nil {
			return nil, err
		}
	}
	m, err := r.tracker.manager(w.Kind, "")
	if err != nil {
		return nil, err
	}
	obj, err := merge(m, w, r.tracker.empty(w.Kind), patch, opts.Force)
	if err != nil {
		return nil, err
	}
	obj.SetName(w.Name)
	return r.Create(ctx, w, obj)
}
