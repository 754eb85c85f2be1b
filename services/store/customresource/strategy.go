package customresource

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/structural"
	"navarch.dev/navarch/internal/structural/rules"
)

// strategy is how the objects of one version are written.
type strategy struct {
	kind   *kinds.Kind
	schema *structural.Schema
	rules  *rules.Rules
	// status says that the version has the status subresource.
	status bool
}

func newStrategy(k *kinds.Kind, s *structural.Schema) *strategy {
	compiled, _ := rules.New(s) // what cannot be compiled was refused when the definition was written
	return &strategy{kind: k, schema: s, rules: compiled, status: k.HasSubresource("status")}
}

func (s *strategy) strategy() kinds.Strategy {
	return kinds.Strategy{
		PrepareForCreate:       s.create,
		PrepareForUpdate:       s.update,
		PrepareForStatusUpdate: s.statusUpdate,
		Default:                func(obj kinds.Object) { s.schema.ApplyDefaults(fields(obj)) },
		ValidateCreate:         s.validateCreate,
		ValidateUpdate:         s.validateUpdate,
		ValidateStatusUpdate:   s.validateStatusUpdate,
		SpecChanged:            specChanged,
		Warnings:               func(_ context.Context, obj kinds.Object) []string { return finalizerWarnings(obj) },
	}
}

func fields(obj kinds.Object) map[string]any { return obj.(*unstructured.Unstructured).Object }

// create drops the status, which is not a creator's to set where it has a
// subresource of its own.
func (s *strategy) create(obj kinds.Object) {
	if s.status {
		delete(fields(obj), "status")
	}
}

func (s *strategy) update(obj, old kinds.Object) {
	if !s.status {
		return
	}
	if was, ok := fields(old)["status"]; ok {
		fields(obj)["status"] = was
	} else {
		delete(fields(obj), "status")
	}
}

// statusUpdate keeps everything but the status and what was noted of whose it
// is.
func (s *strategy) statusUpdate(obj, old kinds.Object) {
	sent := obj.(*unstructured.Unstructured)
	status, given := sent.Object["status"]
	managed, version := sent.GetManagedFields(), sent.GetResourceVersion()
	kept := old.DeepCopyObject().(*unstructured.Unstructured)
	if given {
		kept.Object["status"] = status
	} else {
		delete(kept.Object, "status")
	}
	kept.SetManagedFields(managed)
	kept.SetResourceVersion(version)
	sent.Object = kept.Object
}

// specChanged says whether anything but the metadata has changed.
func specChanged(obj, old kinds.Object) bool {
	return !equality.Semantic.DeepEqual(withoutMeta(obj), withoutMeta(old))
}

func withoutMeta(obj kinds.Object) map[string]any {
	out := make(map[string]any)
	for name, value := range fields(obj) {
		if name != "metadata" {
			out[name] = value
		}
	}
	return out
}

func (s *strategy) validateCreate(obj kinds.Object) field.ErrorList {
	o := fields(obj)
	errs := s.schema.Validate(o)
	errs = append(errs, s.validateScale(o, "spec", "status")...)
	errs = append(errs, s.schema.CheckEmbedded(o, nil)...)
	errs = append(errs, s.schema.ValidateLists(o)...)
	return append(errs, s.judge(errs, o, nil)...)
}

// judge evaluates the schema's rules, unless what was found already keeps them
// from being understood.
func (s *strategy) judge(found field.ErrorList, obj, old map[string]any) field.ErrorList {
	if s.rules.None() {
		return nil
	}
	for _, err := range found {
		switch err.Type {
		case field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid, field.ErrorTypeNotSupported:
			return field.ErrorList{field.Invalid(nil, nil,
				"some validation rules were not checked because the object was invalid; correct the existing errors to complete validation")}
		}
	}
	return s.rules.Validate(context.Background(), obj, old)
}

func (s *strategy) validateUpdate(obj, old kinds.Object) field.ErrorList {
	o, was := fields(obj), fields(old)
	errs := s.schema.Changed(s.schema.Validate(o), o, was)
	errs = append(errs, s.validateScale(o, "spec", "status")...)
	errs = append(errs, s.schema.CheckEmbedded(o, nil)...)
	if len(s.schema.ValidateLists(was)) == 0 {
		errs = append(errs, s.schema.ValidateLists(o)...)
	}
	return append(errs, s.judge(errs, o, was)...)
}

func (s *strategy) validateStatusUpdate(obj, old kinds.Object) field.ErrorList {
	o, was := fields(obj), fields(old)
	var errs field.ErrorList
	if status, ok := o["status"]; ok {
		errs = s.schema.Changed(s.schema.ValidateStatus(status), o, was)
	}
	errs = append(errs, s.validateScale(o, "status")...)
	errs = append(errs, s.schema.ValidateLists(map[string]any{"status": o["status"]})...)
	return append(errs, s.judge(errs, o, was)...)
}

// validateScale says that the numbers that a scale shows are numbers.
func (s *strategy) validateScale(obj map[string]any, parts ...string) field.ErrorList {
	scale := s.kind.Custom.Scale
	if scale == nil {
		return nil
	}
	var errs field.ErrorList
	for _, path := range []string{scale.SpecReplicasPath, scale.StatusReplicasPath} {
		names := strings.Split(strings.TrimPrefix(path, "."), ".")
		if !slices.Contains(parts, names[0]) {
			continue
		}
		at := field.NewPath(names[0], names[1:]...)
		switch n, given, err := unstructured.NestedInt64(obj, names...); {
		case err != nil:
			errs = append(errs, field.Invalid(at, "", err.Error()))
		case given && n < 0:
			errs = append(errs, field.Invalid(at, n, "should be a non-negative integer"))
		case given && n > 1<<31-1:
			errs = append(errs, field.Invalid(at, n, "should be less than or equal to 2147483647"))
		}
	}
	return errs
}

// finalizerWarnings advises on names of finalizers that others may choose too.
func finalizerWarnings(obj kinds.Object) []string {
	var out []string
	const at = "metadata.finalizers"
	for _, name := range obj.GetFinalizers() {
		for _, msg := range validation.IsQualifiedName(name) {
			out = append(out, fmt.Sprintf("%s: %q: %s", at, name, msg))
		}
		switch {
		case strings.Contains(name, "/"), name == metav1.FinalizerOrphanDependents, name == metav1.FinalizerDeleteDependents, name == string(corev1.FinalizerKubernetes):
		case strings.Contains(name, "."):
			out = append(out, fmt.Sprintf("%s: %q: prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers", at, name))
		default:
			out = append(out, fmt.Sprintf("%s: %q: prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers", at, name))
		}
	}
	return out
}
