package kinds

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/kinds/rule"
)

const (
	maxAffinitySeconds = 86400
	// agentPort is what every node serves its pods' logs and commands on.
	agentPort = 10250
)

func validateService(s *corev1.Service) field.ErrorList {
	spec := &s.Spec
	return rule.Join(
		validateServiceType(spec),
		validateServicePorts(spec),
		metavalidation.ValidateLabels(spec.Selector, specPath("selector")),
		rule.OneOf(spec.SessionAffinity, specPath("sessionAffinity"), corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone),
		validateAffinityConfig(spec, specPath("sessionAffinityConfig")),
		validateClusterIPs(spec),
		rule.Each(spec.ExternalIPs, specPath("externalIPs"), validateExternalIP),
		rule.OneOf(spec.Type, specPath("type"), corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName,
			corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort),
		validateLoadBalancer(s),
		validateExternalTraffic(spec),
		validateInternalTraffic(spec),
		rule.OptionalOf(spec.TrafficDistribution, specPath("trafficDistribution"), corev1.ServiceTrafficDistributionPreferClose,
			corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode),
	)
}

func isHeadless(spec *corev1.ServiceSpec) bool {
	return len(spec.ClusterIPs) == 1 && spec.ClusterIPs[0] == corev1.ClusterIPNone
}

func validateServiceType(spec *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	headless := isHeadless(spec)
	if len(spec.Ports) == 0 && !headless && spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(specPath("ports"), ""))
	}
	if headless && usesNodePorts(spec) {
		errs = append(errs, field.Invalid(specPath("clusterIPs").Index(0), corev1.ClusterIPNone, fmt.Sprintf("may not be set to 'None' for %s services", spec.Type)))
	}
	if spec.Type != corev1.ServiceTypeExternalName {
		return errs
	}
	return rule.Join(errs,
		rule.Forbid(specPath(), "may not be set for ExternalName services", rule.Set("clusterIPs", len(spec.ClusterIPs) > 0),
			rule.Set("ipFamilies", len(spec.IPFamilies) > 0), rule.Set("ipFamilyPolicy", spec.IPFamilyPolicy != nil)),
		rule.Given(strings.TrimSuffix(spec.ExternalName, "."), specPath("externalName"), validation.IsDNS1123Subdomain))
}

func validateServicePorts(spec *corev1.ServiceSpec) field.ErrorList {
	names, ports, nodePorts := rule.Seen[string]{}, rule.Seen[string]{}, rule.Seen[string]{}
	return rule.Each(spec.Ports, specPath("ports"), func(p *corev1.ServicePort, at *field.Path) field.ErrorList {
		errs := validateServicePort(p, len(spec.Ports) > 1, at)
		if p.Name != "" {
			errs = append(errs, names.Once(p.Name, at.Child("name"))...)
		}
		if spec.Type == corev1.ServiceTypeClusterIP && p.NodePort != 0 {
			errs = append(errs, field.Forbidden(at.Child("nodePort"), "may not be used when `type` is 'ClusterIP'"))
		}
		if spec.Type == corev1.ServiceTypeLoadBalancer && p.Port == agentPort {
			errs = append(errs, field.Invalid(at, p.Port, fmt.Sprintf("may not expose port %d externally since it is used by kubelet", agentPort)))
		}
		if p.NodePort != 0 && len(nodePorts.Once(fmt.Sprintf("%s/%d", p.Protocol, p.NodePort), at)) > 0 {
			errs = append(errs, field.Duplicate(at.Child("nodePort"), p.NodePort))
		}
		if len(ports.Once(fmt.Sprintf("%s/%d", p.Protocol, p.Port), at)) > 0 {
			errs = append(errs, field.Duplicate(at, corev1.ServicePort{Protocol: p.Protocol, Port: p.Port}))
		}
		return errs
	})
}

func validateServicePort(p *corev1.ServicePort, nameNeeded bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.Name == "" && nameNeeded {
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	return rule.Join(errs,
		rule.FormIfSet(p.Name, at.Child("name"), validation.IsDNS1123Label),
		rule.Port(p.Port, at.Child("port")),
		podspec.ValidateProtocol(p.Protocol, at.Child("protocol")),
		podspec.ValidatePortOrName(p.TargetPort, at.Child("targetPort")),
		rule.Optional(p.AppProtocol, at.Child("appProtocol"), rule.Qualified[string]),
	)
}

func validateAffinityConfig(spec *corev1.ServiceSpec, at *field.Path) field.ErrorList {
	const when = "when session affinity type is ClientIP"
	config := spec.SessionAffinityConfig
	switch {
	case spec.SessionAffinity == corev1.ServiceAffinityNone && config != nil:
		return field.ErrorList{field.Forbidden(at, "must not be set when session affinity is None")}
	case spec.SessionAffinity != corev1.ServiceAffinityClientIP:
		return nil
	case config == nil:
		return field.ErrorList{field.Required(at, when)}
	case config.ClientIP == nil:
		return field.ErrorList{field.Required(at.Child("clientIP"), when)}
	case config.ClientIP.TimeoutSeconds == nil:
		return field.ErrorList{field.Required(at.Child("clientIP", "timeoutSeconds"), when)}
	}
	if s := *config.ClientIP.TimeoutSeconds; s <= 0 || s > maxAffinitySeconds {
		return field.ErrorList{field.Invalid(at.Child("clientIP", "timeoutSeconds"), s, fmt.Sprintf("must be greater than 0 and less than %d", maxAffinitySeconds))}
	}
	return nil
}

func validateExternalIP(ip *string, at *field.Path) field.ErrorList {
	if errs := rule.IP(*ip, at); len(errs) > 0 {
		return errs
	}
	return rule.OrdinaryIP(*ip, at)
}

// validateClusterIPs: the addresses of a service, and the IP versions that
// they are of.
func validateClusterIPs(spec *corev1.ServiceSpec) field.ErrorList {
	if spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	at, families := specPath("clusterIPs"), specPath("ipFamilies")
	var errs field.ErrorList
	switch {
	case spec.ClusterIP == "" && len(spec.ClusterIPs) > 0:
		errs = append(errs, field.Invalid(at, spec.ClusterIPs, "must be empty when `clusterIP` is not specified"))
	case spec.ClusterIP != "" && len(spec.ClusterIPs) == 0:
		errs = append(errs, field.Required(at, ""))
	case spec.ClusterIP != "" && spec.ClusterIPs[0] != spec.ClusterIP:
		errs = append(errs, field.Invalid(at, spec.ClusterIPs, "first value must match `clusterIP`"))
	}
	seen := rule.Seen[corev1.IPFamily]{}
	errs = rule.Join(errs,
		rule.Each(spec.IPFamilies, families, func(f *corev1.IPFamily, at *field.Path) field.ErrorList {
			return rule.Join(rule.Supported(*f, at, corev1.IPv4Protocol, corev1.IPv6Protocol), seen.Once(*f, at))
		}),
		rule.OptionalOf(spec.IPFamilyPolicy, specPath("ipFamilyPolicy"),
			corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack))
	invalid := rule.Each(spec.ClusterIPs, at, func(ip *string, item *field.Path) field.ErrorList {
		switch {
		case *ip != corev1.ClusterIPNone || ip != &spec.ClusterIPs[0]:
			return rule.IP(*ip, item)
		case len(spec.ClusterIPs) > 1:
			return field.ErrorList{field.Invalid(at, spec.ClusterIPs, "'None' must be the first and only value")}
		}
		return nil
	})
	errs = append(errs, invalid...)
	if len(spec.ClusterIPs) > 2 {
		errs = append(errs, field.Invalid(at, spec.ClusterIPs, "may only hold up to 2 values"))
	}
	if len(invalid) > 0 {
		return errs
	}
	return append(errs, validateFamilies(spec, at)...)
}

func validateFamilies(spec *corev1.ServiceSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(spec.ClusterIPs) > 1 && rule.IsIPv6(spec.ClusterIPs[0]) == rule.IsIPv6(spec.ClusterIPs[1]) {
		errs = append(errs, field.Invalid(at, spec.ClusterIPs, "may specify no more than one IP for each IP family"))
	}
	if isHeadless(spec) {
		return errs
	}
	for i, ip := range spec.ClusterIPs {
		if i < len(spec.IPFamilies) && familyOf(ip) != spec.IPFamilies[i] {
			errs = append(errs, field.Invalid(at.Index(i), ip, fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%d]`", spec.IPFamilies[i], i)))
		}
	}
	return errs
}

// validateLoadBalancer: what only a service with a load balancer has.
func validateLoadBalancer(s *corev1.Service) field.ErrorList {
	const only = "may only be used when `type` is 'LoadBalancer'"
	spec := &s.Spec
	balanced := spec.Type == corev1.ServiceTypeLoadBalancer
	at, ranges := specPath("LoadBalancerSourceRanges"), spec.LoadBalancerSourceRanges
	annotation, annotated := s.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]
	index := func(i int) *field.Path { return at.Index(i) }
	if len(ranges) == 0 && annotated {
		at = field.NewPath("metadata", "annotations").Key(corev1.AnnotationLoadBalancerSourceRangesKey)
		index = func(int) *field.Path { return at }
		if strings.TrimSpace(annotation) != "" {
			ranges = strings.Split(annotation, ",")
		}
	}
	var errs field.ErrorList
	if !balanced && (len(ranges) > 0 || annotated) {
		errs = append(errs, field.Forbidden(at, only))
	}
	for i, cidr := range ranges {
		errs = append(errs, rule.CIDR(strings.TrimSpace(cidr), index(i))...)
	}
	if !balanced {
		return append(errs, rule.Forbid(specPath(), only,
			rule.Set("allocateLoadBalancerNodePorts", spec.AllocateLoadBalancerNodePorts != nil), rule.Set("loadBalancerClass", spec.LoadBalancerClass != nil))...)
	}
	if spec.AllocateLoadBalancerNodePorts == nil {
		errs = append(errs, field.Required(field.NewPath("allocateLoadBalancerNodePorts"), ""))
	}
	return append(errs, rule.Optional(spec.LoadBalancerClass, specPath("loadBalancerClass"), rule.Qualified[string])...)
}

// NeedsHealthCheck says whether a load balancer must be told which nodes have
// endpoints of their own.
func NeedsHealthCheck(spec *corev1.ServiceSpec) bool {
	return spec.Type == corev1.ServiceTypeLoadBalancer && spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func validateExternalTraffic(spec *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	policy, check := specPath("externalTrafficPolicy"), specPath("healthCheckNodePort")
	switch {
	case takesExternalTraffic(spec):
		errs = rule.OneOf(spec.ExternalTrafficPolicy, policy, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)
	case spec.ExternalTrafficPolicy != "":
		errs = append(errs, field.Invalid(policy, spec.ExternalTrafficPolicy, "may only be set for externally-accessible services"))
	}
	switch port := spec.HealthCheckNodePort; {
	case port == 0:
	case NeedsHealthCheck(spec):
		errs = append(errs, rule.Port(port, check)...)
	default:
		errs = append(errs, field.Invalid(check, port, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
	}
	return errs
}

func validateInternalTraffic(spec *corev1.ServiceSpec) field.ErrorList {
	at := specPath("internalTrafficPolicy")
	if spec.InternalTrafficPolicy == nil && (usesNodePorts(spec) || spec.Type == corev1.ServiceTypeClusterIP) {
		return field.ErrorList{field.Required(at, "")}
	}
	return rule.OptionalOf(spec.InternalTrafficPolicy, at, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)
}
