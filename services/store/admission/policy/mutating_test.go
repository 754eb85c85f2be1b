package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/internal/kinds"
)

// change makes a MutatingAdmissionPolicy about resources, and its binding.
func change(t *testing.T, name, resources, spec string) []kinds.Object {
	t.Helper()
	p := &admissionv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}}
	rules := "matchConstraints: {resourceRules: [{operations: [CREATE, UPDATE], apiGroups: ['*'], apiVersions: ['*'], resources: [" + resources + "]}]}\n"
	if err := yaml.UnmarshalStrict([]byte(rules+spec), &p.Spec); err != nil {
		t.Fatal(err)
	}
	if p.Spec.ReinvocationPolicy == "" {
		p.Spec.ReinvocationPolicy = admissionv1.NeverReinvocationPolicy
	}
	return []kinds.Object{p, &admissionv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name + "-bound"}, Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: name},
	}}
}

func applying(source string) string {
	return fmt.Sprintf("{patchType: ApplyConfiguration, applyConfiguration: {expression: %q}}", source)
}

func patching(source string) string {
	return fmt.Sprintf("{patchType: JSONPatch, jsonPatch: {expression: %q}}", source)
}

func TestMutations(t *testing.T) {
	const denied = `policy 'm' with binding 'm-bound' denied request: `
	for _, c := range []struct {
		name string
		spec string
		want map[string]string
		fail string
	}{
		{"a configuration", "mutations: [" + applying("Object{data: Object.data{size: 'small'}}") + "]", map[string]string{"size": "small"}, ""},
		{"a JSON patch", "mutations: [" + patching("[JSONPatch{op: 'add', path: '/data/more', value: object.data.size + '!'}]") + "]", map[string]string{"size": "big", "more": "big!"}, ""},
		{"a patch of maps", "mutations: [" + patching("[JSONPatch{op: 'replace', path: '/data', value: {'a': 'b'}}]") + "]", map[string]string{"a": "b"}, ""},
		{"each sees what was changed before", "mutations: [" + patching("[JSONPatch{op: 'add', path: '/data/a', value: '1'}]") + ", " + applying("Object{data: Object.data{b: object.data.a + '2'}}") + "]",
			map[string]string{"size": "big", "a": "1", "b": "12"}, ""},
		{"a test that fails", "mutations: [" + patching("[JSONPatch{op: 'test', path: '/data/size', value: 'small'}, JSONPatch{op: 'remove', path: '/data/size'}]") + "]", map[string]string{"size": "big"}, ""},
		{"a test that holds", "mutations: [" + patching("[JSONPatch{op: 'test', path: '/data/size', value: 'big'}, JSONPatch{op: 'remove', path: '/data/size'}]") + "]", map[string]string{}, ""},
		{"variables and conditions", "variables: [{name: v, expression: \"'v'\"}]\nmatchConditions: [{name: c, expression: \"object.data.size == 'big'\"}]\nmutations: [" + applying("Object{data: Object.data{v: variables.v}}") + "]",
			map[string]string{"size": "big", "v": "v"}, ""},
		{"conditions that are not met", "matchConditions: [{name: c, expression: 'false'}]\nmutations: [" + applying("Object{data: Object.data{v: 'v'}}") + "]", map[string]string{"size": "big"}, ""},
		{"conditions that fail", "matchConditions: [{name: c, expression: 'object.nothing == 1'}]\nmutations: [" + applying("Object{data: Object.data{v: 'v'}}") + "]", nil,
			denied + "expression 'object.nothing == 1' resulted in error: no such key: nothing"},
		{"a field that is none", "mutations: [" + applying("Object{dates: 'x'}") + "]", nil, denied + "error applying patch: failed to convert patch object to typed object: .dates: field not declared in schema"},
		{"a patch that does not apply", "mutations: [" + patching("[JSONPatch{op: 'remove', path: '/data/none'}]") + "]", nil, denied + "JSONPath: "},
		{"a patch to what is no ConfigMap", "mutations: [" + patching("[JSONPatch{op: 'add', path: '/nonsense', value: 1}]") + "]", nil, `unknown field "nonsense"`},
		{"a failure, ignored", "failurePolicy: Ignore\nmutations: [" + patching("[JSONPatch{op: 'remove', path: '/data/none'}]") + "]", map[string]string{"size": "big"}, ""},
		{"parameters of an unknown kind", "paramKind: {apiVersion: v1, kind: Nothing}\nmutations: [" + applying("Object{}") + "]", nil,
			"policy 'm' denied request: failed to configure policy: failed to find resource referenced by paramKind: '/v1, Kind=Nothing'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, client := newStore(t, change(t, "m", "configmaps", c.spec)...)
			cm := configMap("x", "size", "big")
			err := client.Create(t.Context(), cm)
			if c.fail != "" {
				if err == nil || !strings.Contains(err.Error(), c.fail) {
					t.Errorf("it fails as %v\nnot as     %s", err, c.fail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, cm.Data, equalEmpty()); diff != "" {
				t.Errorf("the data differ (-want +got):\n%s", diff)
			}
		})
	}
}

func equalEmpty() cmp.Option {
	return cmp.FilterValues(func(a, b map[string]string) bool { return len(a) == 0 && len(b) == 0 }, cmp.Ignore())
}

// TestSidecar: what is added to a list is merged by its key, and gets defaults;
// what would replace a list is refused.
func TestSidecar(t *testing.T) {
	pod := func() *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i", Command: []string{"a"}}}}}
	}
	_, c := newStore(t, change(t, "m", "pods", "mutations: ["+applying(
		"Object{spec: Object.spec{initContainers: [Object.spec.initContainers{name: 'sidecar', image: 's', restartPolicy: 'Always'}], containers: [Object.spec.containers{name: 'c', env: [Object.spec.containers.env{name: 'A', value: 'b'}]}]}}")+"]")...)
	got := pod()
	if err := c.Create(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	sidecar, main := got.Spec.InitContainers[0], got.Spec.Containers[0]
	if sidecar.Name != "sidecar" || sidecar.TerminationMessagePath == "" || main.Image != "i" || main.Env[0].Value != "b" {
		t.Errorf("the containers are %+v and %+v", sidecar, main)
	}
	_, c = newStore(t, change(t, "m", "pods", "mutations: ["+applying("Object{spec: Object.spec{containers: [Object.spec.containers{name: 'c', command: ['b']}]}}")+"]")...)
	err := c.Create(t.Context(), pod())
	if want := "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.containers[0].command"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("it fails as %v", err)
	}
}

// TestPolicyReinvocation draws what each policy adds to the field seen:
//
//	a (IfNeeded): "a" for each time; b (Never): "b".
func TestPolicyReinvocation(t *testing.T) {
	append := func(letter string) string {
		return "mutations: [" + applying("Object{data: Object.data{seen: object.data.?seen.orValue('') + '"+letter+"'}}") + "]"
	}
	a := change(t, "a", "configmaps", append("a")+"\nreinvocationPolicy: IfNeeded")
	b := change(t, "b", "configmaps", append("b"))
	_, c := newStore(t, b[0], b[1], a[0], a[1])
	cm := configMap("x", "size", "big")
	if err := c.Create(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	if got := cm.Data["seen"]; got != "aba" {
		t.Errorf("the policies came as %s", got)
	}
}
