package nodelifecycle

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/fencing"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/store/storetest"
)

// noEvents records nothing.
type noEvents struct{}

func (noEvents) Event(kinds.Object, string, string, string) {}

// TestReplaceOnAnOldView has the controller act on what was true a moment ago.
func TestReplaceOnAnOldView(t *testing.T) {
	for _, tt := range []struct {
		name string
		// happens after the controller has judged the node and its pod.
		happens          func(t *testing.T, c *client.Client, lease *coordinationv1.Lease, pod *corev1.Pod)
		removed, refused bool
	}{
		{"nothing", func(*testing.T, *client.Client, *coordinationv1.Lease, *corev1.Pod) {}, true, false},
		{"the Lease was renewed", func(t *testing.T, c *client.Client, lease *coordinationv1.Lease, _ *corev1.Pod) {
			lease.Spec.RenewTime = ptr.To(metav1.NewMicroTime(time.Unix(2, 0)))
			update(t, c, lease)
		}, false, false},
		{"the Lease is gone", func(t *testing.T, c *client.Client, lease *coordinationv1.Lease, _ *corev1.Pod) {
			if err := c.Delete(t.Context(), lease, client.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}, false, false},
		{"the pod tolerates more", func(t *testing.T, c *client.Client, _ *coordinationv1.Lease, pod *corev1.Pod) {
			pod.Spec.Tolerations[0].TolerationSeconds = ptr.To[int64](300)
			update(t, c, pod)
		}, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := storetest.New(t).Client(storetest.Admin())
			r := &reconciler{client: c, events: noEvents{}, log: telemetry.Discard("controller").Log}
			lease := &coordinationv1.Lease{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: corev1.NamespaceNodeLease, Name: "n", Annotations: map[string]string{fencing.PromiseAnnotation: "5s"},
				},
				Spec: coordinationv1.LeaseSpec{RenewTime: ptr.To(metav1.NewMicroTime(time.Unix(1, 0)))},
			}
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
				Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "i"}}, Tolerations: []corev1.Toleration{{
					Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](0),
				}}},
			}
			for _, obj := range []kinds.Object{lease, pod} {
				if err := c.Create(t.Context(), obj); err != nil {
					t.Fatal(err)
				}
			}
			seen, judged := lease.DeepCopy(), pod.DeepCopy()
			tt.happens(t, c, lease, pod)
			_, err := r.replace(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, renewal{lease: seen}, []*corev1.Pod{judged}, time.Now())
			if (err != nil) != tt.refused {
				t.Errorf("error: %v", err)
			}
			if gone := c.Get(t.Context(), "default", "p", pod) != nil; gone != tt.removed {
				t.Errorf("the pod was removed: %v, want %v", gone, tt.removed)
			}
		})
	}
}

func update(t *testing.T, c *client.Client, obj kinds.Object) {
	t.Helper()
	if err := c.Update(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
}
