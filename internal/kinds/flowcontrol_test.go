package kinds

import "testing"

func TestFlowSchemas(t *testing.T) {
	const level = "priorityLevelConfiguration: {name: global-default}"
	subject := func(s string) string {
		return "spec: {" + level + ", rules: [{subjects: [" + s + "], nonResourceRules: [{verbs: ['*'], nonResourceURLs: ['*']}]}]}"
	}
	resource := func(r string) string {
		return "spec: {" + level + ", rules: [{subjects: [{kind: User, user: {name: jane}}], resourceRules: [" + r + "]}]}"
	}
	path := func(p string) string {
		return "spec: {" + level + ", rules: [{subjects: [{kind: User, user: {name: jane}}], nonResourceRules: [" + p + "]}]}"
	}
	testCreate(t, gvk("flowcontrol.apiserver.k8s.io/v1", "FlowSchema"), []bad{
		{"sound", resource("{verbs: [get, list], apiGroups: [''], resources: [pods], namespaces: [default]}"), nil},
		{"of the cluster", resource("{verbs: ['*'], apiGroups: ['*'], resources: ['*'], clusterScope: true}"), nil},
		{"nothing", "spec: {}", []string{"spec.priorityLevelConfiguration.name: Required value: must reference a priority level"}},
		{"precedence", "spec: {matchingPrecedence: -1, " + level + "}", []string{"spec.matchingPrecedence: Invalid value: -1: must be a positive value"}},
		{"late", "spec: {matchingPrecedence: 10001, " + level + "}", []string{"spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"}},
		{"first", "spec: {matchingPrecedence: 1, " + level + "}", []string{"spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"}},
		{"a distinguisher", "spec: {distinguisherMethod: {type: A}, " + level + "}",
			[]string{`spec.distinguisherMethod.type: Unsupported value: {"type":"A"}: supported values: "ByNamespace", "ByUser"`}},
		{"a level's name", "spec: {priorityLevelConfiguration: {name: A}}", []string{`spec.priorityLevelConfiguration.name: Invalid value: "A": a lowercase RFC 1123 subdomain`}},
		{"an empty rule", "spec: {" + level + ", rules: [{}]}", []string{
			"spec.rules[0].subjects: Required value: subjects must contain at least one value",
			"spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty"}},
		{"a subject's kind", subject("{kind: Robot}"), []string{`spec.rules[0].subjects[0].kind: Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User"`}},
		{"a missing member", subject("{kind: User}"), []string{"spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'"}},
		{"another member", subject("{kind: Group, group: {name: g}, user: {name: u}}"),
			[]string{"spec.rules[0].subjects[0].user: Forbidden: user is forbidden when subject kind is not 'User'"}},
		{"an account", subject("{kind: ServiceAccount, serviceAccount: {name: ''}}"), []string{
			"spec.rules[0].subjects[0].serviceAccount.name: Required value",
			"spec.rules[0].subjects[0].serviceAccount.namespace: Required value: must specify namespace for service account"}},
		{"all accounts", subject("{kind: ServiceAccount, serviceAccount: {name: '*', namespace: kube-system}}"), nil},
		{"lists", resource("{verbs: [get, '*'], apiGroups: [a, '*'], resources: []}"), []string{
			`spec.rules[0].resourceRules[0].verbs: Invalid value: ["get","*"]: if '*' is present, must not specify other verbs`,
			`spec.rules[0].resourceRules[0].apiGroups: Invalid value: ["a","*"]: if '*' is present, must not specify other api groups`,
			"spec.rules[0].resourceRules[0].resources: Required value: resource rules must supply at least one resource",
			"spec.rules[0].resourceRules[0].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace"}},
		{"a verb", path("{verbs: [grab], nonResourceURLs: ['*']}"), []string{
			`spec.rules[0].nonResourceRules[0].verbs: Unsupported value: ["grab"]: supported values: "create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"`}},
		{"paths", path("{verbs: [get], nonResourceURLs: [a, '/a b', //a, /*a, '', /, /a/*]}"), []string{
			`spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "a": must start with slash`,
			`spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: "/a b": must not contain white-space`,
			`spec.rules[0].nonResourceRules[0].nonResourceURLs[2]: Invalid value: "//a": must not contain double slash`,
			`spec.rules[0].nonResourceRules[0].nonResourceURLs[3]: Invalid value: "/*a": wildcard can only do suffix matching`,
			`spec.rules[0].nonResourceRules[0].nonResourceURLs[4]: Invalid value: "": must not be empty`}},
		{"a namespace", resource("{verbs: [get], apiGroups: [''], resources: [pods], namespaces: [A]}"),
			[]string{`spec.rules[0].resourceRules[0].namespaces[0]: Invalid value: "A": each member of this list must be '*' or a DNS-1123 label; a lowercase RFC 1123 label`}},
	})
	testUpdate(t, gvk("flowcontrol.apiserver.k8s.io/v1", "FlowSchema"), true, []change{
		{"conditions", "spec: {" + level + "}", "status: {conditions: [{type: A}, {type: A}, {status: 'True'}]}", []string{
			`status.conditions[1].type: Duplicate value: "A"`, "status.conditions[2].type: Required value"}},
	})
}

func TestPriorityLevels(t *testing.T) {
	testCreate(t, gvk("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration"), []bad{
		{"sound", "spec: {type: Limited, limited: {limitResponse: {type: Queue, queuing: {}}}}", nil},
		{"rejecting", "spec: {type: Limited, limited: {limitResponse: {type: Reject}}}", nil},
		{"nothing", "spec: {}", []string{"spec.type: Required value"}},
		{"a type", "spec: {type: A}", []string{`spec.type: Unsupported value: "A": supported values: "Exempt", "Limited"`}},
		{"another exempt one", "spec: {type: Exempt, limited: {}, exempt: {nominalConcurrencyShares: -1, lendablePercent: 101}}", []string{
			"spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'", "spec.limited: Forbidden",
			"spec.exempt.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
			"spec.exempt.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive"}},
		{"not limited", "spec: {type: Limited, exempt: {}}", []string{"spec.exempt: Forbidden", "spec.limited: Required value"}},
		{"numbers", "spec: {type: Limited, limited: {nominalConcurrencyShares: -1, lendablePercent: -1, borrowingLimitPercent: -1, limitResponse: {type: Reject, queuing: {}}}}", []string{
			"spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
			"spec.limited.lendablePercent: Invalid value: -1: must be between 0 and 100, inclusive",
			"spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
			"spec.limited.limitResponse.queuing: Forbidden"}},
		{"a response", "spec: {type: Limited, limited: {limitResponse: {type: A}}}", []string{`spec.limited.limitResponse.type: Unsupported value: "A": supported values: "Queue", "Reject"`}},
		{"no queues", "spec: {type: Limited, limited: {limitResponse: {type: Queue}}}",
			[]string{"spec.limited.limitResponse.queuing: Required value"}},
		{"queues", "spec: {type: Limited, limited: {limitResponse: {type: Queue, queuing: {queues: 10000001, handSize: -1, queueLengthLimit: -1}}}}", []string{
			"spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: -1: must be positive",
			"spec.limited.limitResponse.queuing.queues: Invalid value: 10000001: must not be greater than 10000000",
			"spec.limited.limitResponse.queuing.handSize: Invalid value: -1: must be positive"}},
		{"a hand larger than the deck", "spec: {type: Limited, limited: {limitResponse: {type: Queue, queuing: {queues: 4}}}}",
			[]string{"spec.limited.limitResponse.queuing.handSize: Invalid value: 8: should not be greater than queues (4)"}},
		{"too large a hand", "spec: {type: Limited, limited: {limitResponse: {type: Queue, queuing: {queues: 512}}}}",
			[]string{"spec.limited.limitResponse.queuing.handSize: Invalid value: 8: required entropy bits of deckSize 512 and handSize 8 should not be greater than 60"}},
	})
}
