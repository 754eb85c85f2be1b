package kinds

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
)

func TestWebhookConfigurations(t *testing.T) {
	const rule = "{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}"
	hook := func(more string) string {
		return "webhooks: [{name: a.example.com, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {url: 'https://h'}" + more + "}]"
	}
	client := func(config string) string {
		return "webhooks: [{name: a.example.com, sideEffects: None, admissionReviewVersions: [v1], clientConfig: " + config + "}]"
	}
	rules := func(r string) string { return hook(", rules: [" + r + "]") }
	resources := func(list string) string {
		return rules("{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: " + list + "}")
	}
	cases := []bad{
		{"sound", hook(", rules: [" + rule + "], failurePolicy: Ignore, matchPolicy: Exact, timeoutSeconds: 30, matchConditions: []"), nil},
		{"no webhooks", "webhooks: []", nil},
		{"nothing", "webhooks: [{}]", []string{
			"webhooks[0].name: Required value",
			"webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
			"webhooks[0].clientConfig: Required value: exactly one of url or service is required",
			"webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1"}},
		{"a short name", "webhooks: [{name: a.b, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {url: 'https://h'}}]",
			[]string{`webhooks[0].name: Invalid value: "a.b": should be a domain with at least three segments separated by dots`}},
		{"a name twice", strings.TrimSuffix(hook(""), "]") + "," + strings.TrimPrefix(hook(""), "webhooks: ["),
			[]string{`webhooks[1].name: Duplicate value: "a.example.com"`}},
		{"words", hook(", failurePolicy: Maybe, matchPolicy: Similar, timeoutSeconds: 31"), []string{
			`webhooks[0].failurePolicy: Unsupported value: "Maybe": supported values: "Fail", "Ignore"`,
			`webhooks[0].matchPolicy: Unsupported value: "Similar": supported values: "Equivalent", "Exact"`,
			"webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"}},
		{"side effects", "webhooks: [{name: a.example.com, sideEffects: Some, admissionReviewVersions: [v1], clientConfig: {url: 'https://h'}}]",
			[]string{`webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"`}},
		{"versions", "webhooks: [{name: a.example.com, sideEffects: None, admissionReviewVersions: [v2, v2, 3], clientConfig: {url: 'https://h'}}]", []string{
			`webhooks[0].admissionReviewVersions[1]: Invalid value: "v2": duplicate version`,
			`webhooks[0].admissionReviewVersions[2]: Invalid value: "3": a DNS-1035 label`,
			`webhooks[0].admissionReviewVersions: Invalid value: ["v2","v2","3"]: must include at least one of v1, v1beta1`}},
		{"an older version", "webhooks: [{name: a.example.com, sideEffects: None, admissionReviewVersions: [v1beta1], clientConfig: {url: 'https://h'}}]", nil},
		{"an empty rule", rules("{}"), []string{
			"webhooks[0].rules[0].operations: Required value",
			"webhooks[0].rules[0].apiGroups: Required value",
			"webhooks[0].rules[0].apiVersions: Required value",
			"webhooks[0].rules[0].resources: Required value"}},
		{"wildcards and others", rules("{operations: ['*', CREATE, READ], apiGroups: ['*', a], apiVersions: ['*', ''], resources: [pods], scope: World}"), []string{
			`webhooks[0].rules[0].operations: Invalid value: ["*","CREATE","READ"]: if '*' is present, must not specify other operations`,
			`webhooks[0].rules[0].operations[2]: Unsupported value: "READ": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE"`,
			`webhooks[0].rules[0].apiGroups: Invalid value: ["*","a"]: if '*' is present, must not specify other API groups`,
			`webhooks[0].rules[0].apiVersions: Invalid value: ["*",""]: if '*' is present, must not specify other API versions`,
			"webhooks[0].rules[0].apiVersions[1]: Required value",
			`webhooks[0].rules[0].scope: Unsupported value: "World": supported values: "*", "Cluster", "Namespaced"`}},
		{"resources", resources("[pods, pods/status, '*/scale']"), nil},
		{"all resources and one", resources("['*', pods]"), []string{
			`webhooks[0].rules[0].resources: Invalid value: ["*","pods"]: if '*' is present, must not specify other resources without subresources`}},
		{"one and all resources", resources("[pods, '*']"), []string{
			`webhooks[0].rules[0].resources: Invalid value: ["pods","*"]: if '*' is present, must not specify other resources without subresources`}},
		{"everything and more", resources("['*/*', pods/status, '']"), []string{
			"webhooks[0].rules[0].resources[2]: Required value",
			`webhooks[0].rules[0].resources: Invalid value: ["*/*","pods/status",""]: if '*/*' is present, must not specify other resources`}},
		{"covered subresources", resources("[pods/*, pods/status, '*/scale', deployments/scale]"), []string{
			`webhooks[0].rules[0].resources[1]: Invalid value: "pods/status": if 'pods/*' is present, must not specify pods/status`,
			`webhooks[0].rules[0].resources[3]: Invalid value: "deployments/scale": if '*/scale' is present, must not specify deployments/scale`}},
		{"selectors", hook(", namespaceSelector: {matchExpressions: [{key: a, operator: Near}]}, objectSelector: {matchLabels: {a: '-'}}"), []string{
			`webhooks[0].namespaceSelector.matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator`,
			`webhooks[0].objectSelector.matchLabels: Invalid value: "-": a valid label`}},
		{"both clients", client("{url: 'https://h', service: {name: s, namespace: n}}"),
			[]string{"webhooks[0].clientConfig: Required value: exactly one of url or service is required"}},
		{"a URL", client("{url: 'http://u:p@/x?y#z'}"), []string{
			`webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]`,
			`webhooks[0].clientConfig.url: Invalid value: "": host must be specified; desired format: https://host[/path]`,
			`webhooks[0].clientConfig.url: Invalid value: "u:p": user information is not permitted in the URL`,
			`webhooks[0].clientConfig.url: Invalid value: "z": fragments are not permitted in the URL`,
			`webhooks[0].clientConfig.url: Invalid value: "y": query parameters are not permitted in the URL`}},
		{"no URL", client("{url: 'https://h:x'}"),
			[]string{`webhooks[0].clientConfig.url: Required value: url must be a valid URL: parse "https://h:x": invalid port ":x" after host; desired format: https://host[/path]`}},
		{"a Service", client("{service: {name: s, namespace: n, path: /a/b-c.d/, port: 8443}}"), nil},
		{"no Service", client("{service: {name: '', namespace: '', path: x, port: 0}}"), []string{
			"webhooks[0].clientConfig.service.name: Required value: service name is required",
			"webhooks[0].clientConfig.service.namespace: Required value: service namespace is required",
			"webhooks[0].clientConfig.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
			`webhooks[0].clientConfig.service.path: Invalid value: "x": must start with a '/'`,
			`webhooks[0].clientConfig.service.path: Invalid value: "x": segment[0] may not be empty`}},
		{"a path", client("{service: {name: s, namespace: n, path: /a//B}}"), []string{
			`webhooks[0].clientConfig.service.path: Invalid value: "/a//B": segment[1] may not be empty`,
			`webhooks[0].clientConfig.service.path: Invalid value: "/a//B": segment[2]: a lowercase RFC 1123 subdomain`}},
		{"an empty path", client("{service: {name: s, namespace: n, path: //}}"),
			[]string{`webhooks[0].clientConfig.service.path: Invalid value: "//": segment[0] may not be empty`}},
		{"conditions", hook(", matchConditions: [{name: '', expression: ' '}, {name: a b, expression: ''}]"), []string{
			"webhooks[0].matchConditions[0].name: Required value",
			"webhooks[0].matchConditions[0].expression: Required value",
			`webhooks[0].matchConditions[1].name: Invalid value: "a b": name part`,
			"webhooks[0].matchConditions[1].expression: Required value"}},
		{"sound conditions", hook(", matchConditions: [{name: not-leases, expression: \"!(request.resource.group == 'coordination.k8s.io')\"}]"), nil},
		{"expressions", hook(", matchConditions: [{name: a, expression: 'object.'}, {name: b, expression: '1'}, {name: c, expression: 'params.x == 1'}]"), []string{
			`webhooks[0].matchConditions[0].expression: Invalid value: "object.": compilation failed: ERROR: <input>:1:8: Syntax error: no viable alternative at input '.'`,
			`webhooks[0].matchConditions[1].expression: Invalid value: "1": must evaluate to bool but got int`,
			`webhooks[0].matchConditions[2].expression: Invalid value: "params.x == 1": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')`}},
	}
	testCreate(t, gvk("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"), cases)
	testCreate(t, gvk("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"), slices.Concat(cases, []bad{
		{"reinvoked", hook(", reinvocationPolicy: IfNeeded"), nil},
		{"reinvoked otherwise", hook(", reinvocationPolicy: Always"),
			[]string{`webhooks[0].reinvocationPolicy: Unsupported value: "Always": supported values: "IfNeeded", "Never"`}},
	}))
}

func TestTooManyMatchConditions(t *testing.T) {
	var conditions []string
	for i := range 65 {
		conditions = append(conditions, fmt.Sprintf("{name: c%d, expression: ' '}", i))
	}
	_, obj := read(t, gvk("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
		"webhooks: [{matchConditions: ["+strings.Join(conditions, ", ")+"]}]")
	errs := validateMatchConditions(obj.(*admissionv1.ValidatingWebhookConfiguration).Webhooks[0].MatchConditions, false, nil)
	if want := "Too many: 65: must have at most 64 items"; !strings.Contains(errs[0].Error(), want) {
		t.Errorf("the first cause is %q, not %q", errs[0], want)
	}
}

func TestWebhookDefaultsAndWarnings(t *testing.T) {
	kind, obj := read(t, gvk("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"), `
webhooks:
- clientConfig: {service: {name: s, namespace: n}}
  rules:
  - {operations: ['*'], apiGroups: [authentication.k8s.io, ''], apiVersions: [v1], resources: [tokenreviews, pods]}
  - {operations: ['*'], apiGroups: ['*'], apiVersions: [v1], resources: [tokenreviews]}`)
	w := obj.(*admissionv1.MutatingWebhookConfiguration).Webhooks[0]
	if *w.FailurePolicy != admissionv1.Fail || *w.MatchPolicy != admissionv1.Equivalent || *w.TimeoutSeconds != 10 ||
		*w.ReinvocationPolicy != admissionv1.NeverReinvocationPolicy || w.NamespaceSelector == nil || w.ObjectSelector == nil ||
		*w.Rules[0].Scope != admissionv1.AllScopes || *w.ClientConfig.Service.Port != 443 || w.SideEffects != nil {
		t.Errorf("the defaults are %+v", w)
	}
	want := []string{"webhooks[0].rules[0]: tokenreviews.authentication.k8s.io is excluded from admission webhooks; this rule will have no effect"}
	if got := kind.Strategy.Warnings(t.Context(), obj); !slices.Equal(got, want) {
		t.Errorf("the warnings are %q", got)
	}
}
