package kinds

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/kinds/rule"
)

func statefulSetColumns() []Column {
	cols := columns(
		text("Ready", "Number of the pod with ready state", func(s *appsv1.StatefulSet) string {
			return fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, deref(s.Spec.Replicas))
		}),
		ageColumn(),
	)
	return append(cols, templateColumns(func(s *appsv1.StatefulSet) *corev1.PodTemplateSpec { return &s.Spec.Template })...)
}

func statefulSetStrategy() Strategy {
	return specStatus(
		func(s *appsv1.StatefulSet) *appsv1.StatefulSetSpec { return &s.Spec },
		func(s *appsv1.StatefulSet) *appsv1.StatefulSetStatus { return &s.Status },
		rules[*appsv1.StatefulSet]{
			defaults:       defaultStatefulSet,
			validate:       validateStatefulSet,
			validateUpdate: validateStatefulSetUpdate,
		})
}

func defaultStatefulSet(s *appsv1.StatefulSet) {
	podspec.SetDefaults(&s.Spec.Template.Spec)
	setDefault(&s.Spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	setDefault(&s.Spec.UpdateStrategy.Type, appsv1.RollingUpdateStatefulSetStrategyType)
	if s.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		setPointer(&s.Spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
		setPointer(&s.Spec.UpdateStrategy.RollingUpdate.Partition, 0)
		setPointer(&s.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
	}
	setPointer(&s.Spec.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	retention := s.Spec.PersistentVolumeClaimRetentionPolicy
	setDefault(&retention.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	setDefault(&retention.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	setPointer(&s.Spec.Replicas, 1)
	setPointer(&s.Spec.RevisionHistoryLimit, 10)
	for i := range s.Spec.VolumeClaimTemplates {
		claim := &s.Spec.VolumeClaimTemplates[i]
		setDefault(&claim.APIVersion, "v1")
		setDefault(&claim.Kind, "PersistentVolumeClaim")
		defaultClaim(claim)
	}
}

func validateStatefulSet(s *appsv1.StatefulSet) field.ErrorList {
	errs := rule.Join(
		rule.NonNegative(s.Spec.Replicas, specPath("replicas")),
		rule.NonNegative(&s.Spec.MinReadySeconds, specPath("minReadySeconds")),
		rule.NonNegative(s.Spec.RevisionHistoryLimit, specPath("revisionHistoryLimit")),
		rule.OneOf(s.Spec.PodManagementPolicy, specPath("podManagementPolicy"), appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement),
		rule.OneOf(s.Spec.UpdateStrategy.Type, specPath("updateStrategy", "type"),
			appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType),
		validateWorkload("statefulset", s.Spec.Selector, templateWithClaims(s)),
	)
	if r := s.Spec.UpdateStrategy.RollingUpdate; r != nil {
		path := specPath("updateStrategy", "rollingUpdate")
		if s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
			errs = append(errs, field.Invalid(path, r, "only allowed for updateStrategy 'RollingUpdate'"))
		}
		errs = append(errs, rule.NonNegative(r.Partition, path.Child("partition"))...)
		if r.MaxUnavailable != nil {
			errs = append(errs, validAmount(*r.MaxUnavailable, path.Child("maxUnavailable"))...)
		}
	}
	if s.Spec.Ordinals != nil {
		errs = append(errs, rule.NonNegative(&s.Spec.Ordinals.Start, specPath("ordinals", "start"))...)
	}
	return errs
}

// templateWithClaims is the pod template with the volumes that its claims will
// become, so that mounts of them are found.
func templateWithClaims(s *appsv1.StatefulSet) *corev1.PodTemplateSpec {
	template := s.Spec.Template.DeepCopy()
	named := map[string]bool{}
	for _, v := range template.Spec.Volumes {
		named[v.Name] = true
	}
	for _, claim := range s.Spec.VolumeClaimTemplates {
		if named[claim.Name] {
			continue
		}
		template.Spec.Volumes = append(template.Spec.Volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name},
		}})
	}
	return template
}

func validateStatefulSetUpdate(s, old *appsv1.StatefulSet) field.ErrorList {
	masked := s.Spec.DeepCopy()
	masked.Replicas = old.Spec.Replicas
	masked.Template = old.Spec.Template
	masked.UpdateStrategy = old.Spec.UpdateStrategy
	masked.MinReadySeconds = old.Spec.MinReadySeconds
	masked.Ordinals = old.Spec.Ordinals
	masked.RevisionHistoryLimit = old.Spec.RevisionHistoryLimit
	masked.PersistentVolumeClaimRetentionPolicy = old.Spec.PersistentVolumeClaimRetentionPolicy
	if equality.Semantic.DeepEqual(masked, &old.Spec) {
		return nil
	}
	return field.ErrorList{field.Forbidden(specPath(), "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "+
		"'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden")}
}

func daemonSetColumns() []Column {
	spec, status := appsv1.DaemonSetSpec{}.SwaggerDoc(), appsv1.DaemonSetStatus{}.SwaggerDoc()
	count := func(name, field string, value func(*appsv1.DaemonSetStatus) int32) Column {
		return number(name, status[field], func(d *appsv1.DaemonSet) int64 { return int64(value(&d.Status)) })
	}
	cols := columns(
		count("Desired", "desiredNumberScheduled", func(s *appsv1.DaemonSetStatus) int32 { return s.DesiredNumberScheduled }),
		count("Current", "currentNumberScheduled", func(s *appsv1.DaemonSetStatus) int32 { return s.CurrentNumberScheduled }),
		count("Ready", "numberReady", func(s *appsv1.DaemonSetStatus) int32 { return s.NumberReady }),
		count("Up-to-date", "updatedNumberScheduled", func(s *appsv1.DaemonSetStatus) int32 { return s.UpdatedNumberScheduled }),
		count("Available", "numberAvailable", func(s *appsv1.DaemonSetStatus) int32 { return s.NumberAvailable }),
		text("Node Selector", corev1.PodSpec{}.SwaggerDoc()["nodeSelector"], func(d *appsv1.DaemonSet) string {
			return formatLabels(d.Spec.Template.Spec.NodeSelector)
		}),
		ageColumn(),
	)
	cols = append(cols, templateColumns(func(d *appsv1.DaemonSet) *corev1.PodTemplateSpec { return &d.Spec.Template })...)
	return append(cols, selectorColumn(func(d *appsv1.DaemonSet) *metav1.LabelSelector { return d.Spec.Selector }, spec["selector"]))
}

func daemonSetStrategy() Strategy {
	return specStatus(
		func(d *appsv1.DaemonSet) *appsv1.DaemonSetSpec { return &d.Spec },
		func(d *appsv1.DaemonSet) *appsv1.DaemonSetStatus { return &d.Status },
		rules[*appsv1.DaemonSet]{
			defaults: defaultDaemonSet,
			validate: validateDaemonSet,
			validateUpdate: func(d, old *appsv1.DaemonSet) field.ErrorList {
				return rule.Immutable(d.Spec.Selector, old.Spec.Selector, specPath("selector"))
			},
		})
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	podspec.SetDefaults(&d.Spec.Template.Spec)
	setPointer(&d.Spec.RevisionHistoryLimit, 10)
	setDefault(&d.Spec.UpdateStrategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if d.Spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		setPointer(&d.Spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		setPointer(&d.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		setPointer(&d.Spec.UpdateStrategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
}

func validateDaemonSet(d *appsv1.DaemonSet) field.ErrorList {
	errs := rule.Join(
		rule.NonNegative(&d.Spec.MinReadySeconds, specPath("minReadySeconds")),
		rule.NonNegative(d.Spec.RevisionHistoryLimit, specPath("revisionHistoryLimit")),
		rule.OneOf(d.Spec.UpdateStrategy.Type, specPath("updateStrategy", "type"),
			appsv1.OnDeleteDaemonSetStrategyType, appsv1.RollingUpdateDaemonSetStrategyType),
		validateWorkload("daemonset", d.Spec.Selector, &d.Spec.Template),
	)
	r := d.Spec.UpdateStrategy.RollingUpdate
	if r == nil || d.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		return errs
	}
	path := specPath("updateStrategy", "rollingUpdate")
	unavailable, surge := deref(r.MaxUnavailable), deref(r.MaxSurge)
	errs = rule.Join(errs, validAmount(unavailable, path.Child("maxUnavailable")), validAmount(surge, path.Child("maxSurge")),
		notMoreThanAll(unavailable, path.Child("maxUnavailable")), notMoreThanAll(surge, path.Child("maxSurge")))
	switch {
	case !isZero(unavailable) && !isZero(surge):
		errs = append(errs, field.Invalid(path.Child("maxSurge"), surge, "may not be set when maxUnavailable is non-zero"))
	case isZero(unavailable) && isZero(surge):
		errs = append(errs, field.Required(path.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
	}
	return errs
}

func controllerRevisionColumns() []Column {
	return columns(
		text("Controller", "Controller of the object", func(c *appsv1.ControllerRevision) string {
			owner := metav1.GetControllerOf(c)
			if owner == nil {
				return none
			}
			group, _, ok := strings.Cut(owner.APIVersion, "/")
			name := strings.ToLower(owner.Kind)
			if ok {
				name += "." + group
			}
			return name + "/" + owner.Name
		}),
		number("Revision", appsv1.ControllerRevision{}.SwaggerDoc()["revision"], func(c *appsv1.ControllerRevision) int64 { return c.Revision }),
		ageColumn(),
	)
}

func controllerRevisionStrategy() Strategy {
	return plain(rules[*appsv1.ControllerRevision]{
		validate: func(c *appsv1.ControllerRevision) field.ErrorList {
			return rule.NonNegative(&c.Revision, field.NewPath("revision"))
		},
		validateUpdate: func(c, old *appsv1.ControllerRevision) field.ErrorList {
			return rule.Immutable(c.Data, old.Data, field.NewPath("data"))
		},
	})
}

func podTemplateColumns() []Column {
	cols := columns()
	for _, c := range templateColumns(func(t *corev1.PodTemplate) *corev1.PodTemplateSpec { return &t.Template }) {
		c.Priority = 0
		cols = append(cols, c)
	}
	return append(cols, text("Pod Labels", "The labels for the pod template.", func(t *corev1.PodTemplate) string { return formatLabels(t.Template.Labels) }))
}

func podTemplateStrategy() Strategy {
	s := plain(rules[*corev1.PodTemplate]{
		defaults: func(t *corev1.PodTemplate) { podspec.SetDefaults(&t.Template.Spec) },
		validate: func(t *corev1.PodTemplate) field.ErrorList {
			return podspec.ValidateTemplate(&t.Template, field.NewPath("template"))
		},
	})
	s.SpecChanged = changed(func(t *corev1.PodTemplate) *corev1.PodTemplateSpec { return &t.Template })
	return s
}
