package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
)

// TestAuditing: what bindings only audit, and what policies note, is told to who
// audits the request, also if another policy refuses it.
func TestAuditing(t *testing.T) {
	const failed = "validation.policy.admission.k8s.io/validation_failure"
	annotating := func(expression string) string {
		return "validations: [{expression: 'true'}]\nauditAnnotations: [{key: size, valueExpression: \"" + expression + "\"}]"
	}
	for _, tc := range []struct {
		name, policy, binding string
		want                  map[string]string
		refused               string
	}{
		{"it holds", "validations: [{expression: 'true'}]", "validationActions: [Audit]", map[string]string{}, ""},
		{"it does not hold", "validations: [{expression: 'true'}, {expression: 'false', message: careful}]", "validationActions: [Audit]",
			map[string]string{failed: `[{"message":"careful","policy":"rule","binding":"bound","expressionIndex":1,"validationActions":["Audit"]}]`}, ""},
		{"it fails", "validations: [{expression: 'object.data.nothing == 1'}]", "validationActions: [Audit]",
			map[string]string{failed: `[{"message":"expression 'object.data.nothing == 1' resulted in error: no such key: nothing","policy":"rule","binding":"bound","expressionIndex":0,"validationActions":["Audit"]}]`}, ""},
		{"audited and refused", "validations: [{expression: 'false', message: nope}]", "validationActions: [Audit, Deny]",
			map[string]string{failed: `[{"message":"nope","policy":"rule","binding":"bound","expressionIndex":0,"validationActions":["Audit","Deny"]}]`}, "denied request: nope"},
		{"audited and warned of", "validations: [{expression: 'false', message: nope}]", "validationActions: [Warn, Audit]",
			map[string]string{failed: `[{"message":"nope","policy":"rule","binding":"bound","expressionIndex":0,"validationActions":["Warn","Audit"]}]`}, ""},
		{"not audited", "validations: [{expression: 'false', message: nope}]", "validationActions: [Warn]", map[string]string{}, ""},
		{"a note", annotating("'it is ' + object.data.size + '  '"), deny, map[string]string{"rule/size": "it is big"}, ""},
		{"no note", annotating("null"), deny, map[string]string{}, ""},
		{"an empty note", annotating("' '"), deny, map[string]string{}, ""},
		{"a long note", annotating("string(object.data.long)"), deny, map[string]string{"rule/size": strings.Repeat("x", 10<<10)}, ""},
		{"a note that fails", annotating("string(object.data.nothing)"), "validationActions: [Audit]", map[string]string{}, "no such key: nothing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, _ := newStore(t, bindingOf(t, tc.binding), policyOf(t, tc.policy))
			c, ctx, noted := s.Audited(t)
			err := c.Create(ctx, configMap("x", "size", "big", "long", strings.Repeat("x", 11<<10)))
			if (err != nil) != (tc.refused != "") || err != nil && !strings.Contains(err.Error(), tc.refused) {
				t.Errorf("it ends with %v, want %q", err, tc.refused)
			}
			if diff := cmp.Diff(tc.want, noted()); diff != "" {
				t.Errorf("the annotations differ (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNotesOfSeveral: what the bindings of a policy note is put together, and
// policies after one that refuses are heard.
func TestNotesOfSeveral(t *testing.T) {
	policy := policyOf(t, "paramKind: {apiVersion: v1, kind: ConfigMap}\nvalidations: [{expression: 'true'}]\n"+
		"auditAnnotations: [{key: limit, valueExpression: 'string(params.data.limit)'}]")
	bound := func(name, param string) *admissionv1.ValidatingAdmissionPolicyBinding {
		b := bindingOf(t, deny+"\nparamRef: {name: "+param+", namespace: default, parameterNotFoundAction: Deny}").(*admissionv1.ValidatingAdmissionPolicyBinding)
		b.Name = name
		return b
	}
	refuses := policyOf(t, "validations: [{expression: \"object.metadata.name != 'x'\", message: nope}]").(*admissionv1.ValidatingAdmissionPolicy)
	refuses.Name = "a"
	first := bindingOf(t, deny).(*admissionv1.ValidatingAdmissionPolicyBinding)
	first.Name, first.Spec.PolicyName = "first", "a"
	s, _ := newStore(t, configMap("p1", "limit", "1"), configMap("p2", "limit", "2"), configMap("p3", "limit", "1"), policy, refuses,
		bound("b1", "p1"), bound("b2", "p2"), bound("b3", "p3"), first)
	c, ctx, noted := s.Audited(t)
	if err := c.Create(ctx, configMap("x")); err == nil || !strings.Contains(err.Error(), "'a' with binding 'first' denied request: nope") {
		t.Errorf("it ends with %v", err)
	}
	if diff := cmp.Diff(map[string]string{"rule/limit": "1, 2"}, noted()); diff != "" {
		t.Errorf("the annotations differ (-want +got):\n%s", diff)
	}
}
