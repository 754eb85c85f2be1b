package podworker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/testseed"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/nodelifecycle"
	"navarch.dev/navarch/services/controller/podgc"
	"navarch.dev/navarch/services/controller/statefulset"
	"navarch.dev/navarch/services/store/backend/memory"
	"navarch.dev/navarch/services/store/storetest"
)

// schedule binds pods to random nodes that take any.
func (s *simulation) schedule(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(200 * time.Millisecond) {
		var pods corev1.PodList
		var nodes corev1.NodeList
		if s.admin.List(ctx, &pods, client.ListOptions{}) != nil || s.admin.List(ctx, &nodes, client.ListOptions{}) != nil {
			continue
		}
		var free []string
		for i := range nodes.Items {
			if len(nodes.Items[i].Spec.Taints) == 0 {
				free = append(free, nodes.Items[i].Name)
			}
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			if pod.Spec.NodeName != "" || pod.DeletionTimestamp != nil || len(free) == 0 {
				continue
			}
			target := corev1.ObjectReference{Kind: "Node", Name: free[s.upTo(time.Duration(len(free)))]}
			_ = s.admin.CreateSubresource(ctx, pod, "binding", &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}, Target: target})
		}
	}
}

// disturb does something to a node, and takes it back after a while.
func (s *simulation) disturb(n *simNode, back *sync.WaitGroup) {
	kind, pause := s.upTo(4), s.upTo(30*time.Second)
	if kind == 0 || kind == 2 {
		n.cut.set(false)
	}
	switch {
	case kind == 1 || kind == 2:
		n.stop()
	case kind == 3:
		n.crash()
	}
	back.Go(func() {
		time.Sleep(pause)
		n.cut.set(true)
		if n.stop == nil {
			n.startAgent()
		}
	})
}

func (s *simulation) run(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		var back sync.WaitGroup
		n := s.nodes[s.upTo(simNodes)]
		s.disturb(n, &back)
		if s.chance(3) { // and one more
			if other := s.nodes[s.upTo(simNodes)]; other != n {
				s.disturb(other, &back)
			}
		}
		back.Wait()
		time.Sleep(s.upTo(15 * time.Second))
	}
}

func simulate(t *testing.T, seed uint64) (replaced int) {
	synctest.Test(t, func(t *testing.T) {
		state := memory.New()
		t.Cleanup(func() { _ = state.Close() })
		cluster := controllertest.New(t, storetest.WithBackend(state))
		s := &simulation{
			t: t, start: time.Now().Add(-time.Hour), admin: cluster.Client, agents: storetest.New(t, storetest.WithBackend(state)),
			random: rand.New(rand.NewPCG(seed, 1)), running: make(map[string]simContainer), over: make(chan struct{}), pods: make(map[string]bool),
		}
		cfg := nodelifecycle.DefaultConfig()
		cfg.FastFailover, cfg.EvictionRate = true, 10
		cluster.Start(cluster.Controller(nodelifecycle.New(cluster.Deps, cfg)), cluster.Controller(statefulset.New(cluster.Deps)), cluster.Controller(podgc.New(cluster.Deps, 0)))
		for i := range simNodes {
			n := s.addNode(fmt.Sprintf("n%d", i))
			s.nodes = append(s.nodes, n)
			n.startAgent()
		}
		ctx, cancel := context.WithCancel(t.Context())
		var scheduler sync.WaitGroup
		scheduler.Go(func() { s.schedule(ctx) })
		template := controllertest.Template("single", "app:1")
		template.Spec.TerminationGracePeriodSeconds = ptr.To[int64](1)
		template.Spec.Tolerations = []corev1.Toleration{{
			Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](0),
		}}
		cluster.Apply(&appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "single"},
			Spec: appsv1.StatefulSetSpec{
				Replicas: ptr.To[int32](simReplicas), Selector: controllertest.Selector("single"), Template: template,
				ServiceName: "single", PodManagementPolicy: appsv1.ParallelPodManagement,
			},
		})
		time.Sleep(20 * time.Second)
		s.run(5 * time.Minute)
		s.calm.Store(true)
		time.Sleep(2 * time.Minute)
		s.mu.Lock()
		if replaced = len(s.pods) - simReplicas; len(s.running) != simReplicas {
			t.Errorf("at the end %d containers run: %+v", len(s.running), s.running)
		}
		s.mu.Unlock()
		for _, n := range s.nodes {
			n.stop()
		}
		cancel()
		scheduler.Wait()
		s.late.Wait()
		close(s.over)
		s.guards.Wait()
	})
	return replaced
}

// TestNoPodRunsTwice has nodes cut off, and agents and machines killed, at random
// times, with messages that are late or lost.
func TestNoPodRunsTwice(t *testing.T) {
	replaced := 0
	first := testseed.Of(t)
	for part := range uint64(testseed.Times(t, 3)) {
		seed := first + part
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { replaced += simulate(t, seed) })
	}
	if replaced < 10 {
		t.Errorf("only %d pods were replaced: this shows nothing", replaced)
	}
}
