package hollow

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSimplify(t *testing.T) {
	sleep := &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 5}}
	http := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/"}}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"a": "b"}, ManagedFields: []metav1.ManagedFieldsEntry{{}}},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"a": "b"},
			Containers: []corev1.Container{{
				ReadinessProbe: &corev1.Probe{ProbeHandler: http, PeriodSeconds: 3},
				Lifecycle:      &corev1.Lifecycle{PreStop: sleep, PostStart: &corev1.LifecycleHandler{HTTPGet: http.HTTPGet}},
			}},
		},
	}
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"a": "b"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: succeeds}, PeriodSeconds: 3},
			Lifecycle:      &corev1.Lifecycle{PreStop: sleep, PostStart: &corev1.LifecycleHandler{Exec: succeeds}},
		}}},
	}
	simplify(pod)
	if diff := cmp.Diff(want, pod); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
