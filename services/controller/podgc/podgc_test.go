package podgc_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/podgc"
	"navarch.dev/navarch/services/controller/podset"
)

// node makes a node that is ready or not.
func node(c *controllertest.Cluster, name string, ready corev1.ConditionStatus, taints ...corev1.Taint) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{Taints: taints}}
	c.Apply(n)
	controllertest.Change(c, n, "status", func(n *corev1.Node) {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
	})
	return n
}

// pod is one of a node; empty: none has it yet.
func pod(name, node string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: controllertest.Template("web", "web:1").Spec}
	p.Spec.NodeName = node
	p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](30)
	return p
}

// TestWhoIsRemoved has one pod in a cluster of three nodes: one that is ready,
// one that is not, and one that an administrator has declared out of service.
func TestWhoIsRemoved(t *testing.T) {
	shutDown := corev1.Taint{Key: corev1.TaintNodeOutOfService, Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute}
	for name, tt := range map[string]struct {
		node    string
		deleted bool // somebody has
		phase   corev1.PodPhase
		gone    bool
	}{
		"a pod of a node that is gone":                       {"vanished", false, corev1.PodRunning, true},
		"one that has ended there":                           {"vanished", false, corev1.PodSucceeded, true},
		"one that is being deleted there":                    {"vanished", true, corev1.PodRunning, true},
		"a deleted pod of a node out of service":             {"shut-down", true, corev1.PodRunning, true},
		"a pod of a node out of service, not deleted":        {"shut-down", false, corev1.PodRunning, false},
		"a deleted pod of a silent node: it may run":         {"silent", true, corev1.PodRunning, false},
		"a deleted pod of a ready node: its agent ends it":   {"ready", true, corev1.PodRunning, false},
		"a pod of a ready node":                              {"ready", false, corev1.PodRunning, false},
		"a pod without a node":                               {"", false, corev1.PodPending, false},
		"out of service has no effect while a node is ready": {"ready-and-tainted", true, corev1.PodRunning, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := controllertest.New(t)
			node(c, "ready", corev1.ConditionTrue)
			node(c, "silent", corev1.ConditionUnknown)
			node(c, "shut-down", corev1.ConditionUnknown, shutDown)
			node(c, "ready-and-tainted", corev1.ConditionTrue, shutDown)
			p, last := pod("p", tt.node), pod("q", "vanished")
			c.Apply(p)
			if tt.phase != corev1.PodPending {
				if err := c.Finish(t.Context(), p, tt.phase); err != nil {
					t.Fatal(err)
				}
			}
			if tt.deleted {
				c.Remove(p, "")
			}
			c.Start(c.Controller(podgc.New(c.Deps, 0)))
			c.Apply(last)
			controllertest.Await(c, "the pods that stay", func(all []*corev1.Pod) bool {
				switch {
				case tt.gone:
					return len(all) == 0
				case len(all) == 1 && all[0].Name == "p": // the one looked at last is gone
					return true
				}
				return false
			})
		})
	}
}

// TestPodsOfALostNodeHaveFailed shows what owners see of a pod before it goes.
func TestPodsOfALostNodeHaveFailed(t *testing.T) {
	c := controllertest.New(t)
	n, p := node(c, "a", corev1.ConditionTrue), pod("p", "a")
	p.Finalizers = []string{"example.com/keep"} // to see what becomes of it
	c.Apply(p)
	if err := c.SetReady(t.Context(), p, true); err != nil {
		t.Fatal(err)
	}
	c.Start(c.Controller(podgc.New(c.Deps, 0)))
	c.Remove(n, "")
	got := controllertest.Await(c, "the pod deleted", func(all []*corev1.Pod) bool { return all[0].DeletionTimestamp != nil })[0]
	cond := podset.Condition(got, corev1.DisruptionTarget)
	if got.Status.Phase != corev1.PodFailed || cond == nil || cond.Reason != "DeletionByPodGC" || cond.Message != "PodGC: node no longer exists" {
		t.Errorf("phase %s, condition %+v", got.Status.Phase, cond)
	}
}

// TestFinishedPodsBeyondTheThreshold removes the oldest.
func TestFinishedPodsBeyondTheThreshold(t *testing.T) {
	for _, tt := range []struct {
		name      string
		threshold int
		want      string
	}{
		{"the newest are kept", 2, "p3 p4 runs"},
		{"fewer than are kept", 9, "p0 p1 p2 p3 p4 runs"},
		{"no threshold", 0, "p0 p1 p2 p3 p4 runs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := controllertest.New(t)
				node(c, "a", corev1.ConditionTrue)
				c.Apply(pod("runs", "a"))
				for i := range 5 {
					time.Sleep(time.Second) // of fake time: each is older than the next
					p := pod(fmt.Sprint("p", i), "a")
					c.Apply(p)
					if err := c.Finish(t.Context(), p, []corev1.PodPhase{corev1.PodFailed, corev1.PodSucceeded}[i%2]); err != nil {
						t.Fatal(err)
					}
				}
				c.Start(c.Controller(podgc.New(c.Deps, tt.threshold)))
				synctest.Wait()
				var names []string
				for _, p := range controllertest.Await(c, "pods", func([]*corev1.Pod) bool { return true }) {
					names = append(names, p.Name)
				}
				if got := strings.Join(names, " "); got != tt.want {
					t.Errorf("pods %q, want %q", got, tt.want)
				}
			})
		})
	}
}
