package node

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
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

// Extended resources are advertised by whoever patches the status. The agent keeps
// them, and nothing else that it knows better.
func TestKeepsExtendedResources(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	n := newNode(t, c, func() (bool, string) { return true, "" })
	node, err := n.Register(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	two := resource.MustParse("2")
	err = c.RetryOnConflict(t.Context(), node, func() bool {
		node.Status.Capacity = corev1.ResourceList{"example.com/dongle": two, corev1.ResourceCPU: resource.MustParse("1000"), "unknown": two}
		return true
	}, n.updateStatus)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.writeStatus(t.Context(), time.Now(), false); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(t.Context(), "", node.Name, node); err != nil {
		t.Fatal(err)
	}
	for what, list := range map[string]corev1.ResourceList{"capacity": node.Status.Capacity, "allocatable": node.Status.Allocatable} {
		if got := list["example.com/dongle"]; got.Cmp(two) != 0 {
			t.Errorf("%s has %s dongles, want 2", what, got.String())
		}
		if _, ok := list["unknown"]; ok || list.Cpu().Value() == 1000 {
			t.Errorf("%s is not the machine's: %v", what, list)
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

// A Node that somebody deletes is there again before anybody misses it.
func TestDeletedNodeIsRegisteredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := storetest.New(t).Client(storetest.Admin())
		n := newNode(t, c, func() (bool, string) { return true, "" })
		node, err := n.Register(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		before := node.UID
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = n.Run(ctx) }()
		synctest.Wait()
		if err := c.Delete(t.Context(), node, client.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		n.Deleted()
		synctest.Wait()
		if err := c.Get(t.Context(), "", "n1", node); err != nil || node.UID == before {
			t.Errorf("the Node has the UID %s, which was %s: %v", node.UID, before, err)
		}
	})
}

// Nodes that begin at the same time renew their Leases and write their
// statuses at their own phases of the intervals.
func TestPhasesOfPeriodicWrites(t *testing.T) {
	for _, tt := range []struct {
		phase float64
		want  []time.Duration // of the first renewals
	}{
		{0, []time.Duration{0, 10 * time.Second, 20 * time.Second}},
		{0.3, []time.Duration{0, 3 * time.Second, 13 * time.Second}},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := storetest.New(t).Client(storetest.Admin())
			n := newNode(t, c, func() (bool, string) { return true, "" })
			n.cfg.Phase = tt.phase
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			begun := time.Now()
			go n.newLeaseKeeper().run(ctx)
			for _, want := range tt.want {
				time.Sleep(time.Until(begun.Add(want)))
				synctest.Wait()
				lease := &coordinationv1.Lease{}
				if err := c.Get(t.Context(), leaseNamespace, "n1", lease); err != nil {
					t.Fatal(err)
				}
				if at := lease.Spec.RenewTime.Sub(begun); at != want {
					t.Errorf("phase %v: renewed after %s, want %s", tt.phase, at, want)
				}
			}
		})
	}
}

func TestMachineThatIsTold(t *testing.T) {
	machine := &Machine{
		Info:     corev1.NodeSystemInfo{OSImage: "told", OperatingSystem: "linux", Architecture: "amd64"},
		Capacity: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("64")}, Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("60")},
	}
	c := storetest.New(t).Client(storetest.Admin())
	taint := corev1.Taint{Key: "told", Effect: corev1.TaintEffectNoSchedule}
	n, err := New(Config{Name: "n1", DiskPath: "/nowhere", Machine: machine, Taints: []corev1.Taint{taint}}, c, telemetry.Discard("agent").Log,
		func() []corev1.ContainerImage { return nil }, func() (bool, string) { return true, "" })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := n.writeStatus(t.Context(), time.Now(), true); err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{}
	if err := c.Get(t.Context(), "", "n1", node); err != nil {
		t.Fatal(err)
	}
	if s := node.Status; s.NodeInfo.OSImage != "told" || s.Capacity.Cpu().Value() != 64 || s.Allocatable.Cpu().Value() != 60 || condition(node, corev1.NodeDiskPressure) != corev1.ConditionFalse {
		t.Errorf("status %+v", s)
	}
	if !slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&taint) }) {
		t.Errorf("taints %+v", node.Spec.Taints)
	}
}
