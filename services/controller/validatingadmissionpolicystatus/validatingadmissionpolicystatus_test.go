package validatingadmissionpolicystatus

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/customresourcedefinition"
)

func policy(t *testing.T, spec string) *admissionv1.ValidatingAdmissionPolicy {
	t.Helper()
	p := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatal(err)
	}
	return p
}

// about is a policy about some resources that have one expression.
func about(resources, expression, more string) string {
	return "matchConstraints: {resourceRules: [{operations: [CREATE], " + resources + "}]}\nvalidations: [{expression: \"" + expression + "\"}]\n" + more
}

const (
	deployments = "apiGroups: [apps], apiVersions: [v1], resources: [deployments]"
	workloads   = "apiGroups: [apps], apiVersions: [v1], resources: [deployments, daemonsets, deployments/scale, unknown]"
	configMaps  = "paramKind: {apiVersion: v1, kind: ConfigMap}"
)

func TestWarnings(t *testing.T) {
	for _, tc := range []struct {
		name, spec string
		at, want   string // "": nothing is wrong
	}{
		{"a field", about(deployments, "object.spec.replicas <= 5", ""), "", ""},
		{"no field", about(deployments, "object.replicas > 1", ""), "spec.validations[0].expression", "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n"},
		{"a number as text", about(deployments, "object.spec.replicas == '5'", ""), "spec.validations[0].expression", "found no matching overload for '_==_' applied to '(int, string)'"},
		{"a kind without it", about(workloads, "object.spec.replicas <= 5", ""), "spec.validations[0].expression", "apps/v1, Kind=DaemonSet: ERROR: <input>:1:12: undefined field 'replicas'"},
		{"no result of a rule", about(deployments, "object.spec.replicas", ""), "", ""},
		{"within a list", about(deployments, "object.spec.template.spec.containers.all(c, c.imagePullPolicy == 'Always' && !has(c.image2))", ""), "spec.validations[0].expression", "undefined field 'image2'"},
		{"metadata", about(deployments, "object.metadata.namespace == 'x' && 'a' in object.metadata.labels && oldObject == null", ""), "", ""},
		{"times", about(deployments, "object.metadata.creationTimestamp.startsWith('2') || timestamp(object.metadata.creationTimestamp) > timestamp('2020-01-01T00:00:00Z')", ""), "", ""},
		{"quantities", about("apiGroups: [''], apiVersions: [v1], resources: [pods]", "object.spec.containers.all(c, quantity(c.resources.limits['cpu']).isLessThan(quantity('1')))", ""), "", ""},
		{"ports or names", about("apiGroups: [''], apiVersions: [v1], resources: [services]", "object.spec.ports.all(p, p.targetPort == 80 || p.targetPort == 'web')", ""), "", ""},
		{"the request", about(deployments, "request.userInfo.name == 'x'", ""), "spec.validations[0].expression", "undefined field 'name'"},
		{"the authorizer", about(deployments, "authorizer.group('').resource('pods').check('get').allowed() && authorizer.requestResource.check('get').allowed()", ""), "", ""},
		{"parameters", about(deployments, "object.spec.replicas <= int(params.data['limit'])", configMaps), "", ""},
		{"wrong parameters", about(deployments, "object.spec.replicas <= params.limit", configMaps), "spec.validations[0].expression", "undefined field 'limit'"},
		{"unknown parameters", about(deployments, "object.spec.replicas <= params.limit", "paramKind: {apiVersion: example.com/v1, kind: Limit}"), "", ""},
		{"a variable", about(deployments, "variables.count + 'x' == ''", "variables: [{name: count, expression: 'object.spec.replicas'}]"), "spec.validations[0].expression", "applied to '(int, string)'"},
		{"a wrong variable", about(deployments, "variables.count == 1", "variables: [{name: count, expression: 'object.replicas'}]"), "", ""},
		{"any resource", about("apiGroups: [apps], apiVersions: [v1], resources: ['*']", "object.nothing", ""), "", ""},
		{"any version", about("apiGroups: [apps], apiVersions: ['*'], resources: [deployments]", "object.nothing", ""), "", ""},
		{"an unknown resource", about("apiGroups: [apps], apiVersions: [v2], resources: [deployments]", "object.nothing", ""), "", ""},
		{"a message", "matchConstraints: {resourceRules: [{operations: [CREATE], " + deployments + "}]}\nvalidations: [{expression: 'true'}, {expression: 'true', messageExpression: 'object.nothing'}]", "spec.validations[1].messageExpression", "undefined field 'nothing'"},
		{"nothing", "validations: [{expression: 'object.nothing'}]", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			found, err := warnings(policy(t, tc.spec), kinds.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tc.want == "" && len(found) > 0:
				t.Errorf("it warns of %+v", found)
			case tc.want != "" && (len(found) != 1 || found[0].FieldRef != tc.at || !strings.Contains(found[0].Warning, tc.want)):
				t.Errorf("it warns of %+v, want %s: %s", found, tc.at, tc.want)
			}
		})
	}
}

// TestEveryKindHasTypes: no kind of the registry is beyond the checker.
func TestEveryKindHasTypes(t *testing.T) {
	registry := kinds.NewRegistry()
	for _, kind := range registry.All() {
		if kind.CreateOnly {
			continue
		}
		spec := about("apiGroups: ['"+kind.Group+"'], apiVersions: ["+kind.Version+"], resources: ["+kind.Resource+"]", "object.metadata.name == object.kind", "")
		found, err := warnings(policy(t, spec), registry)
		if err != nil || len(found) > 0 {
			t.Errorf("%v: %v, %+v", kind.GVK(), err, found)
		}
	}
}

const widgets = `
group: example.com
scope: Namespaced
names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
versions:
- name: v1
  served: true
  storage: true
  schema:
    openAPIV3Schema:
      type: object
      properties:
        spec:
          type: object
          properties:
            size: {type: integer}
            parts: {type: array, items: {type: object, properties: {name: {type: string}}}}
            any: {type: object, x-kubernetes-preserve-unknown-fields: true}
            byName: {type: object, additionalProperties: {type: boolean}}
`

// TestStatus: a policy's status follows its spec, also for custom kinds.
func TestStatus(t *testing.T) {
	c := controllertest.New(t)
	c.Start(c.Controller(New(c.Deps)), c.Controller(customresourcedefinition.New(c.Deps, c.Inventory)))
	definition := &kinds.Definition{ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"}}
	if err := yaml.UnmarshalStrict([]byte(widgets), &definition.Spec); err != nil {
		t.Fatal(err)
	}
	const about = "apiGroups: [example.com], apiVersions: [v1], resources: [widgets]"
	p := policy(t, "matchConstraints: {resourceRules: [{operations: [CREATE], "+about+"}]}\nvalidations: "+
		"[{expression: 'object.spec.parts.all(p, p.name != object.metadata.name) && object.spec.any.thing == 1 && object.spec.byName.x'}, {expression: 'object.spec.size == object.kind'}]")
	c.Apply(p)
	checked := func(what string, generation int64, want string) {
		t.Helper()
		controllertest.Await(c, what, func(all []*admissionv1.ValidatingAdmissionPolicy) bool {
			if len(all) != 1 || all[0].Status.ObservedGeneration != generation {
				return false
			}
			found := all[0].Status.TypeChecking.ExpressionWarnings
			return want == "" && len(found) == 0 || len(found) == 1 && found[0].FieldRef == want
		})
	}
	checked("a check without the kind", 1, "")
	c.Apply(definition)
	checked("a check with the kind", 1, "spec.validations[1].expression")
	controllertest.Change(c, p, "", func(p *admissionv1.ValidatingAdmissionPolicy) { p.Spec.Validations = p.Spec.Validations[:1] })
	checked("a check of the change", 2, "")
}
