package simulation_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/localpath"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/controller/runner"
)

const (
	nodeCount = 5
	nodeCPU   = "4" // forty pods
	// renewal is how often a node renews its lease.
	renewal = 10 * time.Second
)

// nodes stand in for the agents of all nodes: they renew leases, start the pods
// that are bound to them, let those of Jobs end, and end what is deleted, unless
// they are down.
type nodes struct {
	t      *testing.T
	client *client.Client
	pods   *client.Informer[*corev1.Pod]

	mu   sync.Mutex // guards all below
	rng  *rand.Rand
	down map[string]bool
	due  map[types.UID]*fate
	load int64
}

// fate is what a node is going to do with a pod, and when.
type fate struct {
	next time.Time
	// of is what the pod looked like when that was decided.
	of stage
	// fails is whether a pod that ends by itself fails.
	fails bool
}

type stage int

const (
	starting stage = iota
	running
	unready
	ending
)

func nodeName(i int) string { return fmt.Sprintf("node-%d", i) }

func newNodes(t *testing.T, c *client.Client, seed uint64) *nodes {
	t.Helper()
	n := &nodes{t: t, client: c, rng: rand.New(rand.NewPCG(seed, 0)), down: make(map[string]bool), due: make(map[types.UID]*fate)}
	for i := range nodeCount {
		if err := n.register(t.Context(), nodeName(i)); err != nil {
			t.Fatal(err)
		}
	}
	tel := telemetry.Discard("nodes")
	metrics, err := runner.NewMetrics(tel.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	deps := runner.Deps{Client: c, Informers: client.NewInformers(c), Kinds: kinds.Default(), Telemetry: tel, Metrics: metrics, Feed: runner.NewFeed()}
	if n.pods, err = client.InformerFor[*corev1.Pod](deps.Informers, nil); err != nil {
		t.Fatal(err)
	}
	kubelets := runner.New("kubelet", n, deps, runner.Options{})
	runner.Primary(kubelets, n.pods)
	reclaimer := &reclaimer{nodes: n}
	if reclaimer.volumes, err = client.InformerFor[*corev1.PersistentVolume](deps.Informers, nil); err != nil {
		t.Fatal(err)
	}
	reclaimers := runner.New("reclaimer", reclaimer, deps, runner.Options{})
	runner.Primary(reclaimers, reclaimer.volumes)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	if err := deps.Informers.Start(ctx); err != nil {
		t.Fatal(err)
	}
	wg.Go(func() { kubelets.Run(ctx) })
	wg.Go(func() { reclaimers.Run(ctx) })
	wg.Go(func() { n.renew(ctx) })
	return n
}

func (n *nodes) register(ctx context.Context, name string) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelTopologyZone: "zone-" + name[len(name)-1:]},
		Annotations: map[string]string{localpath.DirAnnotation: "/data/" + name},
	}}
	if err := n.client.Create(ctx, node); err != nil {
		return err
	}
	if err := n.report(ctx, node); err != nil {
		return err
	}
	return n.client.Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name},
		Spec:       coordinationv1.LeaseSpec{RenewTime: ptr.To(metav1.NowMicro())},
	})
}

// report writes that a node is ready.
func (n *nodes) report(ctx context.Context, node *corev1.Node) error {
	return n.client.RetryOnConflict(ctx, node, func() bool {
		room := corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(nodeCPU), corev1.ResourcePods: resource.MustParse("110"),
			corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
		}
		node.Status.Capacity, node.Status.Allocatable = room, room
		node.Status.Conditions = []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
		}}
		return true
	}, n.client.UpdateStatus)
}

// renew is the heartbeat of all nodes that are up.
func (n *nodes) renew(ctx context.Context) {
	for {
		select {
		case <-time.After(renewal):
		case <-ctx.Done():
			return
		}
		for i := range nodeCount {
			if name := nodeName(i); n.isUp(name) {
				if err := n.heartbeat(ctx, name); err != nil && ctx.Err() == nil {
					n.t.Errorf("heartbeat of %s: %v", name, err)
				}
			}
		}
	}
}

func (n *nodes) heartbeat(ctx context.Context, name string) error {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name}}
	err := n.client.RetryOnConflict(ctx, lease, func() bool {
		lease.Spec.RenewTime = ptr.To(metav1.NowMicro())
		return true
	}, n.client.Update)
	if err != nil {
		return err
	}
	node := &corev1.Node{}
	if err := n.client.Get(ctx, "", name, node); err != nil {
		return err
	}
	if slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}) {
		return nil
	}
	return n.report(ctx, node)
}

func (n *nodes) isUp(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.down[name]
}

// set makes a node fail, or come back.
func (n *nodes) set(name string, up bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down[name] = !up
}

// Reconcile implements runner.Reconciler: it is what a kubelet does to a pod.
func (n *nodes) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	pod, ok := n.pods.GetByKey(key)
	if !ok || pod.Spec.NodeName == "" {
		return runner.Done(), nil
	}
	if !n.isUp(pod.Spec.NodeName) {
		return runner.RequeueAfter(renewal), nil
	}
	f, ok := n.fateOf(pod)
	if !ok {
		return runner.Done(), nil
	}
	if wait := time.Until(f.next); wait > 0 {
		return runner.RequeueAfter(wait), nil
	}
	if f.of == starting {
		if ok, err := n.hasVolumes(ctx, pod); err != nil || !ok {
			return runner.RequeueAfter(renewal), err
		}
	}
	err := n.fulfil(ctx, pod, f)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		err = nil // there is a newer pod, or none: it is seen shortly
	}
	return runner.RequeueAfter(time.Second), err
}

// stageOf is what comes next for a pod; false if nothing does.
func stageOf(pod *corev1.Pod) (stage, bool) {
	switch {
	case pod.DeletionTimestamp != nil:
		return ending, true
	case isFinished(pod):
		return 0, false
	case pod.Status.Phase != corev1.PodRunning:
		return starting, true
	case !isReady(pod):
		return unready, true
	case pod.Spec.RestartPolicy == corev1.RestartPolicyNever:
		return running, true
	}
	return 0, false
}

// fateOf decides once for each stage of a pod what is going to happen to it.
func (n *nodes) fateOf(pod *corev1.Pod) (fate, bool) {
	of, ok := stageOf(pod)
	n.mu.Lock()
	defer n.mu.Unlock()
	if !ok {
		delete(n.due, pod.UID)
		return fate{}, false
	}
	f := n.due[pod.UID]
	if f == nil || f.of != of {
		most := map[stage]time.Duration{starting: 5 * time.Second, running: 2 * time.Minute, unready: 20 * time.Second, ending: 10 * time.Second}[of]
		f = &fate{of: of, next: time.Now().Add(time.Duration(n.rng.Int64N(int64(most)))), fails: n.rng.IntN(5) == 0}
		n.due[pod.UID] = f
	}
	return *f, true
}

func (n *nodes) fulfil(ctx context.Context, pod *corev1.Pod, f fate) error {
	if f.of == ending {
		n.mu.Lock()
		delete(n.due, pod.UID)
		n.mu.Unlock()
		return n.client.Delete(ctx, pod, client.DeleteOptions{UID: pod.UID, GracePeriodSeconds: ptr.To[int64](0)})
	}
	pod = pod.DeepCopy()
	switch {
	case f.of == running && f.fails:
		pod.Status.Phase = corev1.PodFailed
	case f.of == running:
		pod.Status.Phase = corev1.PodSucceeded
	default:
		pod.Status.Phase = corev1.PodRunning
		if pod.Status.StartTime == nil {
			pod.Status.StartTime = ptr.To(metav1.Now())
		}
		pod.Status.PodIP = n.address()
		pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}}
	}
	setReady(pod, pod.Status.Phase == corev1.PodRunning)
	return n.client.UpdateStatus(ctx, pod)
}

func (n *nodes) address() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return netip.AddrFrom4([4]byte{10, byte(n.rng.IntN(256)), byte(n.rng.IntN(256)), byte(1 + n.rng.IntN(254))}).String()
}

func setReady(pod *corev1.Pod, ready bool) {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	pod.Status.Conditions = slices.DeleteFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady })
	pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
		Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.Now(),
	})
}

func isReady(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodRunning && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func isFinished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// isActive says whether a pod runs, or is going to.
func isActive(pod *corev1.Pod) bool { return !isFinished(pod) && pod.DeletionTimestamp == nil }
