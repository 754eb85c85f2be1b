package kinds

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

func serviceColumns() []Column {
	doc := corev1.ServiceSpec{}.SwaggerDoc()
	return columns(
		text("Type", doc["type"], func(s *corev1.Service) string { return string(s.Spec.Type) }),
		text("Cluster-IP", doc["clusterIP"], func(s *corev1.Service) string { return orNone(s.Spec.ClusterIP) }),
		text("External-IP", doc["externalIPs"], externalIP),
		text("Port(s)", doc["ports"], servicePorts),
		ageColumn(),
		wide(text("Selector", doc["selector"], func(s *corev1.Service) string { return formatLabels(s.Spec.Selector) })),
	)
}

func externalIP(s *corev1.Service) string {
	switch s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		var addresses []string
		for _, in := range s.Status.LoadBalancer.Ingress {
			addresses = append(addresses, in.IP+in.Hostname)
		}
		if addresses = append(addresses, s.Spec.ExternalIPs...); len(addresses) > 0 {
			return strings.Join(addresses, ",")
		}
		return "<pending>"
	}
	return orNone(strings.Join(s.Spec.ExternalIPs, ","))
}

func servicePorts(s *corev1.Service) string {
	var out []string
	for _, p := range s.Spec.Ports {
		if p.NodePort > 0 {
			out = append(out, fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol))
		} else {
			out = append(out, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
		}
	}
	return orNone(strings.Join(out, ","))
}

func serviceFields(s *corev1.Service) map[string]string {
	return map[string]string{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
}

// serviceStrategy: addresses and node ports that are left out are allocated by
// the Store; an update that leaves them out keeps those there are.
func serviceStrategy() Strategy {
	return statusOnly(
		func(s *corev1.Service) *corev1.ServiceSpec { return &s.Spec },
		func(s *corev1.Service) *corev1.ServiceStatus { return &s.Status },
		rules[*corev1.Service]{
			create: defaultAddresses,
			update: func(s, old *corev1.Service) {
				keepAllocated(s, old)
				defaultAddresses(s)
				if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
					s.Status.LoadBalancer = corev1.LoadBalancerStatus{} // no longer, though it may take a while to go
				}
			},
			defaults:       defaultService,
			validate:       validateService,
			validateUpdate: validateServiceUpdate,
			validateStatus: validateServiceStatus,
			warnings:       serviceWarnings,
			statusWarnings: func(s *corev1.Service) []string {
				return badBalancerIPs(balancerIPs(s.Status.LoadBalancer.Ingress, func(in *corev1.LoadBalancerIngress) string { return in.IP }))
			},
		})
}

func defaultService(s *corev1.Service) {
	spec := &s.Spec
	setDefault(&spec.Type, corev1.ServiceTypeClusterIP)
	setDefault(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	defaultAffinityTimeout(spec)
	for i := range s.Status.LoadBalancer.Ingress {
		if in := &s.Status.LoadBalancer.Ingress[i]; in.IP != "" {
			setPointer(&in.IPMode, corev1.LoadBalancerIPModeVIP)
		}
	}
	for i := range spec.Ports {
		p := &spec.Ports[i]
		setDefault(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort.IntVal == 0 && p.TargetPort.StrVal == "" {
			p.TargetPort.IntVal = p.Port
		}
	}
	if spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	setPointer(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	if takesExternalTraffic(spec) {
		setDefault(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer {
		setPointer(&spec.AllocateLoadBalancerNodePorts, true)
	}
}

func defaultAffinityTimeout(spec *corev1.ServiceSpec) {
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		spec.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		setPointer(&spec.SessionAffinityConfig, corev1.SessionAffinityConfig{})
		setPointer(&spec.SessionAffinityConfig.ClientIP, corev1.ClientIPConfig{})
		setPointer(&spec.SessionAffinityConfig.ClientIP.TimeoutSeconds, corev1.DefaultClientIPServiceAffinitySeconds)
	}
}

// defaultAddresses fills clusterIPs in for clients that know clusterIP only, and
// names the families of the addresses. Like the addresses themselves this is the
// cluster's part: it belongs to no field manager.
func defaultAddresses(s *corev1.Service) {
	spec := &s.Spec
	if spec.ClusterIP != "" && len(spec.ClusterIPs) == 0 {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
	if spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	if len(spec.IPFamilies) == 0 {
		for _, ip := range spec.ClusterIPs {
			spec.IPFamilies = append(spec.IPFamilies, familyOf(ip))
		}
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	if spec.ClusterIP != corev1.ClusterIPNone || len(spec.Selector) > 0 {
		setPointer(&spec.IPFamilyPolicy, corev1.IPFamilyPolicySingleStack)
		return
	}
	// Whoever makes the endpoints himself may make them of either version.
	setPointer(&spec.IPFamilyPolicy, corev1.IPFamilyPolicyRequireDualStack)
	if len(spec.IPFamilies) == 1 && !isSingleStack(spec) {
		other := corev1.IPv6Protocol
		if spec.IPFamilies[0] == other {
			other = corev1.IPv4Protocol
		}
		spec.IPFamilies = append(slices.Clone(spec.IPFamilies), other)
	}
}

func familyOf(ip string) corev1.IPFamily {
	if strings.Contains(ip, ":") {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

func takesExternalTraffic(spec *corev1.ServiceSpec) bool {
	return usesNodePorts(spec) || (spec.Type == corev1.ServiceTypeClusterIP && len(spec.ExternalIPs) > 0)
}

func usesNodePorts(spec *corev1.ServiceSpec) bool {
	return spec.Type == corev1.ServiceTypeNodePort || spec.Type == corev1.ServiceTypeLoadBalancer
}

// keepAllocated carries allocated values over to an update that leaves them
// out, and drops those that a changed type has no use for.
func keepAllocated(s, old *corev1.Service) {
	spec, was := &s.Spec, &old.Spec
	kind := spec.Type
	if kind == "" {
		kind = corev1.ServiceTypeClusterIP
	}
	if kind != corev1.ServiceTypeExternalName && was.Type != corev1.ServiceTypeExternalName {
		keepClusterIP(spec, was)
	}
	if kind == corev1.ServiceTypeExternalName && was.Type != corev1.ServiceTypeExternalName && spec.ClusterIP == was.ClusterIP {
		spec.ClusterIP, spec.ClusterIPs, spec.IPFamilies, spec.IPFamilyPolicy = "", nil, nil, nil
		spec.InternalTrafficPolicy = nil
	}
	if usesNodePorts(spec) {
		keepNodePorts(spec, was)
		return
	}
	if kind == was.Type {
		return
	}
	for i := range spec.Ports {
		if slices.ContainsFunc(was.Ports, func(p corev1.ServicePort) bool { return p.NodePort == spec.Ports[i].NodePort }) {
			spec.Ports[i].NodePort = 0
		}
	}
	if !takesExternalTraffic(spec) && spec.ExternalTrafficPolicy == was.ExternalTrafficPolicy {
		spec.ExternalTrafficPolicy = ""
	}
	spec.AllocateLoadBalancerNodePorts, spec.HealthCheckNodePort = nil, 0
}

// keepClusterIP treats a change of the one field as a change of both.
func keepClusterIP(spec, was *corev1.ServiceSpec) {
	setDefault(&spec.ClusterIP, was.ClusterIP)
	switch {
	case len(spec.ClusterIPs) == 0 && spec.ClusterIP == was.ClusterIP:
		spec.ClusterIPs = was.ClusterIPs
	case slices.Equal(spec.ClusterIPs, was.ClusterIPs) && spec.ClusterIP != was.ClusterIP:
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = was.IPFamilies
	}
	if spec.IPFamilyPolicy == nil {
		spec.IPFamilyPolicy = was.IPFamilyPolicy
	}
	if !isSingleStack(spec) {
		return
	}
	// To ask for a single version is to give the second one up.
	if len(spec.ClusterIPs) > 1 && slices.Equal(spec.ClusterIPs, was.ClusterIPs) {
		spec.ClusterIPs = spec.ClusterIPs[:1:1]
	}
	if len(spec.IPFamilies) > 1 && slices.Equal(spec.IPFamilies, was.IPFamilies) {
		spec.IPFamilies = spec.IPFamilies[:1:1]
	}
}

func keepNodePorts(spec, was *corev1.ServiceSpec) {
	for i := range spec.Ports {
		p := &spec.Ports[i]
		if p.NodePort != 0 {
			continue
		}
		for _, o := range was.Ports {
			sameProtocol := o.Protocol == p.Protocol || (p.Protocol == "" && o.Protocol == corev1.ProtocolTCP)
			if o.Port == p.Port && sameProtocol {
				p.NodePort = o.NodePort
			}
		}
	}
	switch needed := NeedsHealthCheck(spec); {
	case needed && spec.HealthCheckNodePort == 0:
		spec.HealthCheckNodePort = was.HealthCheckNodePort
	case !needed && spec.HealthCheckNodePort == was.HealthCheckNodePort:
		spec.HealthCheckNodePort = 0
	}
}
