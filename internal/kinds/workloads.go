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

// workload is how a kind that makes pods from a template is called in what its
// users are told: by its selector and by its template.
type workload struct{ selector, template string }

// validateWorkload is what holds for every kind that makes pods from a
// template and finds them by a selector. Pods that must be there always are
// restarted always. A template is not judged beside a selector that is none, but for
// that in StatefulSets.
func validateWorkload(what workload, selector *metav1.LabelSelector, template *corev1.PodTemplateSpec) field.ErrorList {
	errs := validateWorkloadSelector(what.selector, selector, template.Labels)
	_, err := metav1.LabelSelectorAsSelector(selector)
	switch {
	case err == nil:
		return append(errs, validateWorkloadTemplate(what.template, template)...)
	case what.selector == "statefulset":
		return append(errs, validateRestarts(what.template, template)...)
	}
	return errs
}

func validateWorkloadTemplate(what string, template *corev1.PodTemplateSpec) field.ErrorList {
	return append(podspec.ValidateTemplate(template, specPath("template")), validateRestarts(what, template)...)
}

// validateRestarts says that pods of a template must be there always.
func validateRestarts(what string, template *corev1.PodTemplateSpec) field.ErrorList {
	at := specPath("template")
	var errs field.ErrorList
	if p := template.Spec.RestartPolicy; p != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(at.Child("spec", "restartPolicy"), p, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if template.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(at.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in "+what+" is not Supported"))
	}
	return errs
}

func validateWorkloadSelector(what string, selector *metav1.LabelSelector, templateLabels map[string]string) field.ErrorList {
	at := specPath("selector")
	if selector == nil {
		return append(field.ErrorList{field.Required(at, "")}, validateMatch(selector, templateLabels)...)
	}
	errs := rule.Selector(selector, at)
	if _, err := metav1.LabelSelectorAsSelector(selector); err != nil {
		detail := "invalid label selector"
		if what == "statefulset" {
			detail = ""
		}
		errs = append(errs, field.Invalid(at, selector, detail))
	}
	if len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
		return append(errs, field.Invalid(at, selector, "empty selector is invalid for "+what))
	}
	return append(errs, validateMatch(selector, templateLabels)...)
}

// validateMatch says that a selector must find what a template makes.
func validateMatch(selector *metav1.LabelSelector, templateLabels map[string]string) field.ErrorList {
	if parsed, err := metav1.LabelSelectorAsSelector(selector); err != nil || parsed.Matches(labels.Set(templateLabels)) {
		return nil
	}
	return field.ErrorList{field.Invalid(specPath("template", "metadata", "labels"), templateLabels, "`selector` does not match template `labels`")}
}

// count is one of the numbers of pods in a status.
type count struct {
	field string
	n     int32
}

// validateCounts: none of the numbers can be above that of all pods.
func validateCounts(all int32, counts ...count) field.ErrorList {
	at := field.NewPath("status")
	errs := rule.NonNegative(&all, at.Child("replicas"))
	for _, c := range counts {
		errs = append(errs, rule.NonNegative(&c.n, at.Child(c.field))...)
		if c.n > all {
			errs = append(errs, field.Invalid(at.Child(c.field), c.n, "cannot be greater than status.replicas"))
		}
	}
	return errs
}

// validateAvailable: what is not ready is not available. The number of what is ready
// has a name by which kinds call it.
func validateAvailable(available, ready int32, name string) field.ErrorList {
	if available <= ready {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("status", "availableReplicas"), available, "cannot be greater than "+name)}
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
	if percent, ok := strings.CutSuffix(v.StrVal, "%"); ok && v.Type == intstr.String {
		v = intstr.FromString(percent)
	}
	return v.IntValue() == 0 // as is what is no amount
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
