package kinds

import (
	"fmt"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/kinds/rule"
	"navarch.dev/navarch/internal/kinds/volumespec"
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
	s := specStatus(
		func(s *appsv1.StatefulSet) *appsv1.StatefulSetSpec { return &s.Spec },
		func(s *appsv1.StatefulSet) *appsv1.StatefulSetStatus { return &s.Status },
		rules[*appsv1.StatefulSet]{
			defaults:       defaultStatefulSet,
			validate:       validateStatefulSet,
			validateCreate: validateNewStatefulSet,
			validateUpdate: validateStatefulSetUpdate,
			validateStatus: func(s, old *appsv1.StatefulSet) field.ErrorList {
				n := &s.Status
				return rule.Join(
					validateCounts(n.Replicas, count{"readyReplicas", n.ReadyReplicas}, count{"currentReplicas", n.CurrentReplicas},
						count{"updatedReplicas", n.UpdatedReplicas}, count{"availableReplicas", n.AvailableReplicas}),
					validateAvailable(n.AvailableReplicas, n.ReadyReplicas, "status.readyReplicas"),
					validateCollisions(n.CollisionCount, old.Status.CollisionCount),
				)
			},
		})
	return warned(s, specPath("template"), func(s *appsv1.StatefulSet) *corev1.PodTemplateSpec { return &s.Spec.Template }, func(s *appsv1.StatefulSet) []string {
		if limit := s.Spec.RevisionHistoryLimit; limit != nil && *limit < 0 {
			return []string{"spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"}
		}
		return nil
	})
}

func defaultStatefulSet(s *appsv1.StatefulSet) {
	podspec.SetDefaults(&s.Spec.Template.Spec)
	setDefault(&s.Spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	if s.Spec.UpdateStrategy.Type == "" { // who names the type has said all of it
		s.Spec.UpdateStrategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
		setPointer(&s.Spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	}
	if s.Spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType && s.Spec.UpdateStrategy.RollingUpdate != nil {
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
	spec := &s.Spec
	errs := rule.Join(
		validatePodManagement(spec.PodManagementPolicy, specPath("podManagementPolicy")),
		validateStatefulStrategy(&spec.UpdateStrategy, specPath("updateStrategy")),
		validateRetention(spec.PersistentVolumeClaimRetentionPolicy, specPath("persistentVolumeClaimRetentionPolicy")),
		rule.NonNegative(spec.Replicas, specPath("replicas")),
		rule.NonNegative(&spec.MinReadySeconds, specPath("minReadySeconds")),
		validateWorkload(workload{"statefulset", "StatefulSet"}, spec.Selector, templateWithClaims(s)),
	)
	if spec.Ordinals != nil {
		errs = append(errs, rule.NonNegative(&spec.Ordinals.Start, specPath("ordinals.start"))...)
	}
	return errs
}

// validateNewStatefulSet judges what nobody can change later.
func validateNewStatefulSet(s *appsv1.StatefulSet) field.ErrorList {
	return rule.Join(
		rule.FormIfSet(s.Spec.ServiceName, specPath("serviceName"), validation.IsDNS1123Label),
		rule.Each(s.Spec.VolumeClaimTemplates, specPath("volumeClaimTemplates"), func(c *corev1.PersistentVolumeClaim, at *field.Path) field.ErrorList {
			return volumespec.ValidateClaimSpec(&c.Spec, at.Child("spec"))
		}))
}

func validatePodManagement(p appsv1.PodManagementPolicyType, at *field.Path) field.ErrorList {
	switch p {
	case "":
		return field.ErrorList{field.Required(at, "")}
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
		return nil
	}
	return field.ErrorList{field.Invalid(at, p, fmt.Sprintf("must be '%s' or '%s'", appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement))}
}

func validateStatefulStrategy(s *appsv1.StatefulSetUpdateStrategy, at *field.Path) field.ErrorList {
	rolling := at.Child("rollingUpdate")
	switch s.Type {
	case "":
		return field.ErrorList{field.Required(at, "")}
	case appsv1.OnDeleteStatefulSetStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Invalid(rolling, s.RollingUpdate, "only allowed for updateStrategy 'RollingUpdate'")}
		}
		return nil
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if s.RollingUpdate == nil {
			return nil
		}
		return rule.Join(
			rule.NonNegative(s.RollingUpdate.Partition, rolling.Child("partition")),
			rule.Optional(s.RollingUpdate.MaxUnavailable, rolling.Child("maxUnavailable"), func(v intstr.IntOrString, at *field.Path) field.ErrorList {
				errs := validAmount(v, at)
				if isZero(v) {
					errs = append(errs, field.Invalid(at, v, "cannot be 0"))
				}
				return append(errs, notMoreThanAll(v, at)...)
			}))
	}
	return field.ErrorList{field.Invalid(at, *s, fmt.Sprintf("must be '%s' or '%s'", appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType))}
}

func validateRetention(p *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	const keep, remove = appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	return rule.Join(rule.Supported(p.WhenDeleted, at.Child("whenDeleted"), keep, remove), rule.Supported(p.WhenScaled, at.Child("whenScaled"), keep, remove))
}

// templateWithClaims is the pod template as the controller will have it: volumes of
// claims take the place of others, and pods get names of their own in their service.
func templateWithClaims(s *appsv1.StatefulSet) *corev1.PodTemplateSpec {
	template := s.Spec.Template.DeepCopy()
	template.Spec.Subdomain, template.Spec.Hostname = "", ""
	claimed := make(map[string]bool)
	var volumes []corev1.Volume
	for _, claim := range s.Spec.VolumeClaimTemplates {
		if claimed[claim.Name] {
			continue
		}
		claimed[claim.Name] = true
		volumes = append(volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name},
		}})
	}
	for _, v := range template.Spec.Volumes {
		if !claimed[v.Name] {
			volumes = append(volumes, v)
		}
	}
	template.Spec.Volumes = volumes
	return template
}

func validateStatefulSetUpdate(s, old *appsv1.StatefulSet) field.ErrorList {
	return rule.Join(
		rule.Immutable(s.Spec.Selector, old.Spec.Selector, specPath("selector")),
		rule.Immutable(s.Spec.VolumeClaimTemplates, old.Spec.VolumeClaimTemplates, specPath("volumeClaimTemplates")),
		rule.Immutable(s.Spec.ServiceName, old.Spec.ServiceName, specPath("serviceName")),
		rule.Immutable(s.Spec.PodManagementPolicy, old.Spec.PodManagementPolicy, specPath("podManagementPolicy")),
	)
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
			defaults:       defaultDaemonSet,
			update:         countTemplates,
			validate:       validateDaemonSet,
			validateStatus: validateDaemonStatus,
			validateUpdate: func(d, old *appsv1.DaemonSet) field.ErrorList {
				return rule.Immutable(d.Spec.Selector, old.Spec.Selector, specPath("selector"))
			},
		})
}

// countTemplates keeps the annotation in which the number of a DaemonSet's templates
// is left from before metadata.generation.
func countTemplates(d, old *appsv1.DaemonSet) {
	n, err := strconv.ParseInt(old.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
	if err != nil {
		n = 1
	}
	if !equality.Semantic.DeepEqual(d.Spec.Template, old.Spec.Template) {
		n++
	}
	d.Annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(n, 10)
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	if d.Annotations == nil {
		d.Annotations = make(map[string]string, 1)
	}
	if _, ok := d.Annotations[appsv1.DeprecatedTemplateGeneration]; !ok {
		d.Annotations[appsv1.DeprecatedTemplateGeneration] = "1"
	}
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
	errs := rule.Join(rule.Selector(d.Spec.Selector, specPath("selector")), validateMatch(d.Spec.Selector, d.Spec.Template.Labels))
	if s := d.Spec.Selector; s != nil && len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(specPath("selector"), s, "empty selector is invalid for daemonset"))
	}
	return rule.Join(errs,
		validateWorkloadTemplate("DaemonSet", &d.Spec.Template),
		rule.NonNegative(&d.Spec.MinReadySeconds, specPath("minReadySeconds")),
		validateDaemonStrategy(&d.Spec.UpdateStrategy, specPath("updateStrategy")),
		rule.NonNegative(d.Spec.RevisionHistoryLimit, specPath("revisionHistoryLimit")),
	)
}

func validateDaemonStrategy(s *appsv1.DaemonSetUpdateStrategy, path *field.Path) field.ErrorList {
	switch s.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
		return nil
	case appsv1.RollingUpdateDaemonSetStrategyType:
	default:
		return field.ErrorList{field.NotSupported(path, *s, []appsv1.DaemonSetUpdateStrategyType{appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType})}
	}
	at, r := path.Child("rollingUpdate"), s.RollingUpdate
	if r == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	unavailable, surge := deref(r.MaxUnavailable), deref(r.MaxSurge)
	errs := rule.Join(validAmount(unavailable, at.Child("maxUnavailable")), validAmount(surge, at.Child("maxSurge")),
		notMoreThanAll(unavailable, at.Child("maxUnavailable")), notMoreThanAll(surge, at.Child("maxSurge")))
	switch {
	case !isZero(unavailable) && !isZero(surge):
		errs = append(errs, field.Invalid(at.Child("maxSurge"), surge, "may not be set when maxUnavailable is non-zero"))
	case isZero(unavailable) && isZero(surge):
		errs = append(errs, field.Required(at.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
	}
	return errs
}

// validateDaemonStatus: a daemon is where it was put, not elsewhere.
func validateDaemonStatus(d, old *appsv1.DaemonSet) field.ErrorList {
	at, s := field.NewPath("status"), &d.Status
	var errs field.ErrorList
	for _, c := range []count{
		{"currentNumberScheduled", s.CurrentNumberScheduled}, {"numberMisscheduled", s.NumberMisscheduled},
		{"desiredNumberScheduled", s.DesiredNumberScheduled}, {"numberReady", s.NumberReady}, {"updatedNumberScheduled", s.UpdatedNumberScheduled},
		{"numberAvailable", s.NumberAvailable}, {"numberUnavailable", s.NumberUnavailable},
	} {
		errs = append(errs, rule.NonNegative(&c.n, at.Child(c.field))...)
	}
	return append(errs, validateCollisions(s.CollisionCount, old.Status.CollisionCount)...)
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
		figure("Revision", appsv1.ControllerRevision{}.SwaggerDoc()["revision"], func(c *appsv1.ControllerRevision) int64 { return c.Revision }),
		ageColumn(),
	)
}

func controllerRevisionStrategy() Strategy {
	return plain(rules[*appsv1.ControllerRevision]{
		validate: func(c *appsv1.ControllerRevision) field.ErrorList {
			errs := rule.NonNegative(&c.Revision, field.NewPath("revision"))
			if c.Data.Raw == nil && c.Data.Object == nil {
				errs = append(errs, field.Required(field.NewPath("data"), "data is mandatory"))
			}
			return errs
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
