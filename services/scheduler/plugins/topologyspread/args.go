package topologyspread

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

// DefaultArgs returns the arguments of a plugin that has been given none: the
// constraints of Kubernetes.
func DefaultArgs() *configv1.PodTopologySpreadArgs {
	args := &configv1.PodTopologySpreadArgs{}
	SetDefaults(args)
	return args
}

// SetDefaults fills in what the arguments leave open.
func SetDefaults(args *configv1.PodTopologySpreadArgs) {
	if args.DefaultingType == "" {
		args.DefaultingType = configv1.SystemDefaulting
	}
}

// systemConstraints are those of Kubernetes for pods that have none and belong
// to a service or a controller.
func systemConstraints() []corev1.TopologySpreadConstraint {
	return []corev1.TopologySpreadConstraint{
		{TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway, MaxSkew: 3},
		{TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.ScheduleAnyway, MaxSkew: 5},
	}
}

// Validate returns what is wrong with arguments that have their defaults.
func Validate(path *field.Path, args *configv1.PodTopologySpreadArgs) field.ErrorList {
	var errs field.ErrorList
	at := path.Child("defaultConstraints")
	switch args.DefaultingType {
	case configv1.ListDefaulting:
	case configv1.SystemDefaulting:
		if len(args.DefaultConstraints) > 0 {
			errs = append(errs, field.Forbidden(at, "must be empty unless defaultingType is List"))
		}
	default:
		errs = append(errs, field.NotSupported(path.Child("defaultingType"), args.DefaultingType,
			[]configv1.PodTopologySpreadConstraintsDefaulting{configv1.SystemDefaulting, configv1.ListDefaulting}))
	}
	type pair struct {
		key  string
		when corev1.UnsatisfiableConstraintAction
	}
	seen := make(map[pair]bool)
	for i := range args.DefaultConstraints {
		c := &args.DefaultConstraints[i]
		errs = append(errs, validateConstraint(at.Index(i), c)...)
		p := pair{c.TopologyKey, c.WhenUnsatisfiable}
		if seen[p] {
			errs = append(errs, field.Duplicate(at.Index(i), fmt.Sprintf("{%s, %s}", p.key, p.when)))
		}
		seen[p] = true
	}
	return errs
}

func validateConstraint(path *field.Path, c *corev1.TopologySpreadConstraint) field.ErrorList {
	var errs field.ErrorList
	if c.MaxSkew <= 0 {
		errs = append(errs, field.Invalid(path.Child("maxSkew"), c.MaxSkew, "must be greater than 0"))
	}
	if c.TopologyKey == "" {
		errs = append(errs, field.Required(path.Child("topologyKey"), "must name a label of nodes"))
	} else {
		errs = append(errs, metav1validation.ValidateLabelName(c.TopologyKey, path.Child("topologyKey"))...)
	}
	if w := c.WhenUnsatisfiable; w != corev1.DoNotSchedule && w != corev1.ScheduleAnyway {
		errs = append(errs, field.NotSupported(path.Child("whenUnsatisfiable"), w,
			[]corev1.UnsatisfiableConstraintAction{corev1.DoNotSchedule, corev1.ScheduleAnyway}))
	}
	if c.LabelSelector != nil {
		errs = append(errs, field.Forbidden(path.Child("labelSelector"), "must not be set: it is that of the pod's services and controller"))
	}
	if len(c.MatchLabelKeys) > 0 {
		errs = append(errs, field.Forbidden(path.Child("matchLabelKeys"), "must not be set: it is for constraints with a labelSelector"))
	}
	return append(errs, validateChoices(path, c)...)
}

// validateChoices checks what constraints may leave open.
func validateChoices(path *field.Path, c *corev1.TopologySpreadConstraint) field.ErrorList {
	var errs field.ErrorList
	if c.MinDomains != nil && *c.MinDomains <= 0 {
		errs = append(errs, field.Invalid(path.Child("minDomains"), *c.MinDomains, "must be greater than 0"))
	}
	if c.MinDomains != nil && c.WhenUnsatisfiable != corev1.DoNotSchedule {
		errs = append(errs, field.Forbidden(path.Child("minDomains"), "must not be set unless whenUnsatisfiable is DoNotSchedule"))
	}
	policies := []corev1.NodeInclusionPolicy{corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore}
	for _, p := range []struct {
		name  string
		value *corev1.NodeInclusionPolicy
	}{{"nodeAffinityPolicy", c.NodeAffinityPolicy}, {"nodeTaintsPolicy", c.NodeTaintsPolicy}} {
		if p.value != nil && *p.value != policies[0] && *p.value != policies[1] {
			errs = append(errs, field.NotSupported(path.Child(p.name), *p.value, policies))
		}
	}
	return errs
}
