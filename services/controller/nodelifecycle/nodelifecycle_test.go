package nodelifecycle_test

import (
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/nodelifecycle"
	"navarch.dev/navarch/services/controller/podgc"
)

var grace = nodelifecycle.DefaultConfig().GracePeriod

func node(name string) *corev1.Node {
	now := metav1.Now()
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: now, LastTransitionTime: now,
		}}},
	}
}

func lease(name string) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name},
		Spec:       coordinationv1.LeaseSpec{RenewTime: ptr.To(metav1.NowMicro())},
	}
}

func pod(name, node string, tolerate int64) *corev1.Pod {
	template := controllertest.Template("web", "web:1")
	template.Spec.NodeName = node
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		template.Spec.Tolerations = append(template.Spec.Tolerations, corev1.Toleration{
			Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &tolerate,
		})
	}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: template.Spec}
}

// world runs a test on two nodes, each with a lease and a ready pod that
// tolerates its node's silence for a minute.
func world(t *testing.T, run func(t *testing.T, c *controllertest.Cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := controllertest.New(t)
		c.Start(c.Controller(nodelifecycle.New(c.Deps, nodelifecycle.DefaultConfig())), c.Controller(podgc.New(c.Deps, 0)))
		for _, name := range []string{"a", "b"} {
			c.Apply(lease(name))
			n := node(name)
			status := n.Status
			c.Apply(n)
			controllertest.Change(c, n, "status", func(n *corev1.Node) { n.Status = status })
			p := pod("on-"+name, name, 60)
			c.Apply(p)
			if err := c.SetReady(t.Context(), p, true); err != nil {
				t.Fatal(err)
			}
		}
		run(t, c)
	})
}

// pass lets time go by, the named nodes renewing their leases.
func pass(c *controllertest.Cluster, d time.Duration, alive ...string) {
	for ; d > 0; d -= 10 * time.Second {
		time.Sleep(min(d, 10*time.Second))
		for _, name := range alive {
			controllertest.Change(c, lease(name), "", func(l *coordinationv1.Lease) { l.Spec.RenewTime = ptr.To(metav1.NowMicro()) })
		}
	}
	synctest.Wait()
}

func state(t *testing.T, c *controllertest.Cluster, name string) (ready corev1.ConditionStatus, taints []string) {
	t.Helper()
	n := &corev1.Node{}
	if err := c.Get(t.Context(), "", name, n); err != nil {
		t.Fatal(err)
	}
	for _, taint := range n.Spec.Taints {
		taints = append(taints, taint.Key+":"+string(taint.Effect))
	}
	for _, cond := range n.Status.Conditions {
		if cond.Type == corev1.NodeReady {
			ready = cond.Status
		}
	}
	return ready, taints
}

func podReady(t *testing.T, c *controllertest.Cluster, name string) (ready, deleting bool) {
	t.Helper()
	p := &corev1.Pod{}
	if err := c.Get(t.Context(), "default", name, p); err != nil {
		t.Fatal(err)
	}
	for _, cond := range p.Status.Conditions {
		if cond.Type == corev1.PodReady {
			ready = cond.Status == corev1.ConditionTrue
		}
	}
	return ready, p.DeletionTimestamp != nil
}

func TestSilentNode(t *testing.T) {
	world(t, func(t *testing.T, c *controllertest.Cluster) {
		pass(c, 2*grace, "a", "b")
		if ready, taints := state(t, c, "b"); ready != corev1.ConditionTrue || len(taints) != 0 {
			t.Fatalf("a node that renews its lease: Ready %s, taints %v", ready, taints)
		}
		pass(c, grace+time.Second, "a")
		if ready, taints := state(t, c, "b"); ready != corev1.ConditionUnknown || len(taints) != 2 {
			t.Fatalf("a silent node: Ready %s, taints %v", ready, taints)
		}
		if ready, deleting := podReady(t, c, "on-b"); ready || deleting {
			t.Errorf("its pod: ready %v, being deleted %v", ready, deleting)
		}
		if ready, _ := podReady(t, c, "on-a"); !ready {
			t.Error("the pod of the other node is not ready")
		}
		pass(c, 70*time.Second, "a")
		if _, deleting := podReady(t, c, "on-b"); !deleting {
			t.Error("its pod was not evicted after its toleration")
		}
		if _, deleting := podReady(t, c, "on-a"); deleting {
			t.Error("the pod of the other node was evicted")
		}
	})
}

// TestSilentNodeThatIsBeingDeleted has somebody hold up the deletion of a node.
func TestSilentNodeThatIsBeingDeleted(t *testing.T) {
	world(t, func(t *testing.T, c *controllertest.Cluster) {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "b"}}
		controllertest.Change(c, n, "", func(n *corev1.Node) { n.Finalizers = append(n.Finalizers, "example.com/drain") })
		c.Remove(n, "")
		pass(c, grace+time.Second, "a")
		if ready, taints := state(t, c, "b"); ready != corev1.ConditionUnknown || len(taints) != 2 {
			t.Fatalf("Ready %s, taints %v", ready, taints)
		}
	})
}

func TestReturn(t *testing.T) {
	world(t, func(t *testing.T, c *controllertest.Cluster) {
		pass(c, grace+20*time.Second, "a")
		b := node("b")
		status := b.Status
		controllertest.Change(c, b, "status", func(n *corev1.Node) { n.Status = status })
		pass(c, 2*time.Minute, "a", "b")
		if ready, taints := state(t, c, "b"); ready != corev1.ConditionTrue || len(taints) != 0 {
			t.Errorf("a node that is back: Ready %s, taints %v", ready, taints)
		}
		if _, deleting := podReady(t, c, "on-b"); deleting {
			t.Error("the pod of a node that came back in time was evicted")
		}
	})
}

func TestNothingIsEvictedWhenAllAreSilent(t *testing.T) {
	world(t, func(t *testing.T, c *controllertest.Cluster) {
		pass(c, 10*time.Minute)
		for _, name := range []string{"on-a", "on-b"} {
			if ready, deleting := podReady(t, c, name); ready || deleting {
				t.Errorf("%s: ready %v, being deleted %v", name, ready, deleting)
			}
		}
		a := node("a")
		status := a.Status
		controllertest.Change(c, a, "status", func(n *corev1.Node) { n.Status = status })
		pass(c, 50*time.Second, "a")
		if _, deleting := podReady(t, c, "on-b"); deleting {
			t.Error("the time in the dark counted against the pod's toleration")
		}
		pass(c, 20*time.Second, "a")
		if _, deleting := podReady(t, c, "on-b"); !deleting {
			t.Error("the pod was not evicted once a node was back")
		}
	})
}

func TestPodsOfVanishedNodeGo(t *testing.T) {
	world(t, func(t *testing.T, c *controllertest.Cluster) {
		c.Remove(node("b"), "")
		synctest.Wait()
		if !c.Gone(pod("on-b", "b", 0)) || c.Gone(pod("on-a", "a", 0)) {
			t.Error("the pods of a deleted node, and only they, must go")
		}
	})
}

func TestIdleClusterIsNotWrittenTo(t *testing.T) {
	world(t, func(t *testing.T, c *controllertest.Cluster) {
		pass(c, time.Minute, "a", "b")
		n := &corev1.Node{}
		if err := c.Get(t.Context(), "", "a", n); err != nil {
			t.Fatal(err)
		}
		before := n.ResourceVersion
		pass(c, time.Hour, "a", "b")
		if err := c.Get(t.Context(), "", "a", n); err != nil || n.ResourceVersion != before {
			t.Errorf("a healthy node went from version %s to %s (%v)", before, n.ResourceVersion, err)
		}
	})
}

// TestCutOffControlPlane has most of a zone fall silent at once, as when the
// network between it and the Store is cut.
func TestCutOffControlPlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := controllertest.New(t)
		c.Start(c.Controller(nodelifecycle.New(c.Deps, nodelifecycle.DefaultConfig())))
		names := []string{"a", "b", "c", "d", "e"}
		for _, name := range names {
			c.Apply(lease(name))
			n := node(name)
			status := n.Status
			c.Apply(n, pod("on-"+name, name, 60))
			controllertest.Change(c, n, "status", func(n *corev1.Node) { n.Status = status })
		}
		tainted := func() (nodes []string) {
			for _, name := range names {
				if ready, taints := state(t, c, name); ready == corev1.ConditionUnknown && len(taints) > 1 {
					nodes = append(nodes, name)
				}
			}
			return nodes
		}
		pass(c, time.Minute, names...)
		pass(c, time.Hour, "e")
		// One node was tainted before the others were known to be silent too.
		if got := tainted(); len(got) > 1 {
			t.Errorf("%v are emptied although most of the zone is silent", got)
		}
		evicted := 0
		for _, name := range names {
			if _, deleting := podReady(t, c, "on-"+name); deleting {
				evicted++
			}
		}
		if evicted > 1 {
			t.Errorf("%d nodes were emptied although most of the zone is silent", evicted)
		}
		// With two of them back, the two that are still silent are nodes that failed.
		for _, name := range []string{"a", "b"} {
			n := node(name)
			status := n.Status
			controllertest.Change(c, n, "status", func(n *corev1.Node) { n.Status = status })
		}
		pass(c, 2*time.Minute, "a", "b", "e")
		if got := tainted(); len(got) != 2 {
			t.Errorf("tainted for eviction: %v, want c and d", got)
		}
		for _, name := range []string{"c", "d"} {
			if _, deleting := podReady(t, c, "on-"+name); !deleting {
				t.Errorf("the pod of the failed node %s was not evicted", name)
			}
		}
	})
}
