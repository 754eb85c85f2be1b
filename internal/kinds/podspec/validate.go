package podspec

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// ValidatePod returns every rule that a pod breaks. The pod has its defaults.
func ValidatePod(pod *corev1.Pod) field.ErrorList {
	at := field.NewPath("spec")
	return rule.Join(
		validateAnnotations(pod.Annotations, &pod.Spec, field.NewPath("metadata", "annotations")),
		podCheck{spec: &pod.Spec, pod: &pod.ObjectMeta}.validate(at),
		validateTokenVolumes(&pod.Spec, at.Child("volumes")),
		rule.Each(pod.Spec.Containers, at.Child("containers"), trimmedImage),
		rule.Each(pod.Spec.InitContainers, at.Child("initContainers"), trimmedImage),
	)
}

// ValidateTemplate returns every rule that a workload's pod template breaks.
func ValidateTemplate(t *corev1.PodTemplateSpec, at *field.Path) field.ErrorList {
	errs := rule.Join(
		metavalidation.ValidateLabels(t.Labels, at.Child("labels")),
		apivalidation.ValidateAnnotations(t.Annotations, at.Child("annotations")),
		validateAnnotations(t.Annotations, &t.Spec, at.Child("annotations")),
		podCheck{spec: &t.Spec}.validate(at.Child("spec")),
		seccompMatches(t.Annotations, &t.Spec, at),
	)
	if len(t.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(at.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return errs
}

// podCheck validates one pod's spec. pod is nil for the spec of a template,
// whose pods have no name yet.
type podCheck struct {
	spec    *corev1.PodSpec
	pod     *metav1.ObjectMeta
	volumes map[string]corev1.VolumeSource
	claims  rule.Seen[string]
}

func (c podCheck) validate(at *field.Path) field.ErrorList {
	spec := c.spec
	var errs field.ErrorList
	if spec.TerminationGracePeriodSeconds == nil {
		errs = append(errs, field.Required(at.Child("terminationGracePeriodSeconds"), ""))
	}
	errs = append(errs, c.allVolumes(at.Child("volumes"))...)
	errs = append(errs, c.resourceClaims(at.Child("resourceClaims"))...)
	return rule.Join(errs,
		c.containers(at),
		c.podResources(at),
		c.hostPortsMatch(at.Child("containers")),
		c.policies(at),
		metavalidation.ValidateLabels(spec.NodeSelector, at.Child("nodeSelector")),
		validateSecurity(spec, at),
		validateAffinity(spec.Affinity, at.Child("affinity")),
		validateDNS(spec, at.Child("dnsConfig")),
		validateGates(spec, at),
		validateSpread(spec.TopologySpreadConstraints, at.Child("topologySpreadConstraints")),
		validateHostProcess(spec, at),
		validateHostUsers(spec, at),
		c.names(at),
		ValidateTolerations(spec.Tolerations, at.Child("tolerations")),
		rule.Each(spec.HostAliases, at.Child("hostAliases"), validateHostAlias),
		ValidateOverhead(spec.Overhead, at.Child("overhead")),
		validateOS(spec, at),
	)
}

func (c podCheck) policies(at *field.Path) field.ErrorList {
	spec := c.spec
	errs := rule.Join(
		rule.OneOf(spec.RestartPolicy, at.Child("restartPolicy"),
			corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever),
		rule.OneOf(spec.DNSPolicy, at.Child("dnsPolicy"),
			corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone),
		rule.Optional(spec.PreemptionPolicy, at.Child("preemptionPolicy"), ValidatePreemption),
	)
	if s := spec.ActiveDeadlineSeconds; s != nil {
		errs = append(errs, rule.Between(*s, 1, math.MaxInt32, at.Child("activeDeadlineSeconds"))...)
	}
	return errs
}

// ValidatePreemption returns what is wrong with a preemption policy.
func ValidatePreemption(p corev1.PreemptionPolicy, at *field.Path) field.ErrorList {
	return rule.OneOf(p, at, corev1.PreemptLowerPriority, corev1.PreemptNever)
}

// longestHostname is what Linux allows.
const longestHostname = 64

func (c podCheck) names(at *field.Path) field.ErrorList {
	spec := c.spec
	errs := rule.Join(
		rule.FormIfSet(spec.ServiceAccountName, at.Child("serviceAccountName"), validation.IsDNS1123Subdomain),
		rule.FormIfSet(spec.NodeName, at.Child("nodeName"), validation.IsDNS1123Subdomain),
		rule.FormIfSet(spec.Hostname, at.Child("hostname"), validation.IsDNS1123Label),
		rule.FormIfSet(spec.Subdomain, at.Child("subdomain"), validation.IsDNS1123Label),
		rule.FormIfSet(spec.PriorityClassName, at.Child("priorityClassName"), validation.IsDNS1123Subdomain),
	)
	if name := spec.RuntimeClassName; name != nil {
		errs = append(errs, rule.Form(*name, at.Child("runtimeClassName"), validation.IsDNS1123Subdomain)...)
	}
	return append(errs, c.hostnameOverride(at.Child("hostnameOverride"))...)
}

// hostnameOverride checks a name that stands for all others: there may be nothing
// that it would contradict.
func (c podCheck) hostnameOverride(at *field.Path) field.ErrorList {
	name := c.spec.HostnameOverride
	if name == nil {
		return nil
	}
	var errs field.ErrorList
	if c.spec.SetHostnameAsFQDN != nil && *c.spec.SetHostnameAsFQDN {
		errs = append(errs, field.Forbidden(at, "may not be specified when setHostnameAsFQDN is true"))
	}
	if c.spec.HostNetwork {
		errs = append(errs, field.Forbidden(at, "may not be specified when hostNetwork is true"))
	}
	if len(*name) > longestHostname {
		errs = append(errs, field.TooLong(at, *name, longestHostname))
	}
	return append(errs, rule.Form(*name, at, validation.IsDNS1123Subdomain)...)
}

// resourceClaims checks the claims that containers may refer to, and remembers
// them.
func (c *podCheck) resourceClaims(at *field.Path) field.ErrorList {
	c.claims = rule.Seen[string]{}
	return rule.Each(c.spec.ResourceClaims, at, func(claim *corev1.PodResourceClaim, at *field.Path) field.ErrorList {
		var errs field.ErrorList
		switch name := at.Child("name"); {
		case claim.Name == "":
			errs = append(errs, field.Required(name, ""))
		case c.claims.Has(claim.Name):
			errs = append(errs, field.Duplicate(name, claim.Name))
		default:
			errs = append(errs, rule.Form(claim.Name, name, validation.IsDNS1123Label)...)
			c.claims[claim.Name] = struct{}{}
		}
		switch {
		case claim.ResourceClaimName != nil && claim.ResourceClaimTemplateName != nil:
			errs = append(errs, field.Invalid(at, *claim, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"))
		case claim.ResourceClaimName == nil && claim.ResourceClaimTemplateName == nil:
			errs = append(errs, field.Invalid(at, *claim, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
		}
		return rule.Join(errs,
			rule.Optional(claim.ResourceClaimName, at.Child("resourceClaimName"), subdomain),
			rule.Optional(claim.ResourceClaimTemplateName, at.Child("resourceClaimTemplateName"), subdomain))
	})
}

func subdomain(name string, at *field.Path) field.ErrorList {
	return rule.Form(name, at, validation.IsDNS1123Subdomain)
}

// validateAnnotations looks at the annotations that say something of a pod.
func validateAnnotations(annotations map[string]string, spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if value, mirror := annotations[corev1.MirrorPodAnnotationKey]; mirror && spec.NodeName == "" {
		errs = append(errs, field.Invalid(at.Key(corev1.MirrorPodAnnotationKey), value, "must set spec.nodeName if mirror pod annotation is set"))
	}
	if value, ok := annotations[corev1.PodDeletionCost]; ok && !is32Bit(value) {
		errs = append(errs, field.Invalid(at.Key(corev1.PodDeletionCost), value, "must be a 32bit integer"))
	}
	return append(errs, validateSeccompAnnotations(annotations, at)...)
}

// is32Bit says whether a string is a number in its one usual form.
func is32Bit(value string) bool {
	padded := strings.HasPrefix(value, "+") || (len(value) > 1 && value[0] == '0')
	_, err := strconv.ParseInt(value, 10, 32)
	return err == nil && !padded
}

// validateTokenVolumes: without an account there is nobody to make a token
// for.
func validateTokenVolumes(spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	if spec.ServiceAccountName != "" {
		return nil
	}
	return rule.Each(spec.Volumes, at, func(v *corev1.Volume, at *field.Path) field.ErrorList {
		if v.Projected == nil {
			return nil
		}
		return rule.Each(v.Projected.Sources, at.Child("projected", "sources"), func(s *corev1.VolumeProjection, at *field.Path) field.ErrorList {
			return rule.Forbid(at, "must not be specified when serviceAccountName is not set", rule.Set("serviceAccountToken", s.ServiceAccountToken != nil))
		})
	})
}

func trimmedImage(c *corev1.Container, at *field.Path) field.ErrorList {
	if strings.TrimSpace(c.Image) == c.Image {
		return nil
	}
	return field.ErrorList{field.Invalid(at.Child("image"), c.Image, "must not have leading or trailing whitespace")}
}

func validateGates(spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	seen := rule.Seen[string]{}
	return rule.Join(
		rule.Each(spec.ReadinessGates, at.Child("readinessGates"), func(g *corev1.PodReadinessGate, at *field.Path) field.ErrorList {
			return rule.Qualified(g.ConditionType, at.Child("conditionType"))
		}),
		rule.Each(spec.SchedulingGates, at.Child("schedulingGates"), func(g *corev1.PodSchedulingGate, at *field.Path) field.ErrorList {
			return rule.Join(rule.Qualified(g.Name, at), seen.Once(g.Name, at))
		}),
	)
}

func deref[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}

func sortedKeys[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
