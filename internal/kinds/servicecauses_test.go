package kinds

import "testing"

func TestServices(t *testing.T) {
	testCreate(t, gvk("v1", "Service"), []bad{
		{"sound", "spec: {ports: [{port: 80}]}", nil},
		{"no ports", "spec: {}", []string{"spec.ports: Required value"}},
		{"headless without ports", "spec: {clusterIP: None}", nil},
		{"headless with node ports", "spec: {clusterIP: None, type: NodePort, ports: [{port: 80}]}",
			[]string{`spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services`}},
		{"unknown words", "spec: {type: A, sessionAffinity: B, internalTrafficPolicy: C, trafficDistribution: D, ports: [{port: 80}]}", []string{
			`spec.type: Unsupported value: "A": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"`,
			`spec.sessionAffinity: Unsupported value: "B": supported values: "ClientIP", "None"`,
			`spec.internalTrafficPolicy: Unsupported value: "C": supported values: "Cluster", "Local"`,
			`spec.trafficDistribution: Unsupported value: "D": supported values: "PreferClose", "PreferSameZone", "PreferSameNode"`}},
		{"ports", "spec: {ports: [{port: 0}, {name: A, port: 1, targetPort: 70000, protocol: X, appProtocol: 'a b', nodePort: 30000}, {name: a, port: 1, protocol: X}, {name: a, port: 2, targetPort: http_}]}", []string{
			"spec.ports[0].name: Required value", "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
			"spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
			`spec.ports[1].name: Invalid value: "A": ` + label1123,
			"spec.ports[1].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
			`spec.ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"`,
			`spec.ports[1].appProtocol: Invalid value: "a b": name part`,
			"spec.ports[1].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
			`spec.ports[2].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"`,
			`spec.ports[2]: Duplicate value: {"protocol":"X","port":1,"targetPort":0}`,
			`spec.ports[3].name: Duplicate value: "a"`,
			`spec.ports[3].targetPort: Invalid value: "http_": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)`}},
		{"node ports", "spec: {type: NodePort, ports: [{name: a, port: 1, nodePort: 30000}, {name: b, port: 2, nodePort: 30000}]}",
			[]string{"spec.ports[1].nodePort: Duplicate value: 30000"}},
		{"an external name", "spec: {type: ExternalName, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ipFamilies: [IPv4], ipFamilyPolicy: SingleStack}", []string{
			"spec.clusterIPs: Forbidden: may not be set for ExternalName services", "spec.ipFamilies: Forbidden: may not be set for ExternalName services",
			"spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services", "spec.externalName: Required value"}},
		{"affinity", "spec: {ports: [{port: 80}], sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}}",
			[]string{"spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400"}},
		{"addresses", "spec: {ports: [{port: 80}], clusterIP: a, externalIPs: [127.0.0.1, 0.0.0.0, 169.254.1.1, b]}", []string{
			`spec.clusterIPs[0]: Invalid value: "a": must be a valid IP address,`,
			`spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)`,
			`spec.externalIPs[1]: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)`,
			`spec.externalIPs[2]: Invalid value: "169.254.1.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)`,
			`spec.externalIPs[3]: Invalid value: "b": must be a valid IP address,`}},
		{"addresses without the first", "spec: {ports: [{port: 80}], clusterIPs: [10.0.0.1]}",
			[]string{"spec.clusterIPs: Invalid value: [\"10.0.0.1\"]: must be empty when `clusterIP` is not specified"}},
		{"two addresses", "spec: {ports: [{port: 80}], clusterIP: 10.0.0.1, clusterIPs: [10.0.0.2, 10.0.0.3], ipFamilies: [IPv6, IPv6, IPv5], ipFamilyPolicy: A}", []string{
			"spec.clusterIPs: Invalid value: [\"10.0.0.2\",\"10.0.0.3\"]: first value must match `clusterIP`",
			`spec.ipFamilies[1]: Duplicate value: "IPv6"`, `spec.ipFamilies[2]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"`,
			`spec.ipFamilyPolicy: Unsupported value: "A": supported values: "PreferDualStack", "RequireDualStack", "SingleStack"`,
			`spec.clusterIPs: Invalid value: ["10.0.0.2","10.0.0.3"]: may specify no more than one IP for each IP family`,
			"spec.clusterIPs[0]: Invalid value: \"10.0.0.2\": expected an IPv6 value as indicated by `ipFamilies[0]`",
			"spec.clusterIPs[1]: Invalid value: \"10.0.0.3\": expected an IPv6 value as indicated by `ipFamilies[1]`"}},
		{"for balancers only", "spec: {ports: [{port: 80}], loadBalancerSourceRanges: [10.0.0.0/8], allocateLoadBalancerNodePorts: true, loadBalancerClass: a, externalTrafficPolicy: Local, healthCheckNodePort: 1}", []string{
			"spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
			"spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'",
			"spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
			`spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services`,
			"spec.healthCheckNodePort: Invalid value: 1: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"}},
		{"a balancer", "spec: {type: LoadBalancer, ports: [{port: 10250}], loadBalancerSourceRanges: [a], loadBalancerClass: 'a b', externalTrafficPolicy: A}", []string{
			"spec.ports[0]: Invalid value: 10250: may not expose port 10250 externally since it is used by kubelet",
			`spec.LoadBalancerSourceRanges[0]: Invalid value: "a": must be a valid CIDR value,`,
			`spec.loadBalancerClass: Invalid value: "a b": name part`,
			`spec.externalTrafficPolicy: Unsupported value: "A": supported values: "Cluster", "Local"`}},
		{"a selector", "spec: {ports: [{port: 80}], selector: {a: 'b c'}}", []string{`spec.selector: Invalid value: "b c": a valid label`}},
	})
	const ports = "ports: [{port: 80}]"
	testUpdate(t, gvk("v1", "Service"), false, []change{
		{"another address", "spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], " + ports + "}", "spec: {clusterIP: 10.0.0.2, clusterIPs: [10.0.0.2], " + ports + "}",
			[]string{`spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set`}},
		{"no address", "spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ipFamilies: [IPv4], " + ports + "}", "spec: {ipFamilies: [IPv4], " + ports + "}",
			[]string{`spec.clusterIPs[0]: Invalid value: null: primary clusterIP can not be unset`}},
		{"another version", "spec: {clusterIP: 10.0.0.1, ipFamilies: [IPv4], " + ports + "}", "spec: {clusterIP: 10.0.0.1, ipFamilies: [IPv6], " + ports + "}",
			[]string{`spec.ipFamilies[0]: Invalid value: ["IPv6"]: may not change once set`}},
		{"to a name", "spec: {clusterIP: 10.0.0.1, " + ports + "}", "spec: {type: ExternalName, externalName: a}", nil},
		{"another balancer", "spec: {type: LoadBalancer, loadBalancerClass: a/b, " + ports + "}", "spec: {type: LoadBalancer, loadBalancerClass: a/c, " + ports + "}",
			[]string{`spec.loadBalancerClass: Invalid value: "a/c": may not change once set`}},
		{"another health check", "spec: {type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30000, " + ports + "}", "spec: {type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30001, " + ports + "}",
			[]string{"spec.healthCheckNodePort: Forbidden: field is immutable"}},
	})
	testUpdate(t, gvk("v1", "Service"), true, []change{
		{"addresses of no balancer", "{}", "status: {loadBalancer: {ingress: [{ip: a}]}}", []string{"status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"}},
		{"addresses", "spec: {type: LoadBalancer}", "spec: {type: LoadBalancer}\nstatus: {loadBalancer: {ingress: [{ip: a}, {ip: 1.1.1.1, ipMode: A}, {hostname: 1.1.1.1, ipMode: VIP}]}}", []string{
			`status.loadBalancer.ingress[0].ip: Invalid value: "a": must be a valid IP address,`,
			`status.loadBalancer.ingress[1].ipMode: Unsupported value: "A": supported values: "Proxy", "VIP"`,
			"status.loadBalancer.ingress[2].ipMode: Forbidden: may not be specified when `ip` is not set",
			`status.loadBalancer.ingress[2].hostname: Invalid value: "1.1.1.1": must be a DNS name, not an IP address`}},
	})
}
