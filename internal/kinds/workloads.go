package kinds

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/kinds/rule"
)

// validateWorkload is what holds for every kind that makes pods from a
// template and finds them by a selector. Pods that must be there always are
// restarted always.
func validateWorkload(what string, selector *metav1.LabelSelector, template *corev1.PodTemplateSpec) field.ErrorList {
	errs := validateWorkloadSelector(what, selector, template.Labels)
	path := specPath("template")
	errs = append(errs, podspec.ValidateTemplate(template, path)...)
	if p := template.Spec.RestartPolicy; p != corev1.RestartPolicyAlways && p != "" {
		errs = append(errs, field.NotSupported(path.Child("spec", "restartPolicy"), p, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if template.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in "+what+" is not Supported"))
	}
	return errs
}

func validateWorkloadSelector(what string, selector *metav1.LabelSelector, templateLabels map[string]string) field.ErrorList {
	path := specPath("selector")
	if selector == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	errs := rule.Selector(selector, path)
	if len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(path, selector, "empty selector is invalid for "+what))
	}
	if parsed, err := metav1.LabelSelectorAsSelector(selector); err == nil && !parsed.Matches(labels.Set(templateLabels)) {
		errs = append(errs, field.Invalid(specPath("template", "metadata", "labels"), templateLabels, "`selector` does not match template `labels`"))
	}
	return errs
}

// validAmount says that a value must be a count or a percentage.
func validAmount(v intstr.IntOrString, path *field.Path) field.ErrorList {
	if v.Type == intstr.Int {
		return rule.NonNegative(&v.IntVal, path)
	}
	return rule.Invalids(path, v, validation.IsValidPercent(v.StrVal))
}

// isZero says whether an amount is none at all.
func isZero(v intstr.IntOrString) bool {
	return v.IntValue() == 0 && strings.Trim(v.StrVal, "0%") == ""
}

// notMoreThanAll says that a percentage must not exceed 100.
func notMoreThanAll(v intstr.IntOrString, path *field.Path) field.ErrorList {
	var percent int
	if v.Type == intstr.String {
		if _, err := fmt.Sscanf(v.StrVal, "%d%%", &percent); err == nil && percent > 100 {
			return field.ErrorList{field.Invalid(path, v, "must not be greater than 100%")}
		}
	}
	return nil
}

// templateColumns are what -o wide adds for kinds with a pod template.
func templateColumns[O Object](template func(O) *corev1.PodTemplateSpec) []Column {
	return []Column{
		wide(text("Containers", "Names of each container in the template.", func(o O) string {
			return containerList(template(o), func(c *corev1.Container) string { return c.Name })
		})),
		wide(text("Images", "Images referenced by each container in the template.", func(o O) string {
			return containerList(template(o), func(c *corev1.Container) string { return c.Image })
		})),
	}
}

func containerList(t *corev1.PodTemplateSpec, show func(*corev1.Container) string) string {
	if t == nil {
		return none
	}
	var out []string
	for i := range t.Spec.Containers {
		out = append(out, show(&t.Spec.Containers[i]))
	}
	return strings.Join(out, ",")
}

func selectorColumn[O Object](selector func(O) *metav1.LabelSelector, description string) Column {
	return wide(text("Selector", description, func(o O) string { return formatSelector(selector(o)) }))
}
