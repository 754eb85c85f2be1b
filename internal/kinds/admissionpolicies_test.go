package kinds

import (
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
)

func TestValidatingAdmissionPolicies(t *testing.T) {
	const constraints = "matchConstraints: {resourceRules: [{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]}"
	spec := func(more string) string { return "{metadata: {name: p}, spec: {" + constraints + ", " + more + "}}" }
	validation := func(v string) string { return spec("validations: [" + v + "]") }
	params := func(p string) string {
		return spec("paramKind: " + p + ", validations: [{expression: 'params.x == 1'}]")
	}
	testCreate(t, gvk("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"), []bad{
		{"sound", validation("{expression: 'object.x == 1', message: m, reason: Forbidden, messageExpression: \"'a'\"}"), nil},
		{"nothing", "{metadata: {name: p}, spec: {}}", []string{
			"spec.matchConstraints: Required value",
			"spec.validations: Required value: validations or auditAnnotations must contain at least one item",
			"spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item"}},
		{"no rules", "{metadata: {name: p}, spec: {failurePolicy: Maybe, matchConstraints: {matchPolicy: Similar}, validations: [{expression: 'true'}]}}", []string{
			`spec.failurePolicy: Unsupported value: "Maybe": supported values: "Fail", "Ignore"`,
			`spec.matchConstraints.matchPolicy: Unsupported value: "Similar": supported values: "Equivalent", "Exact"`,
			"spec.matchConstraints.resourceRules: Required value"}},
		{"names", "{metadata: {name: p}, spec: {matchConstraints: {resourceRules: [{resourceNames: [a, a, 'b/c'], operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]}, validations: [{expression: 'true'}]}}", []string{
			`spec.matchConstraints.resourceRules[0].resourceNames[1]: Duplicate value: "a"`,
			`spec.matchConstraints.resourceRules[0].resourceNames[2]: Invalid value: "b/c": may not contain '/'`}},
		{"an expression", validation("{expression: '1'}"), []string{`spec.validations[0].expression: Invalid value: "1": must evaluate to bool but got int`}},
		{"no expression", validation("{expression: ' ', messageExpression: ' ', message: ' ', reason: Conflict}"), []string{
			"spec.validations[0].expression: Required value: expression is not specified",
			`spec.validations[0].messageExpression: Invalid value: " ": must be non-empty if specified`,
			`spec.validations[0].message: Invalid value: " ": message must be non-empty if specified`,
			`spec.validations[0].reason: Unsupported value: "Conflict": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge"`}},
		{"a message", validation("{expression: 'true', message: \"a\\nb\"}"), []string{
			`spec.validations[0].message: Invalid value: "a\nb": message must not contain line breaks`}},
		{"a message's expression", validation("{expression: 'true', messageExpression: '1'}"), []string{
			`spec.validations[0].messageExpression: Invalid value: "1": must evaluate to string but got int`}},
		{"the authorizer in a message", validation("{expression: \"authorizer.path('/').check('get').allowed()\", messageExpression: \"authorizer.path('/').check('get').reason()\"}"), []string{
			`spec.validations[0].messageExpression: Invalid value: "authorizer.path('/').check('get').reason()": compilation failed: ERROR: <input>:1:1: undeclared reference to 'authorizer' (in container '')`}},
		{"parameters", params("{apiVersion: v1, kind: ConfigMap}"), nil},
		{"no parameters", spec("validations: [{expression: 'params.x == 1'}]"), []string{
			`spec.validations[0].expression: Invalid value: "params.x == 1": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')`}},
		{"a kind of parameters", params("{apiVersion: a/b/c, kind: '1'}"), []string{
			`spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c`,
			`spec.paramKind.kind: Invalid value: "1": may have mixed case, but should otherwise match: a DNS-1035 label`}},
		{"an empty kind of parameters", params("{}"), []string{"spec.paramKind.apiVersion: Required value", "spec.paramKind.kind: Required value"}},
		{"variables", spec("variables: [{name: a, expression: '1'}, {name: b, expression: 'variables.a + 1'}], validations: [{expression: variables.b == 2}]"), nil},
		{"bad variables", spec("variables: [{name: 'in', expression: '1'}, {name: '', expression: ''}, {name: c, expression: 'variables.d'}], validations: [{expression: variables.c == 2}]"), []string{
			`spec.variables[0].name: Invalid value: "in": must be a valid CEL identifier`,
			"spec.variables[1].name: Required value: name is not specified",
			"spec.variables[1].expression: Required value: expression is not specified",
			`spec.variables[2].expression: Invalid value: "variables.d": compilation failed: ERROR: <input>:1:10: undefined field 'd'`}},
		{"annotations", spec("auditAnnotations: [{key: a, valueExpression: \"'x'\"}, {key: a, valueExpression: 'true'}, {key: b c, valueExpression: ' '}]"), []string{
			`spec.auditAnnotations[1].valueExpression: Invalid value: "true": must evaluate to one of [string null_type] but got bool`,
			`spec.auditAnnotations[1].key: Duplicate value: "a"`,
			`spec.auditAnnotations[2].key: Invalid value: "p/b c": name part`,
			"spec.auditAnnotations[2].valueExpression: Required value: valueExpression is not specified"}},
	})
	testUpdate(t, gvk("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"), true, []change{
		{"a status", "{}", "{status: {typeChecking: {expressionWarnings: [{}, {fieldRef: 'spec.validations[0].expression', warning: w}, {fieldRef: '[', warning: w}]}}}", []string{
			"status.typeChecking.expressionWarnings[0].warning: Required value", "status.typeChecking.expressionWarnings[0].fieldRef: Required value",
			`status.typeChecking.expressionWarnings[2].fieldRef: Invalid value: "[": invalid JSONPath: unterminated array`}},
	})
}

func TestValidatingAdmissionPolicyBindings(t *testing.T) {
	spec := func(more string) string { return "spec: {policyName: p, validationActions: [Deny], " + more + "}" }
	ref := func(r string) string { return spec("paramRef: " + r) }
	testCreate(t, gvk("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"), []bad{
		{"sound", ref("{name: n, parameterNotFoundAction: Deny}"), nil},
		{"nothing", "spec: {}", []string{
			"spec.policyName: Required value", "spec.validationActions: Required value"}},
		{"a policy's name", "spec: {policyName: P, validationActions: [Audit]}", []string{`spec.policyName: Invalid value: "P": a lowercase RFC 1123 subdomain`}},
		{"actions", "spec: {policyName: p, validationActions: [Deny, Warn, Warn, Shout]}", []string{
			`spec.validationActions[2]: Duplicate value: "Warn"`,
			`spec.validationActions[3]: Unsupported value: "Shout": supported values: "Audit", "Deny", "Warn"`,
			`spec.validationActions: Invalid value: ["Deny","Warn","Warn","Shout"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)`}},
		{"no parameter", ref("{}"), []string{
			"spec.paramRef: Required value: one of name or selector must be specified", "spec.paramRef.parameterNotFoundAction: Required value"}},
		{"parameters twice", ref("{name: 'a/b', selector: {}, parameterNotFoundAction: Panic}"), []string{
			`spec.paramRef.name: Invalid value: "a/b": may not contain '/'`,
			"spec.paramRef.name: Forbidden: name and selector are mutually exclusive", "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
			`spec.paramRef.parameterNotFoundAction: Unsupported value: "Panic": supported values: "Deny", "Allow"`}},
		{"resources", spec("matchResources: {objectSelector: {matchExpressions: [{key: a, operator: Near}]}}"), []string{
			`spec.matchResources.objectSelector.matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator`}},
	})
	_, obj := read(t, gvk("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"),
		spec("matchResources: {resourceRules: [{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]}"))
	m := obj.(*admissionv1.ValidatingAdmissionPolicyBinding).Spec.MatchResources
	if *m.MatchPolicy != admissionv1.Equivalent || m.NamespaceSelector == nil || m.ObjectSelector == nil || *m.ResourceRules[0].Scope != admissionv1.AllScopes {
		t.Errorf("the defaults are %+v", m)
	}
}

func TestParamColumns(t *testing.T) {
	for want, ref := range map[string]*admissionv1.ParamRef{
		"<unset>": nil, "a/b": {Namespace: "a", Name: "b"}, "*/b": {Name: "b"}, "a/*": {Namespace: "a"}, "*/*": {},
	} {
		if got := formatParamRef(ref); got != want {
			t.Errorf("%v is shown as %s, not %s", ref, got, want)
		}
	}
}
