package nodelifecycle

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestDeadline(t *testing.T) {
	added := time.Unix(1000, 0)
	taint := corev1.Taint{Key: "k", Value: "v", Effect: corev1.TaintEffectNoExecute, TimeAdded: ptr.To(metav1.NewTime(added))}
	exists := func(seconds *int64) corev1.Toleration {
		return corev1.Toleration{Key: "k", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: seconds}
	}
	for _, tt := range []struct {
		name        string
		tolerations []corev1.Toleration
		light       time.Time
		evicted     bool
		at          time.Time
	}{
		{name: "no toleration", evicted: true, at: added},
		{name: "for ever", tolerations: []corev1.Toleration{exists(nil)}},
		{name: "everything", tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}},
		{name: "for a time", tolerations: []corev1.Toleration{exists(ptr.To[int64](30))}, evicted: true, at: added.Add(30 * time.Second)},
		{name: "the shortest counts", tolerations: []corev1.Toleration{exists(nil), exists(ptr.To[int64](30)), exists(ptr.To[int64](10))}, evicted: true, at: added.Add(10 * time.Second)},
		{name: "negative is now", tolerations: []corev1.Toleration{exists(ptr.To[int64](-1))}, evicted: true, at: added},
		{name: "another value", tolerations: []corev1.Toleration{{Key: "k", Value: "w"}}, evicted: true, at: added},
		{name: "the value", tolerations: []corev1.Toleration{{Key: "k", Value: "v"}}},
		{name: "another effect", tolerations: []corev1.Toleration{{Key: "k", Value: "v", Effect: corev1.TaintEffectNoSchedule}}, evicted: true, at: added},
		{name: "counted from light", tolerations: []corev1.Toleration{exists(ptr.To[int64](30))}, light: added.Add(time.Hour), evicted: true, at: added.Add(time.Hour + 30*time.Second)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{Tolerations: tt.tolerations}}
			at, evicted := deadline(pod, []corev1.Taint{taint}, tt.light)
			if evicted != tt.evicted || !at.Equal(tt.at) {
				t.Errorf("got %v, %v", at, evicted)
			}
		})
	}
}
