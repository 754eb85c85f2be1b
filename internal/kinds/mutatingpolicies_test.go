package kinds

import "testing"

func TestMutatingAdmissionPolicies(t *testing.T) {
	const constraints = "matchConstraints: {resourceRules: [{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]}"
	mutation := func(m string) string {
		return "spec: {" + constraints + ", reinvocationPolicy: Never, mutations: [" + m + "]}"
	}
	testCreate(t, gvk("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy"), []bad{
		{"a configuration", mutation("{patchType: ApplyConfiguration, applyConfiguration: {expression: 'Object{spec: Object.spec{x: 1}}'}}"), nil},
		{"a JSON patch", mutation("{patchType: JSONPatch, jsonPatch: {expression: \"[JSONPatch{op: 'remove', path: '/x'}]\"}}"), nil},
		{"nothing", "spec: {}", []string{
			"spec.matchConstraints: Required value", "spec.mutations: Required value: mutations must contain at least one item", "spec.reinvocationPolicy: Required value"}},
		{"of deletions", "spec: {matchConstraints: {resourceRules: [{operations: [DELETE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]}, reinvocationPolicy: Often, mutations: [{}]}", []string{
			`spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE"`,
			"spec.mutations[0].patchType: Required value",
			`spec.reinvocationPolicy: Unsupported value: "Often": supported values: "IfNeeded", "Never"`}},
		{"a type of patch", mutation("{patchType: Merge}"), []string{
			`spec.mutations[0].patchType: Unsupported value: "Merge": supported values: "ApplyConfiguration", "JSONPatch"`}},
		{"the other member", mutation("{patchType: JSONPatch, applyConfiguration: {expression: 'Object{}'}}, {patchType: ApplyConfiguration, jsonPatch: {expression: '[]'}}"), []string{
			"spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
			`spec.mutations[0].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch`,
			"spec.mutations[1].applyConfiguration: Required value: must be specified when patchType is ApplyConfiguration",
			`spec.mutations[1].jsonPatch: Invalid value: "{jsonPatch}": must not be specified when patchType is ApplyConfiguration`}},
		{"expressions", mutation("{patchType: JSONPatch, jsonPatch: {expression: '1'}}, {patchType: ApplyConfiguration, applyConfiguration: {expression: 'object'}}, {patchType: ApplyConfiguration, applyConfiguration: {expression: ' '}}"), []string{
			`spec.mutations[0].jsonPatch.expression: Invalid value: "1": must evaluate to list(JSONPatch) but got int`,
			`spec.mutations[1].applyConfiguration.expression: Invalid value: "object": must evaluate to Object but got dyn`,
			"spec.mutations[2].applyConfiguration.expression: Required value"}},
		{"no patches in variables", "spec: {" + constraints + ", reinvocationPolicy: Never, variables: [{name: v, expression: 'Object{}'}], mutations: [{patchType: ApplyConfiguration, applyConfiguration: {expression: 'Object{}'}}]}", []string{
			`spec.variables[0].expression: Invalid value: "Object{}": compilation failed: ERROR: <input>:1:7: undeclared reference to 'Object' (in container '')`}},
	})
	testCreate(t, gvk("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicyBinding"), []bad{
		{"sound", "spec: {policyName: p}", nil},
		{"nothing", "spec: {}", []string{"spec.policyName: Required value"}},
		{"of deletions", "spec: {policyName: p, matchResources: {resourceRules: [{operations: [DELETE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]}}", []string{
			`spec.matchResources.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE"`}},
	})
}
