package kinds

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
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
		figure("Up-to-date", status["updatedReplicas"], func(d *appsv1.Deployment) int64 { return int64(d.Status.UpdatedReplicas) }),
		figure("Available", status["availableReplicas"], func(d *appsv1.Deployment) int64 { return int64(d.Status.AvailableReplicas) }),
		ageColumn(),
	)
	cols = append(cols, templateColumns(func(d *appsv1.Deployment) *corev1.PodTemplateSpec { return &d.Spec.Template })...)
	return append(cols, selectorColumn(func(d *appsv1.Deployment) *metav1.LabelSelector { return d.Spec.Selector }, spec["selector"]))
}

func deploymentStrategy() Strategy {
	s := specStatus(
		func(d *appsv1.Deployment) *appsv1.DeploymentSpec { return &d.Spec },
		func(d *appsv1.Deployment) *appsv1.DeploymentStatus { return &d.Status },
		rules[*appsv1.Deployment]{
			defaults: defaultDeployment,
			validate: validateDeployment,
			validateUpdate: func(d, old *appsv1.Deployment) field.ErrorList {
				return rule.Immutable(d.Spec.Selector, old.Spec.Selector, specPath("selector"))
			},
			validateStatus: func(d, old *appsv1.Deployment) field.ErrorList {
				s := &d.Status
				errs := rule.Join(
					validateCounts(s.Replicas, count{"updatedReplicas", s.UpdatedReplicas}, count{"readyReplicas", s.ReadyReplicas}, count{"availableReplicas", s.AvailableReplicas}),
					validateAvailable(s.AvailableReplicas, s.ReadyReplicas, "readyReplicas"),
					rule.NonNegative(&s.UnavailableReplicas, field.NewPath("status", "unavailableReplicas")),
				)
				return append(errs, validateCollisions(s.CollisionCount, old.Status.CollisionCount)...)
			},
		})
	specChanged := s.SpecChanged
	s.SpecChanged = func(obj, old Object) bool { // annotations are copied to the ReplicaSets
		return specChanged(obj, old) || !equality.Semantic.DeepEqual(obj.GetAnnotations(), old.GetAnnotations())
	}
	return warnedOfNames(warned(s, specPath("template"), func(d *appsv1.Deployment) *corev1.PodTemplateSpec { return &d.Spec.Template }, nil))
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
		validateWorkload(workload{"deployment", "ReplicaSet"}, s.Selector, &s.Template),
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

func validateDeploymentStrategy(s *appsv1.DeploymentStrategy, at *field.Path) field.ErrorList {
	rolling := at.Child("rollingUpdate")
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(rolling, "may not be specified when strategy `type` is 'Recreate'")}
		}
		return nil
	case appsv1.RollingUpdateDeploymentStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(rolling, "this should be defaulted and never be nil")}
		}
		return validateRollingUpdate(s.RollingUpdate, rolling)
	}
	return field.ErrorList{field.NotSupported(at, *s, []appsv1.DeploymentStrategyType{appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType})}
}

func validateRollingUpdate(r *appsv1.RollingUpdateDeployment, at *field.Path) field.ErrorList {
	unavailable, surge := deref(r.MaxUnavailable), deref(r.MaxSurge)
	errs := rule.Join(validAmount(unavailable, at.Child("maxUnavailable")), validAmount(surge, at.Child("maxSurge")))
	if isZero(unavailable) && isZero(surge) {
		errs = append(errs, field.Invalid(at.Child("maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0"))
	}
	return append(errs, notMoreThanAll(unavailable, at.Child("maxUnavailable"))...)
}

// validateCollisions: the count keeps the names of new revisions apart from
// those that there were.
func validateCollisions(n, old *int32) field.ErrorList {
	at := field.NewPath("status", "collisionCount")
	errs := rule.NonNegative(n, at)
	if old != nil && (n == nil || *n < *old) {
		errs = append(errs, field.Invalid(at, deref(n), "cannot be decremented"))
	}
	return errs
}
