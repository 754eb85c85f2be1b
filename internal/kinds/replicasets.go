package kinds

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/kinds/rule"
)

func replicaSetColumns() []Column {
	spec, status := appsv1.ReplicaSetSpec{}.SwaggerDoc(), appsv1.ReplicaSetStatus{}.SwaggerDoc()
	cols := columns(
		number("Desired", spec["replicas"], func(r *appsv1.ReplicaSet) int64 { return int64(deref(r.Spec.Replicas)) }),
		number("Current", status["replicas"], func(r *appsv1.ReplicaSet) int64 { return int64(r.Status.Replicas) }),
		number("Ready", status["readyReplicas"], func(r *appsv1.ReplicaSet) int64 { return int64(r.Status.ReadyReplicas) }),
		ageColumn(),
	)
	cols = append(cols, templateColumns(func(r *appsv1.ReplicaSet) *corev1.PodTemplateSpec { return &r.Spec.Template })...)
	return append(cols, selectorColumn(func(r *appsv1.ReplicaSet) *metav1.LabelSelector { return r.Spec.Selector }, spec["selector"]))
}

func replicaSetStrategy() Strategy {
	return specStatus(
		func(r *appsv1.ReplicaSet) *appsv1.ReplicaSetSpec { return &r.Spec },
		func(r *appsv1.ReplicaSet) *appsv1.ReplicaSetStatus { return &r.Status },
		rules[*appsv1.ReplicaSet]{
			defaults: func(r *appsv1.ReplicaSet) {
				podspec.SetDefaults(&r.Spec.Template.Spec)
				setPointer(&r.Spec.Replicas, 1)
			},
			validate: func(r *appsv1.ReplicaSet) field.ErrorList {
				return rule.Join(
					rule.NonNegative(r.Spec.Replicas, specPath("replicas")),
					rule.NonNegative(&r.Spec.MinReadySeconds, specPath("minReadySeconds")),
					validateWorkload(workload{"deployment", "ReplicaSet"}, r.Spec.Selector, &r.Spec.Template),
				)
			},
			validateStatus: func(r, _ *appsv1.ReplicaSet) field.ErrorList {
				s := &r.Status
				return rule.Join(
					validateCounts(s.Replicas, count{"fullyLabeledReplicas", s.FullyLabeledReplicas}, count{"readyReplicas", s.ReadyReplicas}, count{"availableReplicas", s.AvailableReplicas}),
					validateAvailable(s.AvailableReplicas, s.ReadyReplicas, "readyReplicas"),
				)
			},
			validateUpdate: func(r, old *appsv1.ReplicaSet) field.ErrorList {
				return rule.Immutable(r.Spec.Selector, old.Spec.Selector, specPath("selector"))
			},
		})
}

func replicationControllerColumns() []Column {
	spec, status := corev1.ReplicationControllerSpec{}.SwaggerDoc(), corev1.ReplicationControllerStatus{}.SwaggerDoc()
	cols := columns(
		number("Desired", spec["replicas"], func(r *corev1.ReplicationController) int64 { return int64(deref(r.Spec.Replicas)) }),
		number("Current", status["replicas"], func(r *corev1.ReplicationController) int64 { return int64(r.Status.Replicas) }),
		number("Ready", status["readyReplicas"], func(r *corev1.ReplicationController) int64 { return int64(r.Status.ReadyReplicas) }),
		ageColumn(),
	)
	cols = append(cols, templateColumns(func(r *corev1.ReplicationController) *corev1.PodTemplateSpec { return r.Spec.Template })...)
	return append(cols, wide(text("Selector", spec["selector"], func(r *corev1.ReplicationController) string { return formatLabels(r.Spec.Selector) })))
}

func replicationControllerFields(r *corev1.ReplicationController) map[string]string {
	return map[string]string{"status.replicas": strconv.Itoa(int(r.Status.Replicas))}
}

func replicationControllerStrategy() Strategy {
	return specStatus(
		func(r *corev1.ReplicationController) *corev1.ReplicationControllerSpec { return &r.Spec },
		func(r *corev1.ReplicationController) *corev1.ReplicationControllerStatus { return &r.Status },
		rules[*corev1.ReplicationController]{
			defaults: defaultReplicationController,
			validate: validateReplicationController,
			validateStatus: func(r, _ *corev1.ReplicationController) field.ErrorList {
				s := &r.Status
				return rule.Join(
					validateCounts(s.Replicas, count{"fullyLabeledReplicas", s.FullyLabeledReplicas}, count{"readyReplicas", s.ReadyReplicas}, count{"availableReplicas", s.AvailableReplicas}),
					validateAvailable(s.AvailableReplicas, s.ReadyReplicas, "readyReplicas"),
				)
			},
		})
}

// defaultReplicationController: without a selector or labels of its own, a
// replication controller takes its template's labels.
func defaultReplicationController(r *corev1.ReplicationController) {
	setPointer(&r.Spec.Replicas, 1)
	if r.Spec.Template == nil {
		return
	}
	podspec.SetDefaults(&r.Spec.Template.Spec)
	if len(r.Spec.Selector) == 0 {
		r.Spec.Selector = r.Spec.Template.Labels
	}
	if len(r.Labels) == 0 {
		r.Labels = r.Spec.Template.Labels
	}
}

func validateReplicationController(r *corev1.ReplicationController) field.ErrorList {
	errs := rule.Join(
		rule.NonNegative(r.Spec.Replicas, specPath("replicas")),
		rule.NonNegative(&r.Spec.MinReadySeconds, specPath("minReadySeconds")),
	)
	if len(r.Spec.Selector) == 0 {
		errs = append(errs, field.Required(specPath("selector"), ""))
	}
	if r.Spec.Template == nil {
		return append(errs, field.Required(specPath("template"), ""))
	}
	if len(r.Spec.Selector) > 0 && !labels.SelectorFromSet(r.Spec.Selector).Matches(labels.Set(r.Spec.Template.Labels)) {
		errs = append(errs, field.Invalid(specPath("template", "metadata", "labels"), r.Spec.Template.Labels, "`selector` does not match template `labels`"))
	}
	return append(errs, validateWorkloadTemplate("ReplicationController", r.Spec.Template)...)
}
