package podspec

import (
	"fmt"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// ValidateStatusUpdate returns what a write of a pod's status breaks: an
// ended container stays ended where the pod does not restart it.
func ValidateStatusUpdate(pod, old *corev1.Pod) field.ErrorList {
	at := field.NewPath("status")
	errs := rule.Each(pod.Status.Conditions, field.NewPath("metadata", "conditions"), validateCondition)
	if pod.Status.NominatedNodeName != old.Status.NominatedNodeName && pod.Status.NominatedNodeName != "" {
		errs = append(errs, subdomain(pod.Status.NominatedNodeName, at.Child("nominatedNodeName"))...)
	}
	if old.Spec.RestartPolicy != corev1.RestartPolicyAlways && !CanRestartAll(&old.Spec) {
		errs = append(errs, stayEnded(pod.Status.ContainerStatuses, old.Status.ContainerStatuses, old, at.Child("containerStatuses"))...)
		errs = append(errs, stayEnded(pod.Status.InitContainerStatuses, old.Status.InitContainerStatuses, old, at.Child("initContainerStatuses"))...)
	}
	if old.Status.QOSClass != "" {
		errs = append(errs, rule.Immutable(pod.Status.QOSClass, old.Status.QOSClass, at.Child("qosClass"))...)
	}
	return rule.Join(errs, validatePodIPs(&pod.Status, &old.Status, at), validateClaimStatuses(pod, at), validateReported(pod, at))
}

// validateReported judges as whom containers are said to run, and that nothing is said
// of devices of ephemeral ones, which have none.
func validateReported(pod *corev1.Pod, at *field.Path) field.ErrorList {
	users := func(s *corev1.ContainerStatus, at *field.Path) field.ErrorList {
		if s.User == nil || s.User.Linux == nil {
			return nil
		}
		return validateReportedUser(s.User.Linux, pod.Spec.OS, at.Child("user", "linux"))
	}
	ephemeral := at.Child("ephemeralContainerStatuses")
	return rule.Join(
		rule.Each(pod.Status.ContainerStatuses, at.Child("containerStatuses"), users),
		rule.Each(pod.Status.InitContainerStatuses, at.Child("initContainerStatuses"), users),
		rule.Each(pod.Status.EphemeralContainerStatuses, ephemeral, users),
		rule.Each(pod.Status.EphemeralContainerStatuses, ephemeral, func(s *corev1.ContainerStatus, at *field.Path) field.ErrorList {
			if len(s.AllocatedResourcesStatus) == 0 {
				return nil
			}
			return field.ErrorList{field.Forbidden(at.Child("allocatedResourcesStatus"), "must not be specified in container status")}
		}),
	)
}

func validateReportedUser(u *corev1.LinuxContainerUser, on *corev1.PodOS, at *field.Path) field.ErrorList {
	if on != nil && on.Name == corev1.Windows {
		return field.ErrorList{field.Forbidden(at, "cannot be set for a windows pod")}
	}
	var errs field.ErrorList
	if u.UID < 0 || u.UID > math.MaxUint32 {
		errs = append(errs, field.Invalid(at.Child("uid"), u.UID, fmt.Sprintf("must be between 0 and %d, inclusive", int64(math.MaxUint32))))
	}
	errs = append(errs, rule.Invalids(at.Child("gid"), u.GID, validation.IsValidGroupID(u.GID))...)
	return append(errs, rule.Each(u.SupplementalGroups, at.Child("supplementalGroups"), func(gid *int64, at *field.Path) field.ErrorList {
		return rule.Invalids(at, *gid, validation.IsValidGroupID(*gid))
	})...)
}

// validateClaimStatuses: what is said of claims is said once of each of the
// pod's, and of the one that stands for its extended resources.
func validateClaimStatuses(pod *corev1.Pod, at *field.Path) field.ErrorList {
	seen := rule.Seen[string]{}
	errs := rule.Each(pod.Status.ResourceClaimStatuses, at.Child("resourceClaimStatuses"), func(s *corev1.PodResourceClaimStatus, at *field.Path) field.ErrorList {
		name := at.Child("name")
		errs := rule.Join(seen.Once(s.Name, name), rule.Optional(s.ResourceClaimName, at.Child("resourceClaimName"), subdomain))
		if !slices.ContainsFunc(pod.Spec.ResourceClaims, func(c corev1.PodResourceClaim) bool { return c.Name == s.Name }) {
			errs = append(errs, field.Invalid(name, s.Name, "must match the name of an entry in `spec.resourceClaims`"))
		}
		return errs
	})
	return append(errs, validateExtendedClaim(pod.Status.ExtendedResourceClaimStatus, &pod.Spec, at.Child("extendedResourceClaimStatus"))...)
}

func validateExtendedClaim(s *corev1.PodExtendedResourceClaimStatus, spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	if s == nil {
		return nil
	}
	mappings, request := at.Child("requestMappings"), at.Child("requestName") // as Kubernetes calls it
	seen := rule.Seen[corev1.ContainerExtendedResourceRequest]{}
	errs := rule.Each(s.RequestMappings, mappings, func(m *corev1.ContainerExtendedResourceRequest, at *field.Path) field.ErrorList {
		return rule.Join(rule.Form(m.RequestName, request, validation.IsDNS1123Label), seen.Once(*m, at), validateMapping(m, spec, at))
	})
	if len(s.RequestMappings) == 0 {
		errs = append(errs, field.Required(mappings, "at least one request mapping is required"))
	}
	return append(errs, rule.Given(s.ResourceClaimName, at.Child("resourceClaimName"), validation.IsDNS1123Subdomain)...)
}

// validateMapping: a request of the claim is for a resource of a container.
func validateMapping(m *corev1.ContainerExtendedResourceRequest, spec *corev1.PodSpec, at *field.Path) field.ErrorList {
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		if c.Name != m.ContainerName {
			continue
		}
		if _, ok := c.Resources.Requests[corev1.ResourceName(m.ResourceName)]; !ok {
			return field.ErrorList{field.Invalid(at.Child("resourceName"), m.ResourceName,
				"must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests")}
		}
		return nil
	}
	return field.ErrorList{field.Invalid(at.Child("containerName"), m.ContainerName,
		"must match the name of an entry in spec.initContainers.name or spec.containers.name")}
}

func validateCondition(c *corev1.PodCondition, at *field.Path) field.ErrorList {
	return rule.Qualified(c.Type, at.Child("Type"))
}

func validatePodIPs(s, old *corev1.PodStatus, at *field.Path) field.ErrorList {
	ips, hosts := podIPs(s)
	was, wasHosts := podIPs(old)
	errs := rule.Join(
		rule.Each(ips, at.Child("podIPs"), func(ip *string, at *field.Path) field.ErrorList { return rule.IP(*ip, at, was...) }),
		rule.OnePerFamily(ips, s.PodIPs, "IP", at.Child("podIPs")),
		rule.Each(hosts, at.Child("hostIPs"), func(ip *string, at *field.Path) field.ErrorList { return rule.IP(*ip, at, wasHosts...) }),
		rule.OnePerFamily(hosts, s.HostIPs, "IP", at.Child("hostIPs")),
	)
	if len(hosts) > 0 && hosts[0] != s.HostIP {
		errs = append(errs, field.Invalid(at.Child("hostIPs").Index(0).Child("ip"), hosts[0], "must be equal to `hostIP`"))
	}
	return errs
}

// podIPs returns the addresses of a pod and of its node.
func podIPs(s *corev1.PodStatus) (ips, hosts []string) {
	for i := range s.PodIPs {
		ips = append(ips, s.PodIPs[i].IP)
	}
	for i := range s.HostIPs {
		hosts = append(hosts, s.HostIPs[i].IP)
	}
	return ips, hosts
}

// StatusWarnings warns of addresses that some read in another way.
func StatusWarnings(pod *corev1.Pod) (out []string) {
	ips, hosts := podIPs(&pod.Status)
	for i, ip := range ips {
		out = append(out, validation.GetWarningsForIP(field.NewPath("status", "podIPs").Index(i).Child("ip"), ip)...)
	}
	for i, ip := range hosts {
		out = append(out, validation.GetWarningsForIP(field.NewPath("status", "hostIPs").Index(i).Child("ip"), ip)...)
	}
	return out
}

// CanRestartAll says whether a container of a pod has a restart rule with the
// action RestartAllContainers (KEP-5532), so that any may be started again.
func CanRestartAll(spec *corev1.PodSpec) bool {
	for c := range eachContainer(spec) {
		if slices.ContainsFunc(c.RestartPolicyRules, func(r corev1.ContainerRestartRule) bool {
			return r.Action == corev1.ContainerRestartRuleActionRestartAllContainers
		}) {
			return true
		}
	}
	return false
}

func stayEnded(statuses, before []corev1.ContainerStatus, old *corev1.Pod, at *field.Path) field.ErrorList {
	return rule.Each(before, at, func(was *corev1.ContainerStatus, at *field.Path) field.ErrorList {
		if !finallyEnded(was, &old.Spec) {
			return nil
		}
		revived := slices.ContainsFunc(statuses, func(s corev1.ContainerStatus) bool { return s.Name == was.Name && s.State.Terminated == nil })
		return rule.Forbid(at, "may not be transitioned to non-terminated state", rule.Set("state", revived))
	})
}

// finallyEnded says whether the pod's restart policy leaves a container as it
// is. A container with a policy of its own is left to the agent.
func finallyEnded(status *corev1.ContainerStatus, spec *corev1.PodSpec) bool {
	ended := status.State.Terminated
	if ended == nil || (spec.RestartPolicy == corev1.RestartPolicyOnFailure && ended.ExitCode != 0) {
		return false
	}
	for c := range eachContainer(spec) {
		if c.Name == status.Name {
			return c.RestartPolicy == nil && len(c.RestartPolicyRules) == 0
		}
	}
	return false
}
