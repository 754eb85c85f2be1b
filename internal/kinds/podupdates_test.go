package kinds

import "testing"

// A pod that there is may change little.
func TestPodUpdates(t *testing.T) {
	const immutable = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`," +
		"`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
	const terms = "requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: "
	gated := func(more string) string { return withSpec("schedulingGates: [{name: g}], " + more) }
	nodes := func(list string) string { return gated("affinity: {nodeAffinity: {" + terms + list + "}}}") }
	testUpdate(t, gvk("v1", "Pod"), false, []change{
		{"an image", inContainer("stdin: true"), "metadata: {name: p}\nspec: {containers: [{name: c, image: 'j:1', imagePullPolicy: Always, stdin: true}]}", nil},
		{"a command", inContainer("stdin: true"), inContainer("stdin: true, command: [a]"), []string{immutable}},
		{"a container", withSpec("subdomain: a"), "spec: {containers: []}", []string{"spec.containers: Forbidden: pod updates may not add or remove containers"}},
		{"a deadline", withSpec("activeDeadlineSeconds: 5"), withSpec("activeDeadlineSeconds: 6"),
			[]string{"spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value"}},
		{"no deadline", withSpec("activeDeadlineSeconds: 5"), withSpec("subdomain: ''"),
			[]string{"spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"}},
		{"more tolerations", withSpec("tolerations: [{key: a}]"), withSpec("tolerations: [{key: a, effect: ''}, {key: b}]"), nil},
		{"other tolerations", withSpec("tolerations: [{key: a}]"), withSpec("tolerations: [{key: b}]"),
			[]string{"spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"}},
		{"another gate", withSpec("schedulingGates: [{name: a}]"), withSpec("schedulingGates: [{name: b}]"),
			[]string{"spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'b'"}},
		{"narrower while gated", gated("nodeSelector: {a: b}"), gated("nodeSelector: {a: b, c: d}"), nil},
		{"wider while gated", gated("nodeSelector: {a: b}"), gated("nodeSelector: {c: d}"),
			[]string{`spec.nodeSelector: Invalid value: {"c":"d"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)`}},
		{"other nodes while gated", nodes("[{matchExpressions: [{key: a, operator: Exists}]}]"), nodes("[{matchExpressions: [{key: b, operator: Exists}]}]"), []string{
			`spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]: Invalid value: {"matchExpressions":[{"key":"b","operator":"Exists"}]}: only additions are allowed (no mutations or deletions)`}},
		{"fewer nodes while gated", nodes("[{matchExpressions: [{key: a, operator: Exists}]}]"), nodes("[{matchExpressions: [{key: a, operator: Exists}, {key: b, operator: Exists}]}]"), nil},
		{"narrower without gates", withSpec("nodeSelector: {a: b}"), withSpec("nodeSelector: {a: b, c: d}"), []string{immutable}},
		{"a mirror", withSpec("nodeName: n"), "metadata: {name: p, annotations: {kubernetes.io/config.mirror: a}}\nspec: {nodeName: n, containers: [{name: c, image: i}]}",
			[]string{"metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not add mirror pod annotation"}},
	})
	const restarted = "spec: {restartPolicy: Never, containers: [{name: c, image: i}, {name: d, image: i, restartPolicy: Never, " +
		"restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]}]}\n" +
		"status: {containerStatuses: [{name: c, state: {terminated: {exitCode: 0}}}]}"
	const ended = "spec: {restartPolicy: Never, containers: [{name: c, image: i}]}\nstatus: {containerStatuses: [{name: c, state: {terminated: {exitCode: 0}}}]}"
	testUpdate(t, gvk("v1", "Pod"), true, []change{
		{"claims", "spec: {resourceClaims: [{name: a}], containers: [{name: c, resources: {requests: {e.com/x: 1}}}]}", "spec: {resourceClaims: [{name: a}], containers: [{name: c, resources: {requests: {e.com/x: 1}}}]}\n" +
			"status: {resourceClaimStatuses: [{name: a, resourceClaimName: p-a}], extendedResourceClaimStatus: {resourceClaimName: p-x, requestMappings: [{containerName: c, resourceName: e.com/x, requestName: r}]}}", nil},
		{"other claims", "{}", "spec: {resourceClaims: [{name: a}], containers: [{name: c}]}\nstatus: {resourceClaimStatuses: [{name: a, resourceClaimName: A}, {name: a}, {name: b}], " +
			"extendedResourceClaimStatus: {requestMappings: [{containerName: c, resourceName: e.com/x, requestName: r}, {containerName: d, resourceName: e.com/x, requestName: R}]}}", []string{
			`status.resourceClaimStatuses[0].resourceClaimName: Invalid value: "A": ` + subdomain1123, `status.resourceClaimStatuses[1].name: Duplicate value: "a"`,
			"status.resourceClaimStatuses[2].name: Invalid value: \"b\": must match the name of an entry in `spec.resourceClaims`",
			"status.extendedResourceClaimStatus.resourceClaimName: Required value",
			`status.extendedResourceClaimStatus.requestMappings[0].resourceName: Invalid value: "e.com/x": must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests`,
			`status.extendedResourceClaimStatus.requestMappings[1].containerName: Invalid value: "d": must match the name of an entry in spec.initContainers.name or spec.containers.name`,
			`status.extendedResourceClaimStatus.requestName: Invalid value: "R": ` + label1123}},
		{"back to life", ended, "status: {containerStatuses: [{name: c, state: {running: {}}}]}",
			[]string{"status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"}},
		{"back to life with its pod", restarted, "status: {containerStatuses: [{name: c, state: {running: {}}}]}", nil},
		{"addresses", "{}", "status: {hostIP: 1.1.1.1, hostIPs: [{ip: 1.1.1.2}], podIPs: [{ip: a}, {ip: 1.1.1.1}, {ip: 1.1.1.1}], conditions: [{type: 'a b', status: 'True'}]}", []string{
			"status.hostIPs[0].ip: Invalid value: \"1.1.1.2\": must be equal to `hostIP`", `status.podIPs[0]: Invalid value: "a": must be a valid IP address,`,
			`status.podIPs: Invalid value: [{"ip":"a"},{"ip":"1.1.1.1"},{"ip":"1.1.1.1"}]: may specify no more than one IP for each IP family`,
			`status.podIPs[2]: Duplicate value: "1.1.1.1"`, `metadata.conditions[0].Type: Invalid value: "a b": name part`}},
	})
}
