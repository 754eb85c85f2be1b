package podworker

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/agent/apparmor"
	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/agent/metrics"
	"navarch.dev/navarch/agent/objects"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/userns"
	"navarch.dev/navarch/agent/volume"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/store/storetest"
)

// bench is a Manager with fakes below it and a Store above it.
type bench struct {
	appArmor apparmor.Support
	t        *testing.T
	store    *storetest.Store
	client   *client.Client
	runtime  *fakeRuntime
	network  *fakeNetwork
	images   image.Images
	events   *fakeEvents
	dir      string
	watch    *client.Informer[*corev1.Pod]
	changed  chan struct{}
	manager  *Manager
	promise  time.Duration // of the manager to be made; then fence is its fence
	fence    *fakeFence
	fenced   atomic.Int32        // how often OnFenced was told
	users    func() *userns.Pool // of the manager to be made; nil is none
	counts   *metrics.Metrics    // of the manager to be made; nil counts nothing
	stop     func()
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := newStoreBench(t)
	b.start()
	t.Cleanup(func() { b.stop() })
	return b
}

// newStoreBench returns a bench whose Manager is yet to be made.
func newStoreBench(t *testing.T) *bench {
	t.Helper()
	s := storetest.New(t)
	changed := make(chan struct{}, 1)
	b := &bench{
		t: t, store: s, client: s.Client(storetest.Admin()), runtime: newFakeRuntime(), network: newFakeNetwork(), images: fakeImages{},
		events: &fakeEvents{reasons: make(map[string]int), messages: make(map[string]string), changed: changed}, dir: t.TempDir(), changed: changed,
	}
	var err error
	b.fence = &fakeFence{}
	if b.watch, err = NewInformer(b.client, "n1"); err != nil {
		t.Fatal(err)
	}
	notify := func(*corev1.Pod) {
		select {
		case b.changed <- struct{}{}:
		default:
		}
	}
	b.watch.AddHandler(client.Handler[*corev1.Pod]{OnAdd: notify, OnUpdate: func(_, p *corev1.Pod) { notify(p) }, OnDelete: notify})
	ctx, cancel := context.WithCancel(context.Background())
	go b.watch.Run(ctx)
	t.Cleanup(cancel)
	return b
}

// start starts a Manager, as a new agent would.
func (b *bench) start() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b.manager = b.newManager(ctx, b.runtime, b.images, b.network)
	b.runtime.mu.Lock()
	b.runtime.onEvent = b.manager.RuntimeEvent
	b.runtime.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.manager.Run(ctx); err != nil {
			b.t.Errorf("the manager ended: %v", err)
		}
	}()
	b.stop = func() { cancel(); <-done }
}

func (b *bench) newManager(ctx context.Context, rt runtime.Runtime, images image.Images, net Network) *Manager {
	b.t.Helper()
	c := b.store.Client(identity.Node("n1"))
	pods, err := NewInformer(c, "n1")
	if err != nil {
		b.t.Fatal(err)
	}
	services, err := client.NewInformer[*corev1.Service](c, client.InformerOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	go services.Run(ctx)
	tel := telemetry.Discard("agent")
	objs := objects.New(ctx, c)
	var users *userns.Pool
	if b.users != nil {
		users = b.users()
	}
	return New(Config{
		AppArmor: b.appArmor,
		NodeName: "n1", HostIPs: []string{"192.0.2.1"}, PodsDir: filepath.Join(b.dir, "pods"), LogsDir: filepath.Join(b.dir, "logs"),
		ClusterDomain: "cluster.local", DNSServers: []string{"10.96.0.10"}, HostResolvConf: filepath.Join(b.dir, "resolv.conf"),
		Promise: b.promise, StaticPodDir: filepath.Join(b.dir, "static"), MaxPods: 10, ParallelStarts: 4, StoragePeriod: 20 * time.Millisecond, LeaveTime: time.Minute,
		Allocatable: func() corev1.ResourceList {
			return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi")}
		},
	}, Deps{
		Client: c, Pods: pods, Services: services, Runtime: rt, Images: images, Network: net,
		Volumes: volume.New(volume.Config{Dir: filepath.Join(b.dir, "pods")}, c, objs, nil, tel.Log),
		Users:   users, Objects: objs, Events: b.events, Log: tel.Log, Tracer: tel.Tracer(),
		Fence: b.fence, Now: b.fence.now, OnFenced: func() { b.fenced.Add(1) }, Metrics: b.counts,
	})
}

// pod returns a pod on the node with one container, changed by with.
func (b *bench) pod(name string, with func(*corev1.Pod)) *corev1.Pod {
	grace := int64(1)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{
			NodeName: "n1", TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{Name: "main", Image: "app:1"}},
		},
	}
	if with != nil {
		with(pod)
	}
	if err := b.client.Create(b.t.Context(), pod); err != nil {
		b.t.Fatalf("create the pod: %v", err)
	}
	return pod
}

// until waits for a pod to satisfy a condition; nil stands for a pod that is
// gone.
func (b *bench) until(name, what string, cond func(*corev1.Pod) bool) *corev1.Pod {
	b.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		pod, _ := b.watch.Get("default", name)
		if cond(pod) {
			return pod
		}
		select {
		case <-b.changed:
		case <-deadline:
			if pod != nil {
				b.t.Fatalf("pod %s never became %s; it is %+v", name, what, pod.Status)
			}
			b.t.Fatalf("pod %s never became %s; it is gone", name, what)
		}
	}
}

func phaseIs(want corev1.PodPhase) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return p != nil && p.Status.Phase == want }
}

func isReady(p *corev1.Pod) bool {
	if p == nil {
		return false
	}
	c := findCondition(&p.Status, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

func isGone(p *corev1.Pod) bool { return p == nil }

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func eventOf(uid string) runtime.Event { return runtime.Event{PodUID: uid} }
