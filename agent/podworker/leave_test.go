package podworker

import (
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
)

// The containers of a deleted pod are not told to end before no EndpointSlice
// names it as ready.
func TestLeavesItsServicesBeforeItEnds(t *testing.T) {
	b := newStoreBench(t)
	create := func(obj kinds.Object) {
		t.Helper()
		if err := b.client.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	create(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}},
	})
	var left atomic.Bool
	b.runtime.onSignal = func(id string) {
		if b.runtime.podOf(id) == "web" && !left.Load() {
			t.Error("a container is told to end while a Service may send it traffic")
		}
	}
	b.start()
	t.Cleanup(func() { b.stop() })
	pod := b.pod("web", func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "web"}
		p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](600)
	})
	b.until("web", "ready", isReady)
	other := b.pod("other", nil)
	b.until("other", "ready", isReady)
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"10.244.0.5"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "web", UID: pod.UID},
		}},
	}
	create(slice)
	if err := b.client.Delete(t.Context(), pod, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("web", "being ended", func(*corev1.Pod) bool { return b.events.has("Killing") })
	// One that no Service knows ends at once.
	if err := b.client.Delete(t.Context(), other, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("other", "gone", isGone)
	left.Store(true)
	slice.Endpoints[0].Conditions.Ready = ptr.To(false)
	if err := b.client.Update(t.Context(), slice); err != nil {
		t.Fatal(err)
	}
	b.until("web", "gone", isGone)
}
