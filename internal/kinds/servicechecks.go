package kinds

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

const maxAffinitySeconds = 86400

func validateService(s *corev1.Service) field.ErrorList {
	spec := &s.Spec
	errs := rule.Join(
		rule.OneOf(spec.Type, specPath("type"), corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort,
			corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName),
		rule.OneOf(spec.SessionAffinity, specPath("sessionAffinity"), corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone),
		metavalidation.ValidateLabels(spec.Selector, specPath("selector")),
		validateServiceType(spec),
		validateServicePorts(spec),
		validateServiceAddresses(spec),
		validateAffinityTimeout(spec),
		validateTrafficPolicies(spec),
	)
	return errs
}

func validateServiceType(spec *corev1.ServiceSpec) field.ErrorList {
	headless := spec.ClusterIP == corev1.ClusterIPNone
	switch {
	case spec.Type == corev1.ServiceTypeExternalName:
		if spec.ExternalName == "" {
			return field.ErrorList{field.Required(specPath("externalName"), "")}
		}
		return rule.Invalids(specPath("externalName"), spec.ExternalName, validation.IsDNS1123Subdomain(trimDot(spec.ExternalName)))
	case headless && usesNodePorts(spec):
		return field.ErrorList{field.Invalid(specPath("clusterIPs").Index(0), spec.ClusterIP, fmt.Sprintf("may not be set to 'None' for %s services", spec.Type))}
	case len(spec.Ports) == 0 && !headless:
		return field.ErrorList{field.Required(specPath("ports"), "")}
	}
	return nil
}

func trimDot(name string) string {
	if n := len(name); n > 1 && name[n-1] == '.' {
		return name[:n-1]
	}
	return name
}

func validateServicePorts(spec *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	names, ports := sets.New[string](), sets.New[string]()
	for i := range spec.Ports {
		p, path := &spec.Ports[i], specPath("ports").Index(i)
		errs = append(errs, validateServicePort(p, len(spec.Ports) > 1, path)...)
		if p.Name != "" && names.Has(p.Name) {
			errs = append(errs, field.Duplicate(path.Child("name"), p.Name))
		}
		names.Insert(p.Name)
		key := fmt.Sprintf("%s/%d", p.Protocol, p.Port)
		if ports.Has(key) {
			errs = append(errs, field.Duplicate(path, corev1.ServicePort{Protocol: p.Protocol, Port: p.Port}))
		}
		ports.Insert(key)
		if !usesNodePorts(spec) && p.NodePort != 0 {
			errs = append(errs, field.Forbidden(path.Child("nodePort"), fmt.Sprintf("may not be used when `type` is '%s'", spec.Type)))
		}
	}
	return errs
}

func validateServicePort(p *corev1.ServicePort, nameNeeded bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.Name != "" {
		errs = append(errs, rule.Invalids(path.Child("name"), p.Name, validation.IsDNS1123Label(p.Name))...)
	} else if nameNeeded {
		errs = append(errs, field.Required(path.Child("name"), ""))
	}
	errs = append(errs, rule.Invalids(path.Child("port"), p.Port, validation.IsValidPortNum(int(p.Port)))...)
	errs = append(errs, rule.OneOf(p.Protocol, path.Child("protocol"), corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)...)
	if p.TargetPort.Type == intstr.Int {
		return append(errs, rule.Invalids(path.Child("targetPort"), p.TargetPort.IntVal, validation.IsValidPortNum(int(p.TargetPort.IntVal)))...)
	}
	return append(errs, rule.Invalids(path.Child("targetPort"), p.TargetPort.StrVal, validation.IsValidPortName(p.TargetPort.StrVal))...)
}

func validateServiceAddresses(spec *corev1.ServiceSpec) field.ErrorList {
	path := specPath("clusterIPs")
	var errs field.ErrorList
	if spec.Type == corev1.ServiceTypeExternalName && len(spec.ClusterIPs) > 0 {
		errs = append(errs, field.Forbidden(path, "may not be set for ExternalName services"))
	}
	if len(spec.ClusterIPs) > 0 && spec.ClusterIPs[0] != spec.ClusterIP {
		errs = append(errs, field.Invalid(path, spec.ClusterIPs, "first value must match `clusterIP`"))
	}
	for i, ip := range spec.ClusterIPs {
		if ip == corev1.ClusterIPNone && i == 0 {
			continue
		}
		errs = append(errs, validation.IsValidIPForLegacyField(path.Index(i), ip, false, nil)...)
	}
	for i, ip := range spec.ExternalIPs {
		errs = append(errs, validation.IsValidIPForLegacyField(specPath("externalIPs").Index(i), ip, false, nil)...)
	}
	for i, cidr := range spec.LoadBalancerSourceRanges {
		errs = append(errs, validation.IsValidCIDRForLegacyField(specPath("loadBalancerSourceRanges").Index(i), cidr, false, nil)...)
	}
	return errs
}

func validateAffinityTimeout(spec *corev1.ServiceSpec) field.ErrorList {
	if spec.SessionAffinity != corev1.ServiceAffinityClientIP || spec.SessionAffinityConfig == nil || spec.SessionAffinityConfig.ClientIP == nil {
		return nil
	}
	seconds := deref(spec.SessionAffinityConfig.ClientIP.TimeoutSeconds)
	if seconds > 0 && seconds <= maxAffinitySeconds {
		return nil
	}
	return field.ErrorList{field.Invalid(specPath("sessionAffinityConfig", "clientIP", "timeoutSeconds"), seconds,
		fmt.Sprintf("must be greater than 0 and less than %d", maxAffinitySeconds))}
}

func validateTrafficPolicies(spec *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	switch {
	case takesExternalTraffic(spec):
		errs = append(errs, rule.OneOf(spec.ExternalTrafficPolicy, specPath("externalTrafficPolicy"),
			corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)...)
	case spec.ExternalTrafficPolicy != "":
		errs = append(errs, field.Invalid(specPath("externalTrafficPolicy"), spec.ExternalTrafficPolicy, "may only be set for externally-accessible services"))
	}
	if p := spec.InternalTrafficPolicy; p != nil {
		errs = append(errs, rule.OneOf(*p, specPath("internalTrafficPolicy"),
			corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)...)
	}
	return errs
}

// validateServiceUpdate: an address that has been given out stays.
func validateServiceUpdate(s, old *corev1.Service) field.ErrorList {
	external := corev1.ServiceTypeExternalName
	if s.Spec.Type == external || old.Spec.Type == external || old.Spec.ClusterIP == "" {
		return nil
	}
	if s.Spec.ClusterIP == "" {
		return field.ErrorList{field.Invalid(specPath("clusterIPs").Index(0), s.Spec.ClusterIPs, "primary clusterIP can not be unset")}
	}
	if s.Spec.ClusterIP != old.Spec.ClusterIP {
		return field.ErrorList{field.Invalid(specPath("clusterIPs").Index(0), s.Spec.ClusterIPs, "may not change once set")}
	}
	return nil
}
