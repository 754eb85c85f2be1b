package webhook

import (
	"testing"

	reviewv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/jsonpatch"
)

// FuzzPatch checks that whatever a webhook sends as a patch is refused or leaves
// a Pod.
func FuzzPatch(f *testing.F) {
	for _, patch := range []string{
		`[{"op":"add","path":"/spec/containers/-","value":{"name":"a"}}]`, `[{"op":"remove","path":"/spec"}]`, `[{"op":"replace","path":"","value":null}]`,
		`[{"op":"copy","from":"/spec","path":"/spec/x"}]`, `[{"op":"test","path":"/kind","value":"Pod"}]`, `[{"op":"move","from":"/metadata","path":"/spec"}]`,
		`[{"op":"add","path":"/spec/containers/-1","value":[]}]`, `{}`, `[null]`, `[{"op":"add"}]`,
	} {
		f.Add([]byte(patch))
	}
	kind, err := kinds.Default().ForObject(&corev1.Pod{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		patch, err := jsonpatch.Decode(text)
		if err != nil {
			return
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
		i := &invocation{hook: &hook{}, kind: kind, request: &admission.Request{Kind: kind, Operation: admission.Create, Object: pod}}
		changed, err := i.apply(patch)
		if _, ok := i.request.Object.(*corev1.Pod); !ok || err != nil && changed {
			t.Errorf("it left a %T, changed %v: %v", i.request.Object, changed, err)
		}
	})
}

// FuzzVerdict checks that no answer is taken for another question's.
func FuzzVerdict(f *testing.F) {
	f.Add("u", "admission.k8s.io/v1", "AdmissionReview", []byte("[]"), "JSONPatch", true)
	f.Add("x", "v1", "Pod", []byte{}, "", false)
	f.Fuzz(func(t *testing.T, uid, apiVersion, kind string, patch []byte, patchType string, mutates bool) {
		q := &review{uid: "u", version: reviewv1.SchemeGroupVersion}
		of := reviewv1.PatchType(patchType)
		answer := &reviewv1.AdmissionReview{
			TypeMeta: metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}, Response: &reviewv1.AdmissionResponse{UID: "u", Patch: patch, PatchType: &of},
		}
		if uid != "u" {
			answer.Response.UID = "other"
		}
		response, err := q.verdict(answer, mutates)
		sound := uid == "u" && apiVersion == "admission.k8s.io/v1" && kind == "AdmissionReview" && mutates && len(patch) > 0 && patchType != ""
		if (err == nil) != sound || sound && response == nil {
			t.Errorf("%s %s %s: %v", uid, apiVersion, kind, err)
		}
	})
}
