package kinds

import (
	"slices"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// specPath is where most rules look.
func specPath(names ...string) *field.Path {
	path := field.NewPath("spec")
	for _, name := range names {
		path = path.Child(name)
	}
	return path
}

// join concatenates what several checks found.
func join(lists ...field.ErrorList) field.ErrorList { return slices.Concat(lists...) }

// oneOf says that a value must be one of the supported ones.
func oneOf[T ~string](value T, path *field.Path, supported ...T) field.ErrorList {
	switch {
	case value == "":
		return field.ErrorList{field.Required(path, "")}
	case !slices.Contains(supported, value):
		return field.ErrorList{field.NotSupported(path, value, slices.Sorted(slices.Values(supported)))}
	}
	return nil
}

// required says that a string must not be empty.
func required(value string, path *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return nil
}

// invalids makes an error of each message.
func invalids(path *field.Path, value any, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, m := range messages {
		errs = append(errs, field.Invalid(path, value, m))
	}
	return errs
}

// nonnegative says that a number must not be below zero; nil is fine.
func nonnegative[N int32 | int64](value *N, path *field.Path) field.ErrorList {
	if value == nil {
		return nil
	}
	return apivalidation.ValidateNonnegativeField(int64(*value), path)
}

// positive says that a number must be above zero; nil is fine.
func positive[N int32 | int64](value *N, path *field.Path) field.ErrorList {
	if value == nil || *value > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, *value, "must be greater than 0")}
}

// immutable says that a value must stay as it is.
func immutable(value, old any, path *field.Path) field.ErrorList {
	return apivalidation.ValidateImmutableField(value, old, path)
}

func validSelector(s *metav1.LabelSelector, path *field.Path) field.ErrorList {
	return metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, path)
}
