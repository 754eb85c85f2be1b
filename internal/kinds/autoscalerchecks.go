package kinds

import (
	"fmt"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/kinds/rule"
)

// How far back an autoscaler may look.
const (
	maxScalingPeriod = 1800
	maxStabilization = 3600
)

func validateAutoscaler(h *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	s := &h.Spec
	least := deref(s.MinReplicas)
	var errs field.ErrorList
	if least < 0 {
		errs = append(errs, field.Invalid(specPath("minReplicas"), least, "must be greater than or equal to 0"))
	}
	if least == 0 && !slices.ContainsFunc(s.Metrics, outlivesPods) {
		errs = append(errs, field.Forbidden(specPath("metrics"), "must specify at least one Object or External metric to support scaling to zero replicas"))
	}
	switch {
	case s.MaxReplicas == 0:
		errs = append(errs, field.Required(specPath("maxReplicas"), ""))
	case s.MaxReplicas < 0:
		errs = append(errs, field.Invalid(specPath("maxReplicas"), s.MaxReplicas, "must be greater than or equal to 1"))
	}
	if s.MaxReplicas < least {
		errs = append(errs, field.Invalid(specPath("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`"))
	}
	errs = rule.Join(errs,
		validateScaleTarget(s.ScaleTargetRef, specPath("scaleTargetRef")),
		rule.Each(s.Metrics, specPath("metrics"), validateMetric))
	if s.Behavior == nil {
		return errs
	}
	return rule.Join(errs,
		validateScalingRules(s.Behavior.ScaleUp, specPath("behavior", "scaleUp")),
		validateScalingRules(s.Behavior.ScaleDown, specPath("behavior", "scaleDown")))
}

// outlivesPods says whether a metric may be known when the target has no pods,
// so that it can be scaled up again.
func outlivesPods(m autoscalingv2.MetricSpec) bool {
	return m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
}

func validateAutoscalerStatus(h, _ *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	at := field.NewPath("status")
	return rule.Join(
		rule.NonNegative(&h.Status.CurrentReplicas, at.Child("currentReplicas")),
		rule.NonNegative(&h.Status.DesiredReplicas, at.Child("desiredReplicas")),
	)
}

func validateScaleTarget(ref autoscalingv2.CrossVersionObjectReference, at *field.Path) field.ErrorList {
	return rule.Join(
		rule.Given(ref.Kind, at.Child("kind"), content.IsPathSegmentName),
		rule.Given(ref.Name, at.Child("name"), content.IsPathSegmentName),
	)
}

// validateScaledGroup: only ReplicationControllers are scaled in the core group.
func validateScaledGroup(h *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	ref, at := h.Spec.ScaleTargetRef, specPath("scaleTargetRef", "apiVersion")
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(at, ref.APIVersion, err.Error())}
	case gv.Group == "" && ref.Kind != "ReplicationController":
		return field.ErrorList{field.Invalid(at, ref.APIVersion, "apiVersion must specify API group")}
	}
	return nil
}

// validateScaledGroupUpdate lets older objects be changed in other ways.
func validateScaledGroupUpdate(h, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	is, was := h.Spec.ScaleTargetRef, old.Spec.ScaleTargetRef
	if is.APIVersion == was.APIVersion && is.Kind == was.Kind {
		return nil
	}
	return validateScaledGroup(h)
}

func validateScalingRules(r *autoscalingv2.HPAScalingRules, at *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	switch s, at := deref(r.StabilizationWindowSeconds), at.Child("stabilizationWindowSeconds"); {
	case s < 0:
		errs = append(errs, field.Invalid(at, s, "must be greater than or equal to zero"))
	case s > maxStabilization:
		errs = append(errs, field.Invalid(at, s, fmt.Sprintf("must be less than or equal to %d", maxStabilization)))
	}
	errs = append(errs, rule.OptionalOf(r.SelectPolicy, at.Child("selectPolicy"),
		autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect)...)
	if len(r.Policies) == 0 {
		errs = append(errs, field.Required(at.Child("policies"), "must specify at least one Policy"))
	}
	if r.Tolerance != nil && r.Tolerance.Sign() < 0 {
		errs = append(errs, field.Invalid(at.Child("tolerance"), r.Tolerance.String(), "must be greater than or equal to 0"))
	}
	return append(errs, rule.Each(r.Policies, at.Child("policies"), validateScalingPolicy)...)
}

func validateScalingPolicy(p *autoscalingv2.HPAScalingPolicy, at *field.Path) field.ErrorList {
	errs := rule.Supported(p.Type, at.Child("type"), autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy)
	if p.Value <= 0 {
		errs = append(errs, field.Invalid(at.Child("value"), p.Value, "must be greater than zero"))
	}
	switch period := at.Child("periodSeconds"); {
	case p.PeriodSeconds <= 0:
		errs = append(errs, field.Invalid(period, p.PeriodSeconds, "must be greater than zero"))
	case p.PeriodSeconds > maxScalingPeriod:
		errs = append(errs, field.Invalid(period, p.PeriodSeconds, fmt.Sprintf("must be less than or equal to %d", maxScalingPeriod)))
	}
	return errs
}

// metricSources names the source that each type of metrics comes from.
func metricSources() map[autoscalingv2.MetricSourceType]string {
	return map[autoscalingv2.MetricSourceType]string{
		autoscalingv2.ObjectMetricSourceType: "object", autoscalingv2.PodsMetricSourceType: "pods", autoscalingv2.ResourceMetricSourceType: "resource",
		autoscalingv2.ExternalMetricSourceType: "external", autoscalingv2.ContainerResourceMetricSourceType: "containerResource",
	}
}

func validateMetric(m *autoscalingv2.MetricSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if m.Type == "" {
		errs = append(errs, field.Required(at.Child("type"), "must specify a metric source type"))
	}
	expected, known := metricSources()[m.Type]
	if !known {
		errs = append(errs, rule.Supported(m.Type, at.Child("type"), autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType,
			autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType)...)
	}
	set := rule.Members(m)
	if len(set) > 0 {
		errs = append(errs, validateMetricSource(m, set[0], at.Child(set[0]))...)
	}
	if known && !slices.Contains(set, expected) {
		errs = append(errs, field.Required(at.Child(expected), "must populate information for the given metric source"))
	}
	if len(set) == 1 {
		return errs
	}
	for _, name := range set {
		if name != expected {
			errs = append(errs, field.Forbidden(at.Child(name), "must populate the given metric source only"))
		}
	}
	return errs
}

func validateMetricSource(m *autoscalingv2.MetricSpec, name string, at *field.Path) field.ErrorList {
	to := at.Child("target")
	switch name {
	case "object":
		target := &m.Object.Target
		errs := rule.Join(validateScaleTarget(m.Object.DescribedObject, at.Child("describedObject")), validateMetricName(m.Object.Metric, at.Child("metric")), validateTarget(target, to))
		if target.Value == nil && target.AverageValue == nil {
			errs = append(errs, field.Required(to.Child("averageValue"), "must set either a target value or averageValue"))
		}
		return errs
	case "external":
		target := &m.External.Target
		errs := rule.Join(validateMetricName(m.External.Metric, at.Child("metric")), validateTarget(target, to))
		switch {
		case target.Value == nil && target.AverageValue == nil:
			errs = append(errs, field.Required(to.Child("averageValue"), "must set either a target value for metric or a per-pod target"))
		case target.Value != nil && target.AverageValue != nil:
			errs = append(errs, field.Forbidden(to.Child("value"), "may not set both a target value for metric and a per-pod target"))
		}
		return errs
	case "pods":
		target := &m.Pods.Target
		errs := rule.Join(validateMetricName(m.Pods.Metric, at.Child("metric")), validateTarget(target, to))
		if target.AverageValue == nil || target.AverageValue.Sign() != 1 {
			errs = append(errs, field.Required(to.Child("averageValue"), "must specify a positive target averageValue"))
		}
		return errs
	case "containerResource":
		return rule.Join(validateContainerMetric(m.ContainerResource, at), validateUsage(&m.ContainerResource.Target, to))
	case "resource":
		return rule.Join(rule.Needs(at, "name", string(m.Resource.Name)), validateUsage(&m.Resource.Target, to))
	}
	return nil
}

// validateUsage: the use of a resource is compared with an amount or with what
// was requested, not with both.
func validateUsage(t *autoscalingv2.MetricTarget, at *field.Path) field.ErrorList {
	errs := validateTarget(t, at)
	switch {
	case t.AverageUtilization == nil && t.AverageValue == nil:
		errs = append(errs, field.Required(at.Child("averageUtilization"), "must set either a target raw value or a target utilization"))
	case t.AverageUtilization != nil && t.AverageValue != nil:
		errs = append(errs, field.Forbidden(at.Child("averageValue"), "may not set both a target raw value and a target utilization"))
	}
	return errs
}

func validateMetricName(m autoscalingv2.MetricIdentifier, at *field.Path) field.ErrorList {
	return rule.Join(rule.Given(m.Name, at.Child("name"), content.IsPathSegmentName), rule.Selector(m.Selector, at.Child("selector")))
}

func validateTarget(t *autoscalingv2.MetricTarget, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.Type == "" {
		errs = append(errs, field.Required(at.Child("type"), "must specify a metric target type"))
	}
	if t.Type != autoscalingv2.UtilizationMetricType && t.Type != autoscalingv2.ValueMetricType && t.Type != autoscalingv2.AverageValueMetricType {
		errs = append(errs, field.Invalid(at.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue"))
	}
	for _, amount := range []struct {
		field string
		q     *resource.Quantity
	}{{"value", t.Value}, {"averageValue", t.AverageValue}} {
		if amount.q != nil && amount.q.Sign() != 1 {
			errs = append(errs, field.Invalid(at.Child(amount.field), amount.q, "must be positive"))
		}
	}
	if u := t.AverageUtilization; u != nil && *u < 1 {
		errs = append(errs, field.Invalid(at.Child("averageUtilization"), *u, "must be greater than 0"))
	}
	return errs
}

// validateContainerMetric: what is measured is a resource that containers can ask for,
// of a container that there can be.
func validateContainerMetric(m *autoscalingv2.ContainerResourceMetricSource, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if m.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), "must specify a resource name"))
	} else {
		errs = append(errs, podspec.ValidateContainerResource(m.Name, at.Child("name"))...)
	}
	if m.Container == "" {
		return append(errs, field.Required(at.Child("container"), "must specify a container"))
	}
	return append(errs, rule.Form(m.Container, at.Child("container"), validation.IsDNS1123Label)...)
}
