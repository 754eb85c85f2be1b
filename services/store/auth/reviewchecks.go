package auth

import (
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds"
)

// invalid returns the API error of a review that breaks rules.
func invalid(kind *kinds.Kind, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(kind.GVK().GroupKind(), "", errs)
}

func checkSelf(o *authorizationv1.SelfSubjectAccessReview) field.ErrorList {
	spec := authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: o.Spec.ResourceAttributes, NonResourceAttributes: o.Spec.NonResourceAttributes}
	return append(checkAttributes(&spec), checkMeta(o.ObjectMeta, metav1.ObjectMeta{}, "must be empty")...)
}

func checkSubject(o *authorizationv1.SubjectAccessReview) field.ErrorList {
	return append(checkSpec(&o.Spec), checkMeta(o.ObjectMeta, metav1.ObjectMeta{}, "must be empty")...)
}

func checkLocal(o *authorizationv1.LocalSubjectAccessReview) field.ErrorList {
	path := field.NewPath("spec")
	errs := checkSpec(&o.Spec)
	errs = append(errs, checkMeta(o.ObjectMeta, metav1.ObjectMeta{Namespace: o.Namespace}, "must be empty except for namespace")...)
	if o.Spec.ResourceAttributes != nil && o.Namespace != "" && o.Spec.ResourceAttributes.Namespace != o.Namespace {
		errs = append(errs, field.Invalid(path.Child("resourceAttributes", "namespace"), o.Spec.ResourceAttributes.Namespace, "must match metadata.namespace"))
	}
	if o.Spec.NonResourceAttributes != nil {
		errs = append(errs, field.Invalid(path.Child("nonResourceAttributes"), o.Spec.NonResourceAttributes, "disallowed on this kind of request"))
	}
	return errs
}

// checkMeta: a review is about what it says, so its metadata says nothing.
func checkMeta(meta, allowed metav1.ObjectMeta, message string) field.ErrorList {
	meta.ManagedFields = nil
	if equality.Semantic.DeepEqual(meta, allowed) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata"), meta, message)}
}

func checkSpec(spec *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	errs := checkAttributes(spec)
	if spec.User == "" && len(spec.Groups) == 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "user"), spec.User, "at least one of user or group must be specified"))
	}
	return errs
}

func checkAttributes(spec *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	path := field.NewPath("spec")
	res, other := spec.ResourceAttributes, spec.NonResourceAttributes
	switch {
	case res != nil && other != nil:
		return field.ErrorList{field.Invalid(path.Child("nonResourceAttributes"), other, "cannot be specified in combination with resourceAttributes")}
	case res == nil && other == nil:
		return field.ErrorList{field.Invalid(path.Child("resourceAttributes"), other, "exactly one of nonResourceAttributes or resourceAttributes must be specified")}
	case res == nil:
		return nil
	}
	var errs field.ErrorList
	if s := res.FieldSelector; s != nil {
		at := path.Child("resourceAttributes", "fieldSelector")
		errs = append(errs, checkSelector(at, s.RawSelector, len(s.Requirements))...)
		for i, r := range s.Requirements {
			errs = append(errs, checkRequirement(at.Child("requirements").Index(i), r.Key, r.Operator, r.Values, false)...)
		}
	}
	if s := res.LabelSelector; s != nil {
		at := path.Child("resourceAttributes", "labelSelector")
		errs = append(errs, checkSelector(at, s.RawSelector, len(s.Requirements))...)
		for i, r := range s.Requirements {
			errs = append(errs, checkRequirement(at.Child("requirements").Index(i), r.Key, metav1.FieldSelectorOperator(r.Operator), r.Values, true)...)
		}
	}
	return errs
}

func checkSelector(at *field.Path, raw string, requirements int) field.ErrorList {
	switch {
	case raw != "" && requirements > 0:
		return field.ErrorList{field.Invalid(at.Child("rawSelector"), raw, "may not specified at the same time as requirements")}
	case raw == "" && requirements == 0:
		return field.ErrorList{field.Required(at.Child("requirements"), "when "+at.String()+" is specified, requirements or rawSelector is required")}
	}
	return nil
}

func checkRequirement(at *field.Path, key string, operator metav1.FieldSelectorOperator, values []string, isLabel bool) field.ErrorList {
	var errs field.ErrorList
	if key == "" {
		errs = append(errs, field.Required(at.Child("key"), "must be specified"))
	}
	switch operator {
	case metav1.FieldSelectorOpIn, metav1.FieldSelectorOpNotIn:
		if len(values) == 0 {
			errs = append(errs, field.Required(at.Child("values"), "must be specified when `operator` is 'In' or 'NotIn'"))
		}
	case metav1.FieldSelectorOpExists, metav1.FieldSelectorOpDoesNotExist:
		if len(values) > 0 {
			errs = append(errs, field.Forbidden(at.Child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
		}
	default:
		// A field's operators may become more; those that are not known only
		// make the answer less.
		if isLabel {
			errs = append(errs, field.Invalid(at.Child("operator"), operator, "not a valid selector operator"))
		}
	}
	return errs
}

// fieldSelector returns the selector as a request would write it. What cannot
// be written so is left out: the call asked about then selects more.
func fieldSelector(s *authorizationv1.FieldSelectorAttributes) string {
	if s.RawSelector != "" {
		return s.RawSelector
	}
	var terms []string
	for _, r := range s.Requirements {
		if len(r.Values) != 1 {
			continue
		}
		value := fields.EscapeValue(r.Values[0])
		switch r.Operator {
		case metav1.FieldSelectorOpIn:
			terms = append(terms, fmt.Sprintf("%s=%s", r.Key, value))
		case metav1.FieldSelectorOpNotIn:
			terms = append(terms, fmt.Sprintf("%s!=%s", r.Key, value))
		}
	}
	return strings.Join(terms, ",")
}

// labelSelector is fieldSelector for labels.
func labelSelector(s *authorizationv1.LabelSelectorAttributes) string {
	if s.RawSelector != "" {
		return s.RawSelector
	}
	operators := map[metav1.LabelSelectorOperator]selection.Operator{
		metav1.LabelSelectorOpIn: selection.In, metav1.LabelSelectorOpNotIn: selection.NotIn,
		metav1.LabelSelectorOpExists: selection.Exists, metav1.LabelSelectorOpDoesNotExist: selection.DoesNotExist,
	}
	selector := labels.NewSelector()
	for _, r := range s.Requirements {
		if requirement, err := labels.NewRequirement(r.Key, operators[r.Operator], r.Values); err == nil {
			selector = selector.Add(*requirement)
		}
	}
	return selector.String()
}
