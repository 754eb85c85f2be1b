package admission

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTitle(t *testing.T) {
	for _, tc := range []struct {
		name    string
		request Request
		want    string
	}{
		{"named by the request", Request{Name: "x", Object: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "y"}}}, "x"},
		{"named by a rule", Request{Object: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "y", GenerateName: "web-"}}}, "y"},
		{"to be named", Request{Object: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "web-"}}}, "web-"},
		{"nameless", Request{Object: &corev1.Pod{}}, "Unknown"},
		{"about no object", Request{}, "Unknown"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.request.Title(); got != tc.want {
				t.Errorf("it is called %q, want %q", got, tc.want)
			}
		})
	}
}
