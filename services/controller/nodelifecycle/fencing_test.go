package nodelifecycle_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/fencing"
	"navarch.dev/navarch/internal/heartbeat"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/nodelifecycle"
)

const promise = 5 * time.Second

// fenced is when a pod may be taken for stopped: the promise, the clocks' drift
// and the margin.
const fenced = promise + promise/200 + 2*time.Second

func promised(name string) *coordinationv1.Lease {
	l := lease(name)
	l.Annotations = map[string]string{fencing.PromiseAnnotation: promise.String()}
	return l
}

// fastWorld runs a test on five nodes that fence, a to e, each with a ready pod
// that tolerates no silence. Only those of deaf have made no promise.
func fastWorld(t *testing.T, deaf []string, run func(t *testing.T, c *controllertest.Cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := controllertest.New(t)
		cfg := nodelifecycle.DefaultConfig()
		cfg.FastFailover = true
		c.Start(c.Controller(nodelifecycle.New(c.Deps, cfg)))
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			c.Apply(promised(name))
			n := node(name)
			status := n.Status
			c.Apply(n)
			controllertest.Change(c, n, "status", func(n *corev1.Node) { n.Status = status })
		}
		synctest.Wait()
		beat(c, 5*time.Second, "a", "b", "c", "d", "e") // a node is not ready at first
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			place(t, c, pod("on-"+name, name, 0))
		}
		for _, name := range deaf {
			controllertest.Change(c, lease(name), "", func(l *coordinationv1.Lease) { l.Annotations = nil })
		}
		run(t, c)
	})
}

// place creates a pod that its agent has seen.
func place(t *testing.T, c *controllertest.Cluster, p *corev1.Pod) {
	t.Helper()
	c.Apply(p)
	if err := c.SetReady(t.Context(), p, true); err != nil {
		t.Fatal(err)
	}
}

// beat lets time go by in steps of a second, the named nodes renewing their
// Leases.
func beat(c *controllertest.Cluster, d time.Duration, alive ...string) {
	for ; d > 0; d -= time.Second {
		for _, name := range alive {
			controllertest.Change(c, lease(name), "", func(l *coordinationv1.Lease) { l.Spec.RenewTime = ptr.To(metav1.NowMicro()) })
		}
		time.Sleep(min(d, time.Second))
	}
	synctest.Wait()
}

func isMarked(t *testing.T, c *controllertest.Cluster, name string) bool {
	t.Helper()
	l := &coordinationv1.Lease{}
	if err := c.Get(t.Context(), corev1.NamespaceNodeLease, name, l); err != nil {
		t.Fatal(err)
	}
	return fencing.Marked(l)
}

func TestPodsOfSilentNodeAreReplacedFast(t *testing.T) {
	fastWorld(t, nil, func(t *testing.T, c *controllertest.Cluster) {
		patient := pod("patient", "b", 60)
		everywhere := pod("everywhere", "b", 0)
		everywhere.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		place(t, c, patient)
		place(t, c, everywhere)
		beat(c, time.Minute, "a", "b", "c", "d", "e")
		if _, deleting := podReady(t, c, "on-b"); deleting || isMarked(t, c, "b") {
			t.Fatal("a node that renews its Lease was given up")
		}
		beat(c, promise, "a", "c", "d", "e")
		if ready, taints := state(t, c, "b"); ready != corev1.ConditionUnknown || len(taints) != 1 {
			t.Errorf("silent for as long as it promised: Ready %s, taints %v", ready, taints)
		}
		if ready, deleting := podReady(t, c, "on-b"); ready || deleting {
			t.Errorf("before it must have stopped its pod: ready %v, being deleted %v", ready, deleting)
		}
		beat(c, fenced-promise, "a", "c", "d", "e")
		if !c.Gone(pod("on-b", "b", 0)) || !isMarked(t, c, "b") {
			t.Error("the pod that its agent has stopped was not removed, or not after a mark")
		}
		if c.Gone(patient) {
			t.Error("the pod that tolerates the silence was removed")
		}
		c.Remove(everywhere, "")
		beat(c, time.Minute+fenced, "a", "c", "d", "e")
		if !c.Gone(patient) {
			t.Error("the pod was not removed when its toleration had ended")
		}
		if c.Gone(everywhere) {
			t.Error("a pod that its agent never stops was removed without it")
		}
	})
}

func TestDeletedPodOfSilentNodeGoes(t *testing.T) {
	fastWorld(t, nil, func(t *testing.T, c *controllertest.Cluster) {
		patient := pod("patient", "b", 20)
		place(t, c, patient)
		beat(c, time.Second, "a", "b", "c", "d", "e")
		beat(c, 10*time.Second, "a", "c", "d", "e")
		c.Remove(patient, "")
		beat(c, 10*time.Second, "a", "c", "d", "e")
		if c.Gone(patient) {
			t.Fatal("it was removed before its agent must have stopped it")
		}
		beat(c, 5*time.Second, "a", "c", "d", "e")
		if !c.Gone(patient) {
			t.Error("it waits for an agent that is not there")
		}
	})
}

// TestUnobservedToleration has a toleration shortened that the agent may not
// know of: it may let the pod run for as long as it said before.
func TestUnobservedToleration(t *testing.T) {
	fastWorld(t, nil, func(t *testing.T, c *controllertest.Cluster) {
		patient := pod("patient", "b", 300)
		place(t, c, patient)
		beat(c, time.Second, "a", "b", "c", "d", "e")
		controllertest.Change(c, patient, "", func(p *corev1.Pod) {
			for i := range p.Spec.Tolerations {
				p.Spec.Tolerations[i].TolerationSeconds = ptr.To[int64](0)
			}
		})
		beat(c, time.Minute, "a", "c", "d", "e")
		if _, deleting := podReady(t, c, "patient"); !deleting {
			t.Error("it was not evicted, which waits for the agent")
		}
	})
}

func TestWithoutPromiseTimingsAreTheUsualOnes(t *testing.T) {
	fastWorld(t, []string{"b"}, func(t *testing.T, c *controllertest.Cluster) {
		beat(c, time.Second, "a", "b", "c", "d", "e")
		beat(c, grace-2*time.Second, "a", "c", "d", "e")
		if ready, _ := state(t, c, "b"); ready != corev1.ConditionTrue {
			t.Errorf("Ready is %s before the grace period is over", ready)
		}
		beat(c, 10*time.Second, "a", "c", "d", "e")
		if _, deleting := podReady(t, c, "on-b"); !deleting || isMarked(t, c, "b") {
			t.Errorf("after it: being deleted %v, marked %v", deleting, isMarked(t, c, "b"))
		}
	})
}

// TestFastFailoverOfCutOffControlPlane has nodes fall silent together, each at
// another time since its last renewal.
func TestFastFailoverOfCutOffControlPlane(t *testing.T) {
	for _, alive := range [][]string{nil, {"e"}, {"d", "e"}} {
		t.Run(fmt.Sprint(len(alive), " left"), func(t *testing.T) {
			fastWorld(t, nil, func(t *testing.T, c *controllertest.Cluster) {
				beat(c, 10*time.Second, "a", "b", "c", "d", "e")
				for _, late := range []string{"a", "b", "c"} {
					time.Sleep(1200 * time.Millisecond)
					beat(c, 1, late)
				}
				beat(c, time.Minute, alive...)
				for _, name := range []string{"a", "b", "c"} {
					if _, deleting := podReady(t, c, "on-"+name); deleting || isMarked(t, c, name) {
						t.Errorf("node %s is emptied although most nodes are silent", name)
					}
				}
				beat(c, 20*time.Second, "b", "c", "d", "e")
				for _, name := range []string{"b", "c", "d", "e"} { // their agents are back
					n := node(name)
					status := n.Status
					controllertest.Change(c, n, "status", func(n *corev1.Node) { n.Status = status })
				}
				beat(c, 20*time.Second, "b", "c", "d", "e")
				if !c.Gone(pod("on-a", "a", 0)) || c.Gone(pod("on-b", "b", 0)) {
					t.Error("the one node that stayed silent must be emptied, and no other")
				}
			})
		})
	}
}

// breakStream does as a Store that has lost a node's heartbeat stream.
func breakStream(c *controllertest.Cluster, name, stream string) {
	controllertest.Change(c, lease(name), "", func(l *coordinationv1.Lease) {
		if l.Annotations == nil {
			l.Annotations = make(map[string]string)
		}
		l.Annotations[heartbeat.StreamAnnotation], l.Annotations[heartbeat.BrokenAnnotation] = stream, stream
	})
}

func suspected(c *controllertest.Cluster) (n int) {
	for _, e := range c.Events.All() {
		if strings.Contains(e, "NodeSuspected") {
			n++
		}
	}
	return n
}

func TestBrokenStreamMakesSuspect(t *testing.T) {
	world(t, func(t *testing.T, c *controllertest.Cluster) {
		pass(c, 10*time.Second, "a", "b")
		breakStream(c, "b", "one")
		pass(c, 4*time.Second)
		if suspected(c) > 0 {
			t.Error("suspected before it could have told that it lives")
		}
		pass(c, 10*time.Second, "a")
		if ready, taints := state(t, c, "b"); ready != corev1.ConditionTrue || len(taints) > 0 || suspected(c) != 1 {
			t.Errorf("suspected %d times; Ready %s, taints %v, which the Lease decides", suspected(c), ready, taints)
		}
		pass(c, 10*time.Second, "a")
		if suspected(c) != 1 {
			t.Error("the same stream was told of again")
		}
		controllertest.Change(c, lease("b"), "", func(l *coordinationv1.Lease) {
			l.Annotations[heartbeat.StreamAnnotation] = "two"
			l.Spec.RenewTime = ptr.To(metav1.NowMicro())
		})
		pass(c, 30*time.Second, "a", "b")
		if ready, _ := state(t, c, "b"); ready != corev1.ConditionTrue || suspected(c) != 1 {
			t.Errorf("with another stream: Ready %s, suspected %d times", ready, suspected(c))
		}
	})
}

func TestBrokenStreamMakesFencedNodeUnknownSooner(t *testing.T) {
	fastWorld(t, nil, func(t *testing.T, c *controllertest.Cluster) {
		beat(c, time.Second, "a", "b", "c", "d", "e")
		breakStream(c, "b", "one")
		beat(c, time.Second, "a", "c", "d", "e")
		if ready, _ := state(t, c, "b"); ready != corev1.ConditionTrue {
			t.Errorf("a broken stream alone made it %s", ready)
		}
		beat(c, 1100*time.Millisecond, "a", "c", "d", "e")
		if ready, taints := state(t, c, "b"); ready != corev1.ConditionUnknown || len(taints) != 1 {
			t.Errorf("suspected: Ready %s, taints %v", ready, taints)
		}
		beat(c, time.Second, "a", "c", "d", "e")
		if _, deleting := podReady(t, c, "on-b"); deleting {
			t.Error("a pod was removed before its agent has stopped it")
		}
		beat(c, fenced-3*time.Second, "a", "c", "d", "e")
		if !c.Gone(pod("on-b", "b", 0)) {
			t.Error("the pod was not replaced")
		}
	})
}

// TestLateWatch has the controller's Store tell nothing new of Leases, as one
// that hangs or has died, while the nodes renew theirs at another.
func TestLateWatch(t *testing.T) {
	all := []string{"a", "b", "c", "d", "e"}
	for name, run := range map[string]func(*testing.T, func(*testing.T, *controllertest.Cluster)){
		"fast failover": func(t *testing.T, run func(*testing.T, *controllertest.Cluster)) { fastWorld(t, nil, run) },
		"usual timings": func(t *testing.T, run func(*testing.T, *controllertest.Cluster)) { fastWorld(t, all, run) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, c *controllertest.Cluster) {
				beat(c, time.Second, all...)
				release := c.HoldBack("leases")
				defer release()
				for range 60 {
					beat(c, time.Second, all...)
					for _, name := range all {
						if ready, taints := state(t, c, name); ready != corev1.ConditionTrue || len(taints) > 0 {
							t.Fatalf("node %s, which lives, is Ready=%s and has %v", name, ready, taints)
						}
					}
				}
				beat(c, 2*grace, "a", "c", "d", "e")
				if ready, taints := state(t, c, "b"); ready != corev1.ConditionUnknown || len(taints) == 0 {
					t.Errorf("node b, which is dead, is Ready=%s and has %v", ready, taints)
				}
				release()
				beat(c, 5*time.Second, "a", "c", "d", "e")
				for _, name := range []string{"a", "c", "d", "e"} {
					if ready, _ := state(t, c, name); ready != corev1.ConditionTrue || isMarked(t, c, name) {
						t.Errorf("node %s is Ready=%s, its Lease is marked: %t", name, ready, isMarked(t, c, name))
					}
				}
			})
		})
	}
}
