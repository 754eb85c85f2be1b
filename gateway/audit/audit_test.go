package audit

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/gateway/envelope"
)

func TestBodies(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}}
	raw, err := pod.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, contentType, body, want string }{
		{"JSON", "application/json; charset=utf-8", `{"a":1}`, `{"a":1}`},
		{"no type", "", `{"a":1}`, `{"a":1}`},
		{"a patch", "application/json-patch+json", `[{"op":"remove"}]`, `[{"op":"remove"}]`},
		{"YAML", "application/apply-patch+yaml", "a: 1\n", `{"a":1}`},
		{"text", "text/plain", "hello", ""},
		{"no media type", "/", "hello", "error"},
		{"Protobuf", "application/vnd.kubernetes.protobuf", string(envelope.Seal(corev1.SchemeGroupVersion.WithKind("Pod"), raw)), `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"}`},
		{"no Protobuf", "application/vnd.kubernetes.protobuf", "k8s\x00\x0a\xff", "error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := inJSON(tc.contentType, []byte(tc.body))
			switch {
			case (err != nil) != (tc.want == "error"):
				t.Errorf("the error is %v", err)
			case err == nil && (tc.want == "") != (got == nil), err == nil && !strings.HasPrefix(string(got), tc.want):
				t.Errorf("it is %s, want %s", got, tc.want)
			}
		})
	}
}
