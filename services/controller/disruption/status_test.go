package disruption

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/controller/controllertest"
)

// An evicted pod does not count until it is seen to be deleted, or too long
// has passed without that.
func TestPendingEvictions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := &controllertest.Events{}
		r := &reconciler{events: events}
		start := metav1.Now()
		budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "b"}}
		budget.Status.DisruptedPods = map[string]metav1.Time{"a": start, "b": start, "gone": start}
		pods := []*corev1.Pod{
			{ObjectMeta: metav1.ObjectMeta{Name: "a"}},
			{ObjectMeta: metav1.ObjectMeta{Name: "b", DeletionTimestamp: &start}},
			{ObjectMeta: metav1.ObjectMeta{Name: "c"}},
		}
		for _, p := range pods {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
		time.Sleep(30 * time.Second)
		left, next := r.pending(budget, pods, time.Now())
		if len(left) != 1 || left["a"] != start || next.After() != evictionTimeout-30*time.Second || healthy(pods, left) != 1 {
			t.Errorf("pending %v, look again after %s, healthy %d", left, next.After(), healthy(pods, left))
		}
		time.Sleep(next.After())
		left, next = r.pending(budget, pods, time.Now())
		if len(left) != 0 || next.After() != 0 || healthy(pods, left) != 2 || len(events.All()) != 1 {
			t.Errorf("pending %v, look again after %s, healthy %d, events %v", left, next.After(), healthy(pods, left), events.All())
		}
	})
}
