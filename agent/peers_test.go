package agent

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/agent/network"
	"navarch.dev/navarch/agent/node"
)

func TestPeers(t *testing.T) {
	object := func(name, address string, labels map[string]string) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.1.0.0/24"}}}
		if address != "" {
			n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: address}}
		}
		return n
	}
	got := peersOf([]*corev1.Node{
		object("own", "192.0.2.1", nil),
		object("peer", "192.0.2.2", nil),
		object("silent", "", nil),
		object("hollow", "198.18.0.1", map[string]string{node.LabelHollow: "true"}),
	}, "own")
	want := []network.Peer{{Name: "peer", Addr: netip.MustParseAddr("192.0.2.2"), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Heartbeats of other nodes, which are most of what is heard of them, are none
// of a peer's changes.
func TestSamePeer(t *testing.T) {
	base := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "peer", ResourceVersion: "1"},
		Spec:       corev1.NodeSpec{PodCIDRs: []string{"10.1.0.0/24"}},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.2"}}},
	}
	for name, tc := range map[string]struct {
		same   bool
		change func(*corev1.Node)
	}{
		"a heartbeat": {true, func(n *corev1.Node) {
			n.ResourceVersion = "2"
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}}
		}},
		"another address": {false, func(n *corev1.Node) { n.Status.Addresses[0].Address = "192.0.2.3" }},
		"no address":      {false, func(n *corev1.Node) { n.Status.Addresses = nil }},
		"other pods":      {false, func(n *corev1.Node) { n.Spec.PodCIDRs = []string{"10.2.0.0/24"} }},
		"no pods":         {false, func(n *corev1.Node) { n.Spec.PodCIDRs = nil }},
		"become hollow":   {false, func(n *corev1.Node) { n.Labels = map[string]string{node.LabelHollow: "true"} }},
	} {
		changed := base.DeepCopy()
		tc.change(changed)
		if got := samePeer(base, changed); got != tc.same {
			t.Errorf("%s: the same peer: %t, want %t", name, got, tc.same)
		}
	}
}
