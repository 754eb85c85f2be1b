package hollow

import (
	"context"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/agent/node"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/store/auth"
	"navarch.dev/navarch/services/store/storetest"
)

// world is a Store that lets nodes do what they may, and hollow nodes, in a bubble whose time passes by itself.
type world struct {
	t      *testing.T
	store  *storetest.Store
	client *client.Client
	cfg    Config
	stop   func()
}

// noClose is a connection within the process, which ends with its calls.
type noClose struct{ grpc.ClientConnInterface }

func (noClose) Close() error { return nil }

// inWorld runs a test with the nodes hollow-0 to hollow-2.
func inWorld(t *testing.T, change func(*Config), test func(*world)) {
	synctest.Test(t, func(t *testing.T) {
		cfg := exact()
		cfg.Nodes = 3
		if change != nil {
			change(&cfg)
		}
		store := storetest.New(t, storetest.WithControl(auth.New(auth.DefaultConfig())), storetest.WithSeed(auth.Bootstrap()...))
		w := &world{t: t, store: store, cfg: cfg}
		w.client = w.store.Client(storetest.Admin())
		w.begin()
		defer func() { w.stop() }()
		test(w)
	})
}

// begin starts a process of hollow nodes, and waits until they are registered.
func (w *world) begin() {
	w.t.Helper()
	fleet, err := New(w.cfg, telemetry.Discard("hollow"), func(node string) (Conn, error) {
		return noClose{w.store.Conn(identity.Node(node))}, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- fleet.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the nodes ended: %v", err)
		}
	}
	<-fleet.Ready()
}

// pod creates a pod on a node.
func (w *world) pod(node, name string, change func(*corev1.Pod)) *corev1.Pod {
	w.t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{
			NodeName: node, TerminationGracePeriodSeconds: ptr.To(int64(30)),
			Containers: []corev1.Container{{Name: "main", Image: "app:1"}},
		},
	}
	if change != nil {
		change(p)
	}
	if err := w.client.Create(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// until reads an object every so often until it is as it should be.
func until[T kinds.Object](w *world, namespace, name, what string, obj T, cond func(T) bool) T {
	w.t.Helper()
	for range 600 {
		err := w.client.Get(w.t.Context(), namespace, name, obj)
		if err != nil && !apierrors.IsNotFound(err) {
			w.t.Fatal(err)
		}
		if err == nil && cond(obj) {
			return obj
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.t.Fatalf("%s never became %s: %+v", name, what, obj)
	return obj
}

func (w *world) untilPod(name, what string, cond func(*corev1.Pod) bool) *corev1.Pod {
	w.t.Helper()
	return until(w, "default", name, what, &corev1.Pod{}, cond)
}

func (w *world) untilGone(name string) {
	w.t.Helper()
	for range 600 {
		if err := w.client.Get(w.t.Context(), "default", name, &corev1.Pod{}); apierrors.IsNotFound(err) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.t.Fatalf("pod %s is still there", name)
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func readyNode(n *corev1.Node) corev1.ConditionStatus {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status
		}
	}
	return ""
}

func (w *world) renewed(node string) time.Time {
	w.t.Helper()
	lease := &coordinationv1.Lease{}
	if err := w.client.Get(w.t.Context(), corev1.NamespaceNodeLease, node, lease); err != nil {
		w.t.Fatal(err)
	}
	return lease.Spec.RenewTime.Time
}

func TestNodesAreRegisteredAndReady(t *testing.T) {
	inWorld(t, func(c *Config) {
		c.NotReady, c.Zones = 1, 2
		c.Taints = []string{"hollow:NoSchedule"}
	}, func(w *world) {
		for i, want := range []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionTrue, corev1.ConditionFalse} {
			name := fmt.Sprintf("hollow-%d", i)
			n := until(w, "", name, "told of", &corev1.Node{}, func(n *corev1.Node) bool { return readyNode(n) == want })
			if n.Labels[node.LabelHollow] != "true" || n.Labels[corev1.LabelTopologyZone] != fmt.Sprintf("zone-%d", i%2) ||
				n.Status.Addresses[0].Address != fmt.Sprintf("198.18.0.%d", i+1) || n.Status.Capacity.Cpu().Value() != 8 {
				w.t.Errorf("%s: %v %+v", name, n.Labels, n.Status)
			}
			if len(n.Spec.Taints) == 0 || n.Spec.Taints[0].Key != "hollow" {
				w.t.Errorf("%s has taints %+v", name, n.Spec.Taints)
			}
		}
	})
}

func TestLeasesAreRenewedOutOfStep(t *testing.T) {
	inWorld(t, func(c *Config) { c.Nodes = 10 }, func(w *world) {
		time.Sleep(time.Minute)
		synctest.Wait()
		times := make(map[time.Time]bool)
		for i := range 10 {
			at := w.renewed(fmt.Sprintf("hollow-%d", i))
			if time.Since(at) > 11*time.Second {
				w.t.Errorf("a Lease was renewed %s ago", time.Since(at))
			}
			times[at] = true
		}
		if len(times) < 10 {
			w.t.Errorf("10 nodes renewed their Leases at %d times", len(times))
		}
	})
}

func TestPodRunsAndEnds(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.pod("hollow-1", "web", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "init:1"}}
			p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(80)}}}
		})
		p := w.untilPod("web", "ready", isReady)
		if p.Status.Phase != corev1.PodRunning || p.Status.PodIP == "" || p.Status.HostIP != "198.18.0.2" {
			w.t.Errorf("status %+v", p.Status)
		}
		if p.Spec.Containers[0].ReadinessProbe.HTTPGet == nil {
			w.t.Error("the node has changed the pod's probe in the Store")
		}
		if took := p.Status.ContainerStatuses[0].State.Running.StartedAt.Sub(p.Status.StartTime.Time); took < w.cfg.RunTime {
			w.t.Errorf("the container started %s after the pod, before the init container's end", took)
		}
		if err := w.client.Delete(w.t.Context(), p, client.DeleteOptions{}); err != nil {
			w.t.Fatal(err)
		}
		w.untilGone("web")
	})
}

func TestTaskSucceeds(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.pod("hollow-0", "task", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever })
		w.untilPod("task", "over", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	})
}

// Nothing of a pod is on the disk, so nothing is removed from it either.
func TestCrashingContainerIsStartedAgain(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.t.Chdir(w.t.TempDir())
		if err := os.WriteFile("other", nil, 0o600); err != nil {
			w.t.Fatal(err)
		}
		w.pod("hollow-0", "bad", func(p *corev1.Pod) {
			p.Annotations = map[string]string{AnnotationRunTime: "1s", AnnotationExitCode: "1"}
		})
		w.untilPod("bad", "in a crash loop", func(p *corev1.Pod) bool {
			return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].RestartCount > 2 &&
				p.Status.ContainerStatuses[0].State.Waiting != nil && p.Status.ContainerStatuses[0].State.Waiting.Reason == "CrashLoopBackOff"
		})
		if files, err := os.ReadDir("."); err != nil || len(files) != 1 {
			w.t.Errorf("files %v, %v", files, err)
		}
	})
}

func TestTakesOver(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.pod("hollow-2", "web", nil)
		before := w.untilPod("web", "ready", isReady)
		w.stop()
		w.pod("hollow-2", "late", nil)
		w.begin()
		w.untilPod("late", "ready", isReady)
		time.Sleep(time.Minute)
		after := w.untilPod("web", "there", isReady)
		if after.ResourceVersion != before.ResourceVersion {
			w.t.Errorf("the pod was written again: from %+v to %+v", before.Status, after.Status)
		}
		if err := w.client.Delete(w.t.Context(), after, client.DeleteOptions{}); err != nil {
			w.t.Fatal(err)
		}
		w.untilGone("web")
	})
}

func TestResizedPodIsTakenOver(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		cpu := func(q string) corev1.ResourceRequirements {
			list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(q)}
			return corev1.ResourceRequirements{Requests: list, Limits: list}
		}
		w.pod("hollow-0", "web", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = cpu("1") })
		p := w.untilPod("web", "ready", isReady)
		p.Spec.Containers[0].Resources = cpu("2")
		if err := w.client.UpdateSubresource(w.t.Context(), p, "resize"); err != nil {
			w.t.Fatal(err)
		}
		before := w.untilPod("web", "resized", func(p *corev1.Pod) bool {
			r := p.Status.ContainerStatuses[0].Resources
			return r != nil && r.Requests.Cpu().Value() == 2 && len(p.Status.Conditions) == 5
		})
		w.stop()
		w.begin()
		time.Sleep(time.Minute)
		if after := w.untilPod("web", "there", isReady); after.ResourceVersion != before.ResourceVersion {
			w.t.Errorf("the pod was written again: from %+v to %+v", before.Status, after.Status)
		}
	})
}

func TestDeletedNodeIsRegisteredAgain(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		before := until(w, "", "hollow-0", "ready", &corev1.Node{}, func(n *corev1.Node) bool { return readyNode(n) == corev1.ConditionTrue })
		uid := before.UID
		if err := w.client.Delete(w.t.Context(), before, client.DeleteOptions{}); err != nil {
			w.t.Fatal(err)
		}
		begun := time.Now()
		until(w, "", "hollow-0", "registered again", &corev1.Node{}, func(n *corev1.Node) bool { return n.UID != uid })
		if took := time.Since(begun); took > time.Second {
			w.t.Errorf("it took %s until the node was back", took)
		}
	})
}

// annotate says how a node is to be.
func (w *world) annotate(node, state string) {
	w.t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, AnnotationState, state)
	err := w.client.Patch(w.t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, types.MergePatchType, []byte(patch), "")
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestSilentNode(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.pod("hollow-0", "web", nil)
		p := w.untilPod("web", "ready", isReady)
		w.annotate("hollow-0", StateSilent)
		synctest.Wait()
		since := w.renewed("hollow-0")
		if err := w.client.Delete(w.t.Context(), p, client.DeleteOptions{}); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if at := w.renewed("hollow-0"); !at.Equal(since) {
			w.t.Error("a silent node renewed its Lease")
		}
		w.untilPod("web", "there, on a silent node", func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
		w.annotate("hollow-0", "")
		w.untilGone("web")
		if at := w.renewed("hollow-0"); !at.After(since) {
			w.t.Error("the node that is back has not renewed its Lease")
		}
	})
}

func TestNodeThatIsToldToBeNotReady(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		for _, state := range []string{StateNotReady, ""} {
			want := corev1.ConditionTrue
			if state == StateNotReady {
				want = corev1.ConditionFalse
			}
			w.annotate("hollow-0", state)
			until(w, "", "hollow-0", "as it is told", &corev1.Node{}, func(n *corev1.Node) bool { return readyNode(n) == want })
		}
	})
}

func TestNodesFailByChanceAndComeBack(t *testing.T) {
	inWorld(t, func(c *Config) { c.Nodes, c.NodeFailEvery, c.NodeFailFor = 1, 30*time.Minute, 10*time.Minute }, func(w *world) {
		silent := 0
		for range 6 * 60 {
			time.Sleep(time.Minute)
			if time.Since(w.renewed("hollow-0")) > 30*time.Second {
				silent++
			}
		}
		// Ten of each forty minutes: an hour and a half of six.
		if silent < 30 || silent > 180 {
			w.t.Errorf("the node was silent for %d of %d minutes", silent, 6*60)
		}
	})
}
