package kinds

import "testing"

func TestQuotasAndLimits(t *testing.T) {
	testCreate(t, gvk("v1", "ResourceQuota"), []bad{
		{"sound", "spec: {hard: {pods: 1, requests.cpu: 2, count/deployments.apps: 3, requests.example.com/gpu: 1}}", nil},
		{"amounts", "spec: {hard: {gpu: 1, pods: 500m, cpu: -1}}", []string{
			`spec.hard[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified`, `spec.hard[gpu]: Invalid value: "gpu": must be a standard resource for quota`,
			`spec.hard[pods]: Invalid value: "500m": must be an integer`, `spec.hard[cpu]: Invalid value: "-1": must be greater than or equal to 0`}},
		{"scopes", "spec: {hard: {cpu: 1}, scopes: [BestEffort, NotBestEffort, A]}", []string{
			`spec.scopes: Invalid value: ["BestEffort","NotBestEffort","A"]: unsupported scope applied to resource`,
			`spec.scopes: Invalid value: ["BestEffort","NotBestEffort","A"]: conflicting scopes`, `spec.scopes: Invalid value: ["BestEffort","NotBestEffort","A"]: unsupported scope`}},
		{"a scope selector", "spec: {scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In}, {scopeName: Terminating, operator: Exists, values: [a]}, {scopeName: PriorityClass, operator: A}]}}", []string{
			"spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
			"spec.scopeSelector.matchExpressions.values: Invalid value: [\"a\"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
			`spec.scopeSelector.matchExpressions.operator: Invalid value: "A": not a valid selector operator`}},
	})
	testUpdate(t, gvk("v1", "ResourceQuota"), false, []change{
		{"scopes", "spec: {scopes: [BestEffort]}", "spec: {scopes: [Terminating]}", []string{`spec.scopes: Invalid value: ["Terminating"]: field is immutable`}},
	})
	testCreate(t, gvk("v1", "LimitRange"), []bad{
		{"order", "spec: {limits: [{type: Container, min: {cpu: 3}, max: {cpu: 1}, default: {cpu: 2}, defaultRequest: {cpu: 4}}]}", []string{
			`spec.limits[0].min[cpu]: Invalid value: "3": min value 3 is greater than max value 1`,
			`spec.limits[0].defaultRequest[cpu]: Invalid value: "4": default request value 4 is greater than max value 1`,
			`spec.limits[0].defaultRequest[cpu]: Invalid value: "4": default request value 4 is greater than default limit value 2`,
			`spec.limits[0].default[cpu]: Invalid value: "3": min value 3 is greater than default value 2`,
			`spec.limits[0].default[cpu]: Invalid value: "1": default value 2 is greater than max value 1`}},
		{"types", "spec: {limits: [{type: A}, {type: Pod, default: {cpu: 1}}, {type: Pod, max: {gpu: 1}}, {type: PersistentVolumeClaim}]}", []string{
			`spec.limits[0].type: Invalid value: "A": must be a standard limit type or fully qualified`, "spec.limits[1].default: Forbidden: may not be specified when `type` is 'Pod'",
			`spec.limits[2].type: Duplicate value: "Pod"`, `spec.limits[2].max[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified`,
			`spec.limits[2].max[gpu]: Invalid value: "gpu": must be a standard resource for containers`,
			"spec.limits[3].limits: Required value: either minimum or maximum storage value is required, but neither was provided"}},
		{"ratios", "spec: {limits: [{type: Pod, min: {cpu: 1}, max: {cpu: 2}, maxLimitRequestRatio: {cpu: 3, memory: 500m}}]}", []string{
			`spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "3": ratio 3 is greater than max/min = 2.000000`,
			`spec.limits[0].maxLimitRequestRatio[memory]: Invalid value: "500m": ratio 500m is less than 1`}},
	})
}

func TestNodesAndNamespaces(t *testing.T) {
	testCreate(t, gvk("v1", "Node"), []bad{
		{"taints", "spec: {podCIDRs: [10.0.0.0/8, 11.0.0.0/8, a], taints: [{key: 'a b', value: 'c d', effect: ''}, {key: a, effect: NoSchedule}, {key: a, effect: NoSchedule}]}", []string{
			`metadata.taints[0].key: Invalid value: "a b": name part`, `metadata.taints[0].value: Invalid value: "c d": a valid label`, "metadata.taints[0].effect: Required value",
			`metadata.taints[2]: Duplicate value: {"key":"a","effect":"NoSchedule"}: taints must be unique by key and effect pair`,
			`spec.podCIDRs[2]: Invalid value: "a": must be a valid CIDR value,`,
			`spec.podCIDRs: Invalid value: ["10.0.0.0/8","11.0.0.0/8","a"]: may specify no more than one CIDR for each IP family`}},
	})
	testUpdate(t, gvk("v1", "Node"), false, []change{
		{"fixed", "spec: {podCIDR: 10.0.0.0/24, providerID: a}", "spec: {podCIDR: 10.0.1.0/24, providerID: b}", []string{
			`spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid`, "spec.providerID: Invalid value: null: field cannot be modified once set"}},
		{"cleared", "spec: {providerID: a}", "spec: {}", []string{"spec.providerID: Invalid value: null: field cannot be cleared once set"}},
	})
	testUpdate(t, gvk("v1", "Node"), false, []change{
		{"by the older field", "spec: {podCIDR: 10.0.0.0/24}", "spec: {podCIDR: a, podCIDRs: [10.0.0.0/24]}", []string{
			`spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid`}},
		{"by the newer field alone", "spec: {podCIDR: 10.0.0.0/24}", "spec: {podCIDR: 10.0.0.0/24, podCIDRs: [10.0.1.0/24]}", nil},
	})
	testCreate(t, gvk("v1", "Namespace"), []bad{
		{"finalizers", "spec: {finalizers: [a]}", []string{`spec.finalizers: Invalid value: "a": name is neither a standard finalizer name nor is it fully qualified`}},
	})
	testUpdate(t, gvk("v1", "Namespace"), true, []change{
		{"nothing", "{}", "{}", nil},
		{"ending", "{}", "status: {phase: Terminating}", []string{"status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"}},
	})
	testCreate(t, gvk("v1", "Secret"), []bad{
		{"a login", "{type: kubernetes.io/basic-auth}", []string{"data[username]: Required value", "data[password]: Required value"}},
		{"a key", "{type: kubernetes.io/ssh-auth, stringData: {ssh-privatekey: ''}}", []string{"data[ssh-privatekey]: Required value"}},
		{"a name", "{stringData: {'a b': c}}", []string{`data[a b]: Invalid value: "a b": a valid config key`}},
	})
	testUpdate(t, gvk("v1", "Secret"), false, []change{
		{"its type left out", "{type: kubernetes.io/basic-auth, stringData: {username: u}}", "{stringData: {username: u}}", []string{`type: Invalid value: "Opaque": field is immutable`}},
	})
}

func TestAutoscalersAndBudgets(t *testing.T) {
	const target = "scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}"
	cases := []bad{
		{"counts", "spec: {minReplicas: 0, maxReplicas: 0, scaleTargetRef: {kind: a/b}}", []string{
			"spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas", "spec.maxReplicas: Required value",
			`spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group`,
			`spec.scaleTargetRef.kind: Invalid value: "a/b": may not contain '/'`, "spec.scaleTargetRef.name: Required value"}},
	}
	cases = append(cases, bad{"fewer than none", "spec: {minReplicas: -1, maxReplicas: 1, " + target + "}", []string{
		"spec.minReplicas: Invalid value: -1: must be greater than or equal to 0"}})
	testCreate(t, gvk("autoscaling/v1", "HorizontalPodAutoscaler"), cases)
	testCreate(t, gvk("autoscaling/v2", "HorizontalPodAutoscaler"), append(cases, []bad{
		{"resources of containers", "spec: {scaleTargetRef: {apiVersion: a/v1, kind: A, name: b}, maxReplicas: 1, metrics: [{type: ContainerResource, containerResource: {name: 500m, container: C, target: {type: Utilization, averageUtilization: 1}}}, " +
			"{type: ContainerResource, containerResource: {target: {type: Utilization, averageUtilization: 1}}}]}", []string{
			`spec.metrics[0].containerResource.name: Invalid value: "500m": must be a standard resource type or fully qualified`,
			`spec.metrics[0].containerResource.name: Invalid value: "500m": must be a standard resource for containers`,
			`spec.metrics[0].containerResource.container: Invalid value: "C": a lowercase RFC 1123 label`,
			"spec.metrics[1].containerResource.name: Required value: must specify a resource name",
			"spec.metrics[1].containerResource.container: Required value: must specify a container"}},
		{"metrics", "spec: {maxReplicas: 1, " + target + ", metrics: [{type: Resource}, {type: Pods, pods: {metric: {name: ''}, target: {type: AverageValue, averageValue: -1}}, resource: {name: cpu, target: {type: A}}}]}", []string{
			"spec.metrics[0].resource: Required value: must populate information for the given metric source",
			"spec.metrics[1].pods.metric.name: Required value", `spec.metrics[1].pods.target.averageValue: Invalid value: "-1": must be positive`,
			"spec.metrics[1].pods.target.averageValue: Required value: must specify a positive target averageValue",
			"spec.metrics[1].resource: Forbidden: must populate the given metric source only"}},
		{"behavior", "spec: {maxReplicas: 1, " + target + ", behavior: {scaleUp: {stabilizationWindowSeconds: 3601, selectPolicy: A, policies: [{type: B, value: 0, periodSeconds: 1801}]}}}", []string{
			"spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
			`spec.behavior.scaleUp.selectPolicy: Unsupported value: "A": supported values: "Disabled", "Max", "Min"`,
			`spec.behavior.scaleUp.policies[0].type: Unsupported value: "B": supported values: "Percent", "Pods"`,
			"spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
			"spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800"}},
	}...))
	for _, version := range []string{"autoscaling/v1", "autoscaling/v2"} {
		of := gvk(version, "HorizontalPodAutoscaler")
		testCreate(t, of, []bad{
			{"a core kind", "spec: {maxReplicas: 1, scaleTargetRef: {kind: ReplicationController, name: r}}", nil},
			{"no version", "spec: {maxReplicas: 1, scaleTargetRef: {apiVersion: a/b/c, kind: K, name: r}}", []string{
				`spec.scaleTargetRef.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c`}},
		})
		const grouplessRef = "scaleTargetRef: {kind: Deployment, name: d}"
		testUpdate(t, of, false, []change{
			{"a target as it was", "spec: {maxReplicas: 1, " + grouplessRef + "}", "spec: {maxReplicas: 2, " + grouplessRef + "}", nil},
			{"another target", "spec: {maxReplicas: 1, " + target + "}", "spec: {maxReplicas: 1, " + grouplessRef + "}", []string{
				`spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group`}},
		})
	}
	testUpdate(t, gvk("policy/v1", "PodDisruptionBudget"), true, []change{
		{"sound", "{}", "status: {expectedPods: 1, conditions: [{type: DisruptionAllowed, status: 'True', reason: SufficientPods, lastTransitionTime: '2026-01-01T00:00:00Z'}]}", nil},
		{"conditions and counts", "{}", "status: {disruptionsAllowed: -1, currentHealthy: -1, desiredHealthy: -1, expectedPods: -1, conditions: [{type: A, status: B, reason: C, lastTransitionTime: '2026-01-01T00:00:00Z'}]}", []string{
			`status.conditions[0].status: Unsupported value: "B": supported values: "False", "True", "Unknown"`,
			"status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0", "status.currentHealthy: Invalid value: -1: must be greater than or equal to 0",
			"status.desiredHealthy: Invalid value: -1: must be greater than or equal to 0", "status.expectedPods: Invalid value: -1: must be greater than or equal to 0"}},
	})
	testUpdate(t, gvk("certificates.k8s.io/v1", "CertificateSigningRequest"), true, []change{
		{"conditions", "{}", "status: {conditions: [{type: Failed, status: 'False'}, {type: A, status: B}, {type: A, status: 'Unknown'}, {status: 'True'}]}", []string{
			`status.conditions[0].status: Unsupported value: "False": supported values: "True"`,
			`status.conditions[1].status: Unsupported value: "B": supported values: "False", "True", "Unknown"`,
			`status.conditions[2].type: Duplicate value: "A"`, "status.conditions[3].type: Required value"}},
		{"what was wrong before", "status: {conditions: [{type: A, status: B}]}", "status: {conditions: [{type: A, status: B}]}", nil},
	})
	testUpdate(t, gvk("v1", "Pod"), true, []change{
		{"another class", "status: {qosClass: Burstable}", "status: {qosClass: Guaranteed}", []string{`status.qosClass: Invalid value: "Guaranteed": field is immutable`}},
		{"the first class", "{}", "status: {qosClass: Guaranteed}", nil},
		{"addresses", "status: {podIP: 010.0.0.1, podIPs: [{ip: 010.0.0.1}]}", "status: {podIP: 010.0.0.1, podIPs: [{ip: 010.0.0.1}], hostIP: '::ffff:1.2.3.4', hostIPs: [{ip: '::ffff:1.2.3.4'}]}", []string{
			`status.hostIPs[0]: Invalid value: "::ffff:1.2.3.4": must not be an IPv4-mapped IPv6 address`}},
		{"users", "{}", "status: {containerStatuses: [{name: c, user: {linux: {uid: 4294967296, gid: -1, supplementalGroups: [1, -1]}}}]}", []string{
			"status.containerStatuses[0].user.linux.uid: Invalid value: 4294967296: must be between 0 and 4294967295, inclusive",
			"status.containerStatuses[0].user.linux.gid: Invalid value: -1: must be between 0 and 2147483647, inclusive",
			"status.containerStatuses[0].user.linux.supplementalGroups[1]: Invalid value: -1: must be between 0 and 2147483647, inclusive"}},
		{"a container on Windows", "{}", "spec: {os: {name: windows}}\nstatus: {ephemeralContainerStatuses: [{name: c, user: {linux: {uid: 1, gid: 1}}, allocatedResourcesStatus: [{name: a}]}]}", []string{
			"status.ephemeralContainerStatuses[0].user.linux: Forbidden: cannot be set for a windows pod",
			"status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container status"}},
	})
	testUpdate(t, gvk("v1", "Node"), true, []change{
		{"features", "{}", "status: {declaredFeatures: [A, Bc/d, Bc/d, Ab, x]}", []string{
			`status.declaredFeatures[2]: Duplicate value: "Bc/d"`,
			`status.declaredFeatures[3]: Invalid value: "Ab": list must be sorted alphabetically`,
			`status.declaredFeatures[4]: Invalid value: "x": invalid feature name "x": must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes`}},
	})
	testUpdate(t, gvk("autoscaling/v1", "HorizontalPodAutoscaler"), true, []change{
		{"counts", "{}", "status: {currentReplicas: -1, desiredReplicas: -2}", []string{
			"status.currentReplicas: Invalid value: -1: must be greater than or equal to 0", "status.desiredReplicas: Invalid value: -2: must be greater than or equal to 0"}},
	})
	testCreate(t, gvk("policy/v1", "PodDisruptionBudget"), []bad{
		{"words", "spec: {minAvailable: 101%, unhealthyPodEvictionPolicy: A}", []string{
			`spec.minAvailable: Invalid value: "101%": must not be greater than 100%`, `spec.unhealthyPodEvictionPolicy: Unsupported value: "A": supported values: "AlwaysAllow", "IfHealthyBudget"`}},
	})
}

func TestNetworking(t *testing.T) {
	testCreate(t, gvk("networking.k8s.io/v1", "Ingress"), []bad{
		{"nothing", "spec: {}", []string{"spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"}},
		{"rules", "metadata: {annotations: {kubernetes.io/ingress.class: a}}\nspec: {ingressClassName: A, tls: [{hosts: ['*']}], rules: [{host: 1.1.1.1, http: {paths: []}}, {host: A, http: {paths: [{backend: {}}, {pathType: Prefix, path: a//b, backend: {service: {name: s, port: {name: p, number: 1}}}}]}}]}", []string{
			`annotations.kubernetes.io/ingress.class: Invalid value: "a": can not be set when the class field is also set`,
			`spec.ingressClassName: Invalid value: "A": ` + subdomain1123, `spec.tls[0].hosts[0]: Invalid value: "*": a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which`,
			`spec.rules[0].host: Invalid value: "1.1.1.1": must be a DNS name, not an IP address`, "spec.rules[0].http.paths: Required value",
			`spec.rules[1].host: Invalid value: "A": ` + subdomain1123, "spec.rules[1].http.paths[0].pathType: Required value: pathType must be specified",
			`spec.rules[1].http.paths[1].path: Invalid value: "a//b": must be an absolute path`,
			`spec.rules[1].http.paths[1].path: Invalid value: "a//b": must not contain '//'`,
			`spec.rules[1].http.paths[1].backend: Invalid value: "": cannot set both port name & port number`}},
	})
	testCreate(t, gvk("networking.k8s.io/v1", "IngressClass"), []bad{
		{"parameters", "spec: {controller: a, parameters: {kind: K, name: n, scope: Namespace}}", []string{
			`spec.controller: Invalid value: "a": must be a domain-prefixed path (such as "acme.io/foo")`, "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"}},
	})
	testCreate(t, gvk("networking.k8s.io/v1", "NetworkPolicy"), []bad{
		{"rules", "spec: {policyTypes: [A], ingress: [{ports: [{protocol: X, port: 70000}, {endPort: 1}, {port: http, endPort: 2}, {port: 5, endPort: 4}], from: [{}, {podSelector: {}, ipBlock: {cidr: a}}, {ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/8]}}]}]}", []string{
			`spec.policyTypes[0]: Unsupported value: "A": supported values: "Ingress", "Egress"`,
			`spec.ingress[0].ports[0].protocol: Unsupported value: "X": supported values: "TCP", "UDP", "SCTP"`,
			"spec.ingress[0].ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
			"spec.ingress[0].ports[1].port: Required value: must be specified when `endPort` is specified",
			"spec.ingress[0].ports[2].endPort: Invalid value: 2: may not be specified when `port` is non-numeric",
			"spec.ingress[0].ports[3].endPort: Invalid value: 4: must be greater than or equal to `port`",
			"spec.ingress[0].from[0]: Required value: must specify a peer", "spec.ingress[0].from[1]: Forbidden: may not specify both ipBlock and another peer",
			`spec.ingress[0].from[1].ipBlock.cidr: Invalid value: "a": must be a valid CIDR value,`,
			"spec.ingress[0].from[2].ipBlock.except[0]: Invalid value: \"11.0.0.0/8\": must be a strict subset of `cidr`"}},
	})
	testCreate(t, gvk("discovery.k8s.io/v1", "EndpointSlice"), []bad{
		{"endpoints", "{addressType: IPv4, endpoints: [{}, {addresses: [a, '::1', 169.254.1.1], nodeName: A, hostname: B}], ports: [{name: A}, {name: a, protocol: X}, {name: a}]}", []string{
			"endpoints[0].addresses: Required value", `endpoints[1].addresses[0]: Invalid value: "a": must be a valid IP address,`,
			`endpoints[1].addresses: Invalid value: "::1": must be an IPv4 address`,
			`endpoints[1].addresses[2]: Invalid value: "169.254.1.1": may not be in the link-local range (169.254.0.0/16, fe80::/10)`,
			`endpoints[1].nodeName: Invalid value: "A": ` + subdomain1123, `endpoints[1].hostname: Invalid value: "B": ` + label1123,
			`ports[0].name: Invalid value: "A": ` + label1123, `ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"`, `ports[2].name: Duplicate value: "a"`}},
	})
	testCreate(t, gvk("v1", "Endpoints"), []bad{
		{"subsets", "subsets: [{}, {addresses: [{ip: 0.0.0.0}], ports: [{port: 1}, {name: a, port: 0}]}]", []string{
			"subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`", `subsets[1].addresses[0].ip: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)`,
			"subsets[1].ports[0].name: Required value", "subsets[1].ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive"}},
	})
	testCreate(t, gvk("coordination.k8s.io/v1", "Lease"), []bad{
		{"numbers, and an election that is not held", "spec: {leaseDurationSeconds: 0, leaseTransitions: -1, preferredHolder: a}", []string{
			"spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0", "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0"}},
	})
	testCreate(t, gvk("v1", "Event"), []bad{
		{"elsewhere", "metadata: {namespace: a}\ninvolvedObject: {namespace: b}", []string{`involvedObject.namespace: Invalid value: "b": does not match event.namespace`}},
		{"of the newer sort", "metadata: {namespace: a}\ninvolvedObject: {namespace: a}\neventTime: '2026-01-01T00:00:00.000000Z'", []string{
			"reportingComponent: Required value", `reportingComponent: Invalid value: "": name part must be non-empty`, `reportingComponent: Invalid value: "": name part`, "reportingInstance: Required value", "action: Required value", "reason: Required value"}},
	})
	const newer = "metadata: {namespace: a}\nregarding: {namespace: a}\nreportingController: c.d/e\nreportingInstance: i\naction: A\nreason: R\n"
	const now = "eventTime: '2026-01-01T00:00:00.000001Z'\n"
	testCreate(t, gvk("events.k8s.io/v1", "Event"), []bad{
		{"what the older form has", newer + now + "type: Normal\ndeprecatedCount: 1\ndeprecatedSource: {host: h}\ndeprecatedFirstTimestamp: '2026-01-01T00:00:00Z'\ndeprecatedLastTimestamp: '2026-01-01T00:00:00Z'", []string{
			`count: Invalid value: "": needs to be unset`, `source: Invalid value: "": needs to be unset`,
			`firstTimestamp: Invalid value: "": needs to be unset`, `lastTimestamp: Invalid value: "": needs to be unset`}},
		{"no time, no type and a short series", newer + "series: {count: 1}", []string{
			"eventTime: Required value", `type: Invalid value: "": has invalid value: `,
			`series.count: Invalid value: "": should be at least 2`, "series.lastObservedTime: Required value"}},
	})
	testUpdate(t, gvk("events.k8s.io/v1", "Event"), false, []change{
		{"its series", newer + now, newer + "eventTime: '2026-01-01T00:00:00.000001Z'\nseries: {count: 2, lastObservedTime: '2026-01-01T00:00:01.000000Z'}", nil},
		{"what happened", newer + now + "note: n", newer + "eventTime: '2026-01-01T00:00:01.000000Z'\nnote: other\ntype: Normal\nrelated: {name: r}\nseries: {count: 1, lastObservedTime: '2026-01-01T00:00:01.000000Z'}", []string{
			`message: Invalid value: "other": field is immutable`, `type: Invalid value: "Normal": field is immutable`,
			`eventTime: Invalid value: "2026-01-01T00:00:01.000000Z": field is immutable`,
			`related: Invalid value: {"name":"r"}: field is immutable`, `series.count: Invalid value: "": should be at least 2`}},
	})
}

func TestRoles(t *testing.T) {
	testCreate(t, gvk("rbac.authorization.k8s.io/v1", "Role"), []bad{
		{"rules", "rules: [{}, {verbs: [get], nonResourceURLs: [/a], resources: [pods]}]", []string{
			"rules[0].verbs: Required value", "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
			"rules[0].resources: Required value: resource rules must supply at least one resource",
			`rules[1].nonResourceURLs: Invalid value: ["/a"]: namespaced rules cannot apply to non-resource URLs`,
			`rules[1].nonResourceURLs: Invalid value: ["/a"]: rules cannot apply to both regular resources and non-resource URLs`}},
	})
	testCreate(t, gvk("rbac.authorization.k8s.io/v1", "ClusterRole"), []bad{
		{"selectors", "aggregationRule: {clusterRoleSelectors: [{matchExpressions: [{key: a, operator: Is}]}]}", []string{
			`aggregationRule.clusterRoleSelectors[0].matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator`,
			"aggregationRule.clusterRoleSelectors[0]: Invalid value: null: invalid label selector."}},
	})
	testCreate(t, gvk("rbac.authorization.k8s.io/v1", "RoleBinding"), []bad{
		{"nothing", "{}", []string{`roleRef.kind: Unsupported value: "": supported values: "Role", "ClusterRole"`, "roleRef.name: Required value"}},
		{"subjects", "roleRef: {kind: Role, name: a, apiGroup: x}\nsubjects: [{kind: ServiceAccount, name: A, apiGroup: x}, {kind: User, name: '', apiGroup: x}, {kind: X, name: a}]", []string{
			`roleRef.apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io"`, `subjects[0].name: Invalid value: "A": ` + subdomain1123,
			`subjects[0].apiGroup: Unsupported value: "x": supported values: ""`, "subjects[1].name: Required value",
			`subjects[1].apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io"`,
			`subjects[2].kind: Unsupported value: "X": supported values: "ServiceAccount", "User", "Group"`}},
	})
	testUpdate(t, gvk("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"), false, []change{
		{"another role", "roleRef: {kind: ClusterRole, name: a}", "roleRef: {kind: ClusterRole, name: b}", []string{
			`roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"b"}: field is immutable`}},
	})
}

func TestPriorityAndRuntimeClasses(t *testing.T) {
	priority, runtime := gvk("scheduling.k8s.io/v1", "PriorityClass"), gvk("node.k8s.io/v1", "RuntimeClass")
	const system = "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: "
	testCreate(t, priority, []bad{
		{"too high", "metadata: {name: a}\nvalue: 1000000001\npreemptionPolicy: X", []string{"value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
			`preemptionPolicy: Unsupported value: "X": supported values: "PreemptLowerPriority", "Never"`}},
		{"the system's", "metadata: {name: system-node-critical}\nvalue: 2000001000", nil},
		{"the system's with another value", "metadata: {name: system-node-critical}\nvalue: 1", []string{system + "value of system-node-critical PriorityClass must be 2000001000"}},
		{"the system's for all", "metadata: {name: system-node-critical}\nvalue: 2000001000\nglobalDefault: true", []string{system + "globalDefault of system-node-critical PriorityClass must be false"}},
		{"not the system's", "metadata: {name: system-x}", []string{system + "system-x is not a known system priority class"}},
	})
	testUpdate(t, priority, false, []change{
		{"another value", "metadata: {name: a}\nvalue: 1", "metadata: {name: a}\nvalue: 1000000001", []string{"value: Forbidden: may not be changed in an update."}},
	})
	testCreate(t, runtime, []bad{
		{"no handler", "{}", []string{"handler: Required value"}},
		{"a handler", "handler: A", []string{`handler: Invalid value: "A": ` + label1123}},
		{"tolerations", "handler: a\nscheduling: {tolerations: [{key: a, operator: Exists, effect: NoExecute}, {key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 1}]}", []string{
			`scheduling.tolerations[1]: Duplicate value: {"key":"a","operator":"Exists","effect":"NoExecute","tolerationSeconds":1}`}},
	})
	testUpdate(t, runtime, false, []change{{"another handler", "handler: a", "handler: B", []string{`handler: Invalid value: null: field is immutable`}}})
}

func TestIngressBackends(t *testing.T) {
	testCreate(t, gvk("networking.k8s.io/v1", "Ingress"), []bad{
		{"a Service that begins with a digit", "spec: {defaultBackend: {service: {name: 1a, port: {number: 80}}}}", nil},
		{"no name and no port", "spec: {defaultBackend: {service: {}}}", []string{"spec.defaultBackend.service.name: Required value", "spec.defaultBackend: Required value: port name or number is required"}},
		{"nothing", "spec: {defaultBackend: {}}", []string{`spec.defaultBackend: Invalid value: "": resource or service backend is required`}},
		{"an empty group", "spec: {defaultBackend: {resource: {apiGroup: '', kind: A, name: a}}}", []string{`spec.defaultBackend.resource.apiGroup: Invalid value: "": ` + subdomain1123}},
	})
}
