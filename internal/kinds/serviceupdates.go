package kinds

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"navarch.dev/navarch/internal/kinds/rule"
)

// validateServiceUpdate: an address that has been given out stays, while a
// second one, of the other IP version, may come and go.
func validateServiceUpdate(s, old *corev1.Service) field.ErrorList {
	spec, was := &s.Spec, &old.Spec
	errs := rule.Join(validateAddressesUpdate(spec, was), validateFamiliesUpdate(spec, was))
	balanced := spec.Type == corev1.ServiceTypeLoadBalancer && was.Type == corev1.ServiceTypeLoadBalancer
	if balanced && (deref(spec.LoadBalancerClass) != deref(was.LoadBalancerClass) || (spec.LoadBalancerClass == nil) != (was.LoadBalancerClass == nil)) {
		errs = append(errs, field.Invalid(specPath("loadBalancerClass"), spec.LoadBalancerClass, "may not change once set"))
	}
	if NeedsHealthCheck(was) && NeedsHealthCheck(spec) && was.HealthCheckNodePort != 0 && spec.HealthCheckNodePort != was.HealthCheckNodePort {
		errs = append(errs, field.Forbidden(specPath("healthCheckNodePort"), "field is immutable"))
	}
	return errs
}

func isExternalName(specs ...*corev1.ServiceSpec) bool {
	for _, spec := range specs {
		if spec.Type == corev1.ServiceTypeExternalName {
			return true
		}
	}
	return false
}

func isSingleStack(spec *corev1.ServiceSpec) bool {
	return deref(spec.IPFamilyPolicy) == corev1.IPFamilyPolicySingleStack
}

func validateAddressesUpdate(spec, was *corev1.ServiceSpec) field.ErrorList {
	if isExternalName(spec, was) || (isHeadless(spec) && isHeadless(was)) {
		return nil
	}
	at, ips := specPath("clusterIPs"), spec.ClusterIPs
	var errs field.ErrorList
	for i := range min(len(ips), len(was.ClusterIPs)) {
		if ips[i] != was.ClusterIPs[i] {
			errs = append(errs, field.Invalid(at.Index(i), ips, "may not change once set"))
		}
	}
	if len(was.ClusterIPs) <= len(ips) {
		return errs
	}
	switch len(ips) {
	case 0:
		errs = append(errs, field.Invalid(at.Index(0), ips, "primary clusterIP can not be unset"))
	case 1:
		if !isSingleStack(spec) {
			errs = append(errs, field.Invalid(specPath("ipFamilyPolicy"), spec.IPFamilyPolicy, "must be set to 'SingleStack' when releasing the secondary clusterIP"))
		}
	}
	return errs
}

// validateFamiliesUpdate: a service without addresses may change of which IP
// version its endpoints are.
func validateFamiliesUpdate(spec, was *corev1.ServiceSpec) field.ErrorList {
	if isExternalName(spec, was) || isHeadless(spec) || isHeadless(was) {
		return nil
	}
	at, families := specPath("ipFamilies"), spec.IPFamilies
	var errs field.ErrorList
	for i := range min(len(families), len(was.IPFamilies)) {
		if families[i] != was.IPFamilies[i] {
			errs = append(errs, field.Invalid(at.Index(0), families, "may not change once set"))
		}
	}
	if len(was.IPFamilies) <= len(families) {
		return errs
	}
	switch len(families) {
	case 0:
		errs = append(errs, field.Invalid(at.Index(0), families, "primary ipFamily can not be unset"))
	case 1:
		if !isSingleStack(spec) {
			errs = append(errs, field.Invalid(specPath("ipFamilyPolicy"), spec.IPFamilyPolicy, "must be set to 'SingleStack' when releasing the secondary ipFamily"))
		}
	}
	return errs
}

func validateServiceStatus(s, old *corev1.Service) field.ErrorList {
	at, ingress := field.NewPath("status", "loadBalancer", "ingress"), s.Status.LoadBalancer.Ingress
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer && len(ingress) > 0 {
		return field.ErrorList{field.Forbidden(at, "may only be used when `spec.type` is 'LoadBalancer'")}
	}
	kept := balancerIPs(old.Status.LoadBalancer.Ingress, func(in *corev1.LoadBalancerIngress) string { return in.IP })
	return rule.Each(ingress, at, func(in *corev1.LoadBalancerIngress, at *field.Path) field.ErrorList {
		errs := validateBalancerAddress(in.IP, in.Hostname, kept, at)
		switch mode := at.Child("ipMode"); {
		case in.IPMode == nil && in.IP != "":
			errs = append(errs, field.Required(mode, "must be specified when `ip` is set"))
		case in.IPMode != nil && in.IP == "":
			errs = append(errs, field.Forbidden(mode, "may not be specified when `ip` is not set"))
		default:
			errs = append(errs, rule.OptionalOf(in.IPMode, mode, corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP)...)
		}
		return errs
	})
}

// balancerIPs returns the IP addresses at which load balancers are reached.
func balancerIPs[T any](ingress []T, ip func(*T) string) []string {
	out := make([]string, len(ingress))
	for i := range ingress {
		out[i] = ip(&ingress[i])
	}
	return out
}

// badBalancerIPs warns of addresses of load balancers that some read in another way.
func badBalancerIPs(ips []string) (out []string) {
	for i, ip := range ips {
		if ip != "" {
			out = append(out, validation.GetWarningsForIP(field.NewPath("status", "loadBalancer", "ingress").Index(i), ip)...)
		}
	}
	return out
}

// validateBalancerAddress: where a load balancer is reached, and was before.
func validateBalancerAddress(ip, host string, kept []string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if ip != "" {
		errs = append(errs, rule.IP(ip, at.Child("ip"), kept...)...)
	}
	if host == "" {
		return errs
	}
	errs = append(errs, rule.Form(host, at.Child("hostname"), validation.IsDNS1123Subdomain)...)
	if netutils.ParseIPSloppy(host) != nil {
		errs = append(errs, field.Invalid(at.Child("hostname"), host, "must be a DNS name, not an IP address"))
	}
	return errs
}
