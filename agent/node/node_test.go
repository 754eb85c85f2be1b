package node

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/store/storetest"
)

func newNode(t *testing.T, c *client.Client, ready func() (bool, string)) *Node {
	t.Helper()
	n, err := New(Config{
		Name: "n1", Port: 10250, MaxPods: 110, CapacityShare: 0.5, DiskPath: t.TempDir(), RuntimeVersion: "runc://1",
		Labels:    map[string]string{"zone": "a"},
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}},
	}, c, telemetry.Discard("agent").Log, func() []corev1.ContainerImage { return nil }, ready)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func condition(n *corev1.Node, kind corev1.NodeConditionType) corev1.ConditionStatus {
	for _, c := range n.Status.Conditions {
		if c.Type == kind {
			return c.Status
		}
	}
	return ""
}

func TestRegistersAndBecomesReady(t *testing.T) {
	s := storetest.New(t)
	c := s.Client(identity.Node("n1"))
	var up atomic.Bool
	n := newNode(t, c, func() (bool, string) { return up.Load(), "not yet" })
	got, err := n.Register(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Labels[corev1.LabelHostname] != "n1" || got.Labels["zone"] != "a" {
		t.Errorf("node = %+v", got)
	}
	changes := make(chan *corev1.Node, 64)
	nodes, err := client.NewInformer[*corev1.Node](c, client.InformerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	nodes.AddHandler(client.Handler[*corev1.Node]{OnUpdate: func(_, obj *corev1.Node) { changes <- obj }})
	leased := make(chan struct{}, 64)
	leases, err := client.NewInformer[*coordinationv1.Lease](c, client.InformerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	leases.AddHandler(client.Handler[*coordinationv1.Lease]{OnAdd: func(l *coordinationv1.Lease) {
		if l.Name == "n1" && *l.Spec.LeaseDurationSeconds == 40 {
			leased <- struct{}{}
		}
	}})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go nodes.Run(ctx)
	go leases.Run(ctx)
	<-nodes.Synced()
	go func() { _ = n.Run(ctx) }()
	up.Store(true)
	n.Changed()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case node := <-changes:
			if condition(node, corev1.NodeReady) != corev1.ConditionTrue {
				continue
			}
			if node.Status.DaemonEndpoints.KubeletEndpoint.Port != 10250 || node.Status.Capacity.Pods().Value() != 110 {
				t.Errorf("status = %+v", node.Status)
			}
		case <-deadline:
			t.Fatal("the node never became Ready")
		}
		break
	}
	select {
	case <-leased:
	case <-deadline:
		t.Fatal("no Lease was made")
	}
}

func TestAdoptsANodeThatIsThere(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	have := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"mine": "kept"}},
		Spec:       corev1.NodeSpec{Unschedulable: true},
	}
	if err := c.Create(t.Context(), have); err != nil {
		t.Fatal(err)
	}
	got, err := newNode(t, c, func() (bool, string) { return true, "" }).Register(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.UID != have.UID || got.Labels["mine"] != "kept" || got.Labels[corev1.LabelHostname] != "n1" || !got.Spec.Unschedulable {
		t.Errorf("node = %+v", got.ObjectMeta)
	}
}

func TestStatusWithoutNewsIsNotWritten(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	n := newNode(t, c, func() (bool, string) { return true, "" })
	if _, err := n.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for i, want := range []bool{true, false, false} {
		force := i == 0
		if wrote, err := n.writeStatus(t.Context(), now.Add(time.Duration(i)*time.Minute), force); err != nil || wrote != want {
			t.Errorf("write %d: wrote %v, %v; want %v", i, wrote, err, want)
		}
	}
}

func TestMeminfo(t *testing.T) {
	if v, ok := meminfo([]byte("MemTotal:  16 kB\nMemAvailable: 8 kB\n"), "MemAvailable"); !ok || v != 8<<10 {
		t.Errorf("MemAvailable = %d, %v", v, ok)
	}
	if _, ok := meminfo([]byte("nothing"), "MemTotal"); ok {
		t.Error("found what is not there")
	}
}

// A node that was cut off is called NotReady by others. It has no news of its
// own when it is back, and takes that back all the same.
func TestTakesBackWhatOthersSaid(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	n := newNode(t, c, func() (bool, string) { return true, "" })
	node, err := n.Register(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.writeStatus(t.Context(), time.Now(), true); err != nil {
		t.Fatal(err)
	}
	err = c.RetryOnConflict(t.Context(), node, func() bool {
		setCondition(&node.Status, corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionUnknown}, time.Now())
		return true
	}, n.updateStatus)
	if err != nil {
		t.Fatal(err)
	}
	n.Observe(node)
	if wrote, err := n.writeStatus(t.Context(), time.Now(), false); err != nil || !wrote {
		t.Fatalf("wrote %v, %v", wrote, err)
	}
	if err := c.Get(t.Context(), "", "n1", node); err != nil {
		t.Fatal(err)
	}
	if got := condition(node, corev1.NodeReady); got != corev1.ConditionTrue {
		t.Errorf("Ready is %s after the node came back", got)
	}
}
