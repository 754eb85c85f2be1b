package registry_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/registry"
)

const (
	jsonPatch = storev1.PatchType_PATCH_TYPE_JSON
	merge     = storev1.PatchType_PATCH_TYPE_MERGE
	strategic = storev1.PatchType_PATCH_TYPE_STRATEGIC_MERGE
)

func TestApplyPatch(t *testing.T) {
	const pods = `{"spec":{"containers":[{"name":"a","image":"1"},{"name":"b","image":"1"}],"strategy":{"type":"RollingUpdate","rollingUpdate":{}}},` +
		`"metadata":{"finalizers":["x","y"]}}`
	for _, tc := range []struct {
		name, document, patch string
		kind                  storev1.PatchType
		schema                any
		want                  string
	}{
		{"add, copy, move, remove", `{"a":[1],"b":2}`,
			`[{"op":"add","path":"/a/-","value":2},{"op":"copy","from":"/b","path":"/c"},{"op":"move","from":"/b","path":"/d"},{"op":"remove","path":"/a/0"}]`,
			jsonPatch, nil, `{"a":[2],"c":2,"d":2}`},
		{"keys with slashes", `{"a":{"x/y":1,"p~q":1}}`, `[{"op":"replace","path":"/a/x~1y","value":2},{"op":"remove","path":"/a/p~0q"}]`, jsonPatch, nil, `{"a":{"x/y":2}}`},
		{"the last element", `{"a":[1,2]}`, `[{"op":"remove","path":"/a/-1"}]`, jsonPatch, nil, `{"a":[1]}`},
		{"merge", `{"a":{"b":1,"c":[1,2]},"d":1}`, `{"a":{"b":null,"c":[3],"e":{"f":null,"g":1}},"d":{"h":1}}`, merge, nil, `{"a":{"c":[3],"e":{"g":1}},"d":{"h":1}}`},
		{"merge keeps numbers", `{"n":9007199254740993}`, `{"m":9007199254740995}`, merge, nil, `{"n":9007199254740993,"m":9007199254740995}`},
		{"merge below the levels that are taken apart", `{"a":{"b":{"c":{"d":{"e":{"f":1,"g":2}}}}},"z":1}`, `{"a":{"b":{"c":{"d":{"e":{"f":null,"h":{"i":null,"j":3}}}}}}}`, merge, nil,
			`{"a":{"b":{"c":{"d":{"e":{"g":2,"h":{"j":3}}}}}},"z":1}`},
		{"merge into what is no object", `{"a":[1],"b":"x","c":null}`, `{"a":{"k":null,"l":1},"b":{"m":2},"c":{"n":3},"d":{"o":null}}`, merge, nil,
			`{"a":{"l":1},"b":{"m":2},"c":{"n":3},"d":{}}`},
		{"by merge key", pods, `{"spec":{"containers":[{"name":"b","image":"2"}]}}`, strategic, &corev1.Pod{}, `a:1 b:2`},
		{"delete by merge key", pods, `{"spec":{"containers":[{"name":"a","$patch":"delete"}]}}`, strategic, &corev1.Pod{}, `b:1`},
		{"replace a list", pods, `{"spec":{"containers":[{"$patch":"replace"},{"name":"c","image":"3"}]}}`, strategic, &corev1.Pod{}, `c:3`},
		{"an order", pods, `{"spec":{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}],"containers":[{"name":"a","image":"5"}]}}`, strategic, &corev1.Pod{}, `b:1 a:5`},
		{"out of a primitive list", pods, `{"metadata":{"$deleteFromPrimitiveList/finalizers":["x"]}}`, strategic, &corev1.Pod{}, `a:1 b:1 finalizers [y]`},
		{"retain keys", pods, `{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}`, strategic, &appsv1.Deployment{}, `"strategy":{"type":"Recreate"}`},
		{"replace a map", pods, `{"spec":{"strategy":{"$patch":"replace","type":"Recreate"}}}`, strategic, &appsv1.Deployment{}, `"strategy":{"type":"Recreate"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := registry.ApplyPatch([]byte(tc.document), registry.PatchOptions{Type: tc.kind, Patch: []byte(tc.patch)}, tc.schema)
			if err != nil {
				t.Fatal(err)
			}
			if pod, ok := tc.schema.(*corev1.Pod); ok {
				got = summary(t, pod, got)
			}
			if tc.kind == strategic && strings.Contains(string(got), tc.want) {
				return
			}
			if diff := cmp.Diff(tc.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// summary tells a pod's containers and finalizers.
func summary(t *testing.T, pod *corev1.Pod, document []byte) []byte {
	t.Helper()
	if err := json.Unmarshal(document, pod); err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, c := range pod.Spec.Containers {
		parts = append(parts, c.Name+":"+c.Image)
	}
	if len(pod.Finalizers) != 2 {
		parts = append(parts, fmt.Sprint("finalizers ", pod.Finalizers))
	}
	return []byte(strings.Join(parts, " "))
}

func TestRefusedPatches(t *testing.T) {
	var copies []string
	for i := range 40 {
		copies = append(copies, fmt.Sprintf(`{"op":"copy","from":"/a","path":"/a/x%d"}`, i))
	}
	for _, tc := range []struct {
		name, patch string
		kind        storev1.PatchType
		reason      metav1.StatusReason
		message     string
	}{
		{"what is not there", `[{"op":"remove","path":"/none"}]`, jsonPatch, "Invalid", "the server rejected our request due to an error in our request"},
		{"a failed test", `[{"op":"test","path":"/a/b","value":2}]`, jsonPatch, "Invalid", "the server rejected our request"},
		{"copies that grow", "[" + strings.Join(copies, ",") + "]", jsonPatch, "RequestEntityTooLarge", "copy"},
		{"too many operations", "[" + strings.Repeat(`{"op":"test","path":"/a/b","value":1},`, 10_000) + `{"op":"remove","path":"/a"}]`, jsonPatch,
			"RequestEntityTooLarge", "The allowed maximum operations in a JSON patch is 10000, got 10001"},
		{"no list", `{}`, jsonPatch, "BadRequest", "error decoding patch"},
		{"no JSON", `{`, merge, "BadRequest", "error decoding patch"},
		{"an unknown directive", `{"$patch":"explode"}`, strategic, "BadRequest", "patch"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := registry.ApplyPatch([]byte(`{"a":{"b":1}}`), registry.PatchOptions{Type: tc.kind, Patch: []byte(tc.patch)}, &corev1.Pod{})
			if apierrors.ReasonForError(err) != tc.reason || !strings.Contains(err.Error(), tc.message) {
				t.Errorf("%v, want %s: %s", err, tc.reason, tc.message)
			}
		})
	}
}
