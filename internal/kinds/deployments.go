package kinds

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/kinds/rule"
)

func deploymentColumns() []Column {
	spec, status := appsv1.DeploymentSpec{}.SwaggerDoc(), appsv1.DeploymentStatus{}.SwaggerDoc()
	cols := columns(
		text("Ready", "Number of the pod with ready state", func(d *appsv1.Deployment) string {
			return fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, deref(d.Spec.Replicas))
		}),
		number("Up-to-date", status["updatedReplicas"], func(d *appsv1.Deployment) int64 { return int64(d.Status.UpdatedReplicas) }),
		number("Available", status["availableReplicas"], func(d *appsv1.Deployment) int64 { return int64(d.Status.AvailableReplicas) }),
		ageColumn(),
	)
	cols = append(cols, templateColumns(func(d *appsv1.Deployment) *corev1.PodTemplateSpec { return &d.Spec.Template })...)
	return append(cols, selectorColumn(func(d *appsv1.Deployment) *metav1.LabelSelector { return d.Spec.Selector }, spec["selector"]))
}

func deploymentStrategy() Strategy {
	return specStatus(
		func(d *appsv1.Deployment) *appsv1.DeploymentSpec { return &d.Spec },
		func(d *appsv1.Deployment) *appsv1.DeploymentStatus { return &d.Status },
		rules[*appsv1.Deployment]{
			defaults: defaultDeployment,
			validate: validateDeployment,
			validateUpdate: func(d, old *appsv1.Deployment) field.ErrorList {
				return rule.Immutable(d.Spec.Selector, old.Spec.Selector, specPath("selector"))
			},
			warnings: func(d *appsv1.Deployment) []string {
				return podspec.Warnings(&d.Spec.Template.Spec, specPath("template", "spec"))
			},
		})
}

func defaultDeployment(d *appsv1.Deployment) {
	podspec.SetDefaults(&d.Spec.Template.Spec)
	setPointer(&d.Spec.Replicas, 1)
	setPointer(&d.Spec.RevisionHistoryLimit, 10)
	setPointer(&d.Spec.ProgressDeadlineSeconds, 600)
	setDefault(&d.Spec.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
		return
	}
	setPointer(&d.Spec.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
	setPointer(&d.Spec.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
	setPointer(&d.Spec.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
}

func validateDeployment(d *appsv1.Deployment) field.ErrorList {
	s := &d.Spec
	errs := rule.Join(
		rule.NonNegative(s.Replicas, specPath("replicas")),
		validateWorkload("deployment", s.Selector, &s.Template),
		validateDeploymentStrategy(&s.Strategy, specPath("strategy")),
		rule.NonNegative(&s.MinReadySeconds, specPath("minReadySeconds")),
		rule.NonNegative(s.RevisionHistoryLimit, specPath("revisionHistoryLimit")),
		rule.NonNegative(s.ProgressDeadlineSeconds, specPath("progressDeadlineSeconds")),
	)
	if p := s.ProgressDeadlineSeconds; p != nil && *p <= s.MinReadySeconds {
		errs = append(errs, field.Invalid(specPath("progressDeadlineSeconds"), *p, "must be greater than minReadySeconds"))
	}
	return errs
}

func validateDeploymentStrategy(s *appsv1.DeploymentStrategy, path *field.Path) field.ErrorList {
	errs := rule.OneOf(s.Type, path.Child("type"), appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType)
	if s.Type == appsv1.RecreateDeploymentStrategyType && s.RollingUpdate != nil {
		errs = append(errs, field.Forbidden(path.Child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'"))
	}
	if s.Type != appsv1.RollingUpdateDeploymentStrategyType || s.RollingUpdate == nil {
		return errs
	}
	path = path.Child("rollingUpdate")
	unavailable, surge := deref(s.RollingUpdate.MaxUnavailable), deref(s.RollingUpdate.MaxSurge)
	errs = append(errs, validAmount(unavailable, path.Child("maxUnavailable"))...)
	errs = append(errs, validAmount(surge, path.Child("maxSurge"))...)
	if isZero(unavailable) && isZero(surge) {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0"))
	}
	return append(errs, notMoreThanAll(unavailable, path.Child("maxUnavailable"))...)
}
