package registry

import (
	"context"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/kinds/rule"
)

// The functions below call a kind's strategy, or do what is right for most
// kinds where it has none: the status is written through the status
// subresource only, and nothing else is.

func runPrepareForCreate(kind *kinds.Kind, obj kinds.Object) {
	switch {
	case kind.Strategy.PrepareForCreate != nil:
		kind.Strategy.PrepareForCreate(obj)
	case kind.HasSubresource("status"):
		if s := statusOf(obj); s.IsValid() {
			s.SetZero()
		}
	}
	kind.DropDisabled(obj, nil)
}

func runPrepareForUpdate(kind *kinds.Kind, obj, old kinds.Object) {
	switch {
	case kind.Strategy.PrepareForUpdate != nil:
		kind.Strategy.PrepareForUpdate(obj, old)
	case kind.HasSubresource("status"):
		copyStatus(obj, old)
	}
	kind.DropDisabled(obj, old)
}

func runPrepareForStatusUpdate(kind *kinds.Kind, obj, old kinds.Object) {
	defer kind.DropDisabled(obj, old)
	if kind.Strategy.PrepareForStatusUpdate != nil {
		kind.Strategy.PrepareForStatusUpdate(obj, old)
		return
	}
	was := old.DeepCopyObject().(kinds.Object)
	copyStatus(was, obj)
	was.SetResourceVersion(obj.GetResourceVersion())
	was.SetManagedFields(obj.GetManagedFields())
	reflect.ValueOf(obj).Elem().Set(reflect.ValueOf(was).Elem())
}

func runDefault(kind *kinds.Kind, obj kinds.Object) {
	if kind.Strategy.Default != nil {
		kind.Strategy.Default(obj)
	}
}

func runCanonicalize(kind *kinds.Kind, obj kinds.Object) {
	if kind.Strategy.Canonicalize != nil {
		kind.Strategy.Canonicalize(obj)
	}
}

func runValidate(kind *kinds.Kind, obj kinds.Object) field.ErrorList {
	if kind.Strategy.Validate == nil {
		return nil
	}
	return kind.Strategy.Validate(obj)
}

func runValidateCreate(kind *kinds.Kind, obj kinds.Object) field.ErrorList {
	errs := runValidate(kind, obj)
	if kind.Strategy.ValidateCreate != nil {
		errs = append(errs, kind.Strategy.ValidateCreate(obj)...)
	}
	return errs
}

// runValidateNew returns the rules that obj breaks and old does not. A rule
// that is newer than an object must not keep it from being changed in other
// ways.
func runValidateNew(kind *kinds.Kind, obj, old kinds.Object) field.ErrorList {
	errs := runValidate(kind, obj)
	if len(errs) == 0 {
		return nil
	}
	before := old.DeepCopyObject().(kinds.Object)
	runDefault(kind, before)
	return rule.Unchanged(errs, runValidate(kind, before))
}

// runValidatePart is runValidateUpdate for a subresource that writes a part.
func runValidatePart(kind *kinds.Kind, part kinds.Part, obj, old kinds.Object) field.ErrorList {
	errs := runValidateNew(kind, obj, old)
	if part.Validate != nil {
		errs = append(errs, part.Validate(obj, old)...)
	}
	return errs
}

func runValidateUpdate(kind *kinds.Kind, obj, old kinds.Object) field.ErrorList {
	errs := runValidateNew(kind, obj, old)
	if kind.Strategy.ValidateUpdate != nil {
		errs = append(errs, kind.Strategy.ValidateUpdate(obj, old)...)
	}
	return errs
}

// tell warns of what a user should know about an object that follows the rules; old
// is nil for a new one.
func tell(ctx context.Context, w Write, obj, old kinds.Object) {
	s := &w.Kind.Strategy
	switch {
	case w.Warnings == nil:
	case w.Subresource == "status" && s.StatusWarnings != nil:
		w.Warnings.Add(s.StatusWarnings(obj)...)
	case w.Subresource != "":
	case old != nil && s.UpdateWarnings != nil:
		w.Warnings.Add(s.UpdateWarnings(obj, old)...)
	case s.Warnings != nil:
		w.Warnings.Add(s.Warnings(ctx, obj)...)
	}
}

func runValidateStatusUpdate(kind *kinds.Kind, obj, old kinds.Object) field.ErrorList {
	if kind.Strategy.ValidateStatusUpdate == nil {
		return nil
	}
	return kind.Strategy.ValidateStatusUpdate(obj, old)
}

func statusOf(obj kinds.Object) reflect.Value {
	return reflect.ValueOf(obj).Elem().FieldByName("Status")
}

func copyStatus(to, from kinds.Object) {
	if s := statusOf(to); s.IsValid() {
		s.Set(statusOf(from))
	}
}

// invalid returns the API error for broken rules, nil if there are none.
func invalid(kind *kinds.Kind, name string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(kind.GVK().GroupKind(), name, errs)
}
