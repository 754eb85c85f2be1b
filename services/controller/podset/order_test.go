package podset

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var now = time.Unix(1_000_000, 0)

// ready makes a running, ready pod on a node; change makes it special.
func ready(name string, change func(*corev1.Pod)) *corev1.Pod {
	since := metav1.NewTime(now.Add(-time.Hour))
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), CreationTimestamp: since},
		Spec:       corev1.PodSpec{NodeName: "node-of-" + name},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{
			Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: since,
		}}},
	}
	if change != nil {
		change(pod)
	}
	return pod
}

func TestSortForDeletion(t *testing.T) {
	pods := []*corev1.Pod{
		ready("9-plain", nil),
		ready("8-young", func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(now.Add(-time.Minute)) }),
		ready("7-restarted", func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 3}} }),
		ready("6-ready-lately", func(p *corev1.Pod) { p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-time.Minute)) }),
		ready("5-crowded", func(p *corev1.Pod) { p.Spec.NodeName = "crowded" }),
		ready("4-cheap", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "-5"} }),
		ready("3-unready", func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }),
		ready("2-pending", func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }),
		ready("1-unassigned", func(p *corev1.Pod) { p.Spec.NodeName = "" }),
		ready("95-dear", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: "5"} }),
	}
	siblings := append([]*corev1.Pod{ready("other", func(p *corev1.Pod) { p.Spec.NodeName = "crowded" })}, pods...)
	SortForDeletion(pods, siblings, now)
	var got []string
	for _, p := range pods {
		got = append(got, p.Name)
	}
	want := []string{"1-unassigned", "2-pending", "3-unready", "4-cheap", "5-crowded", "6-ready-lately", "7-restarted", "8-young", "9-plain", "95-dear"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}
