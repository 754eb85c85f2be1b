package podworker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/agent/diskusage"
	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/agent/network"
	"navarch.dev/navarch/agent/objects"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/userns"
	"navarch.dev/navarch/agent/volume"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/store/storetest"
)

// fakeRuntime runs containers that do nothing until the test ends them.
type fakeRuntime struct {
	runtime.Runtime // what is not faked must not be called

	mu         sync.Mutex
	onEvent    func(runtime.Event)
	sandboxes  map[string]runtime.SandboxStatus
	containers map[string]*fakeContainer
	// ignoreTerm names containers that only SIGKILL ends.
	ignoreTerm map[string]bool
	onSignal   func(id string) // before a container is signalled
	// fences are what sandboxes have been put under.
	fences map[string]*runtime.Fence
	// shut holds back FenceSandbox until it is closed; nil does not.
	shut chan struct{}
	// exec is what Exec answers.
	exec func(container string, command []string) (int, error)
	// updates are the changes of limits, in their order; stuck refuses those of
	// containers.
	updates []update
	stuck   bool
}

type fakeContainer struct {
	status runtime.ContainerStatus
	done   chan struct{}
}

func newFakeRuntime() *fakeRuntime {
	return &fakeRuntime{
		sandboxes: make(map[string]runtime.SandboxStatus), containers: make(map[string]*fakeContainer),
		ignoreTerm: make(map[string]bool), fences: make(map[string]*runtime.Fence),
	}
}

// boot ends everything without a trace.
func (f *fakeRuntime) boot() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.sandboxes)
	clear(f.containers)
}

func (f *fakeRuntime) Recover(context.Context) error { return nil }

func (f *fakeRuntime) CreateSandbox(_ context.Context, spec runtime.SandboxSpec) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sandboxes[spec.UID] = runtime.SandboxStatus{Spec: spec, Ready: true, PausePid: 1}
	f.fences[spec.UID] = spec.Fence
	return nil
}

func (f *fakeRuntime) FenceSandbox(_ context.Context, uid string, fence *runtime.Fence) error {
	f.mu.Lock()
	shut := f.shut
	f.mu.Unlock()
	if shut != nil {
		<-shut
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.sandboxes[uid]; !ok {
		return runtime.ErrNotFound
	}
	f.fences[uid] = fence
	return nil
}

// fenceOf returns the fence that a pod's sandbox is under.
func (f *fakeRuntime) fenceOf(pod *corev1.Pod) *runtime.Fence {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fences[string(pod.UID)]
}

func (f *fakeRuntime) StopSandbox(_ context.Context, uid string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s, ok := f.sandboxes[uid]; ok {
		s.Ready, s.PausePid = false, 0
		f.sandboxes[uid] = s
	}
	return nil
}

func (f *fakeRuntime) RemoveSandbox(_ context.Context, uid string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sandboxes, uid)
	delete(f.fences, uid)
	for id, c := range f.containers {
		if c.status.PodUID == uid {
			delete(f.containers, id)
		}
	}
	return nil
}

func (f *fakeRuntime) SandboxStatus(_ context.Context, uid string) (runtime.SandboxStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.sandboxes[uid]
	if !ok {
		return s, runtime.ErrNotFound
	}
	return s, nil
}

func (f *fakeRuntime) ListSandboxes(context.Context) ([]runtime.SandboxStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []runtime.SandboxStatus
	for _, s := range f.sandboxes {
		all = append(all, s)
	}
	return all, nil
}

func (f *fakeRuntime) CreateContainer(_ context.Context, uid string, spec runtime.ContainerSpec) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.containers[spec.ID] = &fakeContainer{done: make(chan struct{}), status: runtime.ContainerStatus{
		PodUID: uid, Spec: spec, State: runtime.StateCreated, CreatedAt: time.Now(),
	}}
	return nil
}

func (f *fakeRuntime) StartContainer(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.containers[id]
	c.status.State, c.status.StartedAt = runtime.StateRunning, time.Now()
	return nil
}

func (f *fakeRuntime) SignalContainer(_ context.Context, id string, sig runtime.Signal) error {
	f.mu.Lock()
	c, ok := f.containers[id]
	ignored := ok && sig != syscall.SIGKILL && f.ignoreTerm[c.status.Spec.Name]
	onSignal := f.onSignal
	f.mu.Unlock()
	if onSignal != nil {
		onSignal(id)
	}
	if !ok {
		return runtime.ErrNotFound
	}
	if !ignored {
		f.end(id, 128+int(sig))
	}
	return nil
}

// podOf returns the name of a container's pod.
func (f *fakeRuntime) podOf(id string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.containers[id]
	if !ok {
		return ""
	}
	return f.sandboxes[c.status.PodUID].Spec.Name
}

// end ends a container with an exit code.
func (f *fakeRuntime) end(id string, code int) {
	f.mu.Lock()
	c, ok := f.containers[id]
	if !ok || c.status.State == runtime.StateExited {
		f.mu.Unlock()
		return
	}
	c.status.State, c.status.ExitCode, c.status.FinishedAt = runtime.StateExited, code, time.Now()
	c.status.Reason = runtime.ReasonCompleted
	if code != 0 {
		c.status.Reason = runtime.ReasonError
	}
	close(c.done)
	e, tell := runtime.Event{PodUID: c.status.PodUID, ContainerID: id}, f.onEvent
	f.mu.Unlock()
	tell(e)
}

func (f *fakeRuntime) WaitExit(ctx context.Context, id string) (runtime.ContainerStatus, error) {
	f.mu.Lock()
	c, ok := f.containers[id]
	f.mu.Unlock()
	if !ok {
		return runtime.ContainerStatus{}, runtime.ErrNotFound
	}
	select {
	case <-c.done:
		return f.ContainerStatus(ctx, id)
	case <-ctx.Done():
		return runtime.ContainerStatus{}, ctx.Err()
	}
}

func (f *fakeRuntime) RemoveContainer(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.containers, id)
	return nil
}

func (f *fakeRuntime) ContainerStatus(_ context.Context, id string) (runtime.ContainerStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.containers[id]
	if !ok {
		return runtime.ContainerStatus{}, runtime.ErrNotFound
	}
	return c.status, nil
}

func (f *fakeRuntime) ListContainers(_ context.Context, uid string) ([]runtime.ContainerStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []runtime.ContainerStatus
	for _, c := range f.containers {
		if uid == "" || c.status.PodUID == uid {
			all = append(all, c.status)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].CreatedAt.Before(all[j].CreatedAt) })
	return all, nil
}

func (f *fakeRuntime) Exec(_ context.Context, id string, opts runtime.ExecOptions) (int, error) {
	f.mu.Lock()
	exec := f.exec
	name := f.containers[id].status.Spec.Name
	f.mu.Unlock()
	if exec == nil {
		return 0, nil
	}
	return exec(name, opts.Command)
}

func (f *fakeRuntime) UpdateSandboxResources(_ context.Context, uid string, r runtime.Resources) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.sandboxes[uid]
	if !ok {
		return runtime.ErrNotFound
	}
	s.Spec.Resources = r
	f.sandboxes[uid] = s
	f.updates = append(f.updates, update{"pod", r})
	return nil
}

func (f *fakeRuntime) UpdateContainerResources(_ context.Context, id string, r runtime.Resources, annotations map[string]string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.containers[id]
	switch {
	case !ok:
		return runtime.ErrNotFound
	case f.stuck:
		return errors.New("the cgroup is stuck")
	}
	c.status.Spec.Resources = r
	c.status.Spec.Annotations = maps.Clone(c.status.Spec.Annotations)
	maps.Copy(c.status.Spec.Annotations, annotations)
	f.updates = append(f.updates, update{c.status.Spec.Name, r})
	return nil
}

// changes returns how limits were changed, in their order.
func (f *fakeRuntime) changes() []update {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.updates)
}

// forgetResources makes containers have no known limits.
func (f *fakeRuntime) forgetResources() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.containers {
		c.status.Spec.Resources = runtime.Resources{}
	}
}

func (f *fakeRuntime) setStuck(stuck bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stuck = stuck
}

func (f *fakeRuntime) SandboxUsage(context.Context, string) (runtime.Usage, error) {
	return runtime.Usage{MemoryBytes: usedMemory, MemoryWorkingSetBytes: usedMemory, Pids: usedPids}, nil
}

func (f *fakeRuntime) ContainerUsage(context.Context, string) (runtime.Usage, error) {
	return runtime.Usage{MemoryBytes: usedMemory, MemoryWorkingSetBytes: usedMemory, Pids: usedPids}, nil
}

// usedMemory and usedPids are what every container and every pod is said to use.
const (
	usedMemory = 8 << 20
	usedPids   = 3
)

// update is a change of a container's limits, or of the pod's.
type update struct {
	of   string
	size runtime.Resources
}

// running returns the ID of the running container of a name, "" if none runs.
func (f *fakeRuntime) running(name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, c := range f.containers {
		if c.status.Spec.Name == name && c.status.State == runtime.StateRunning {
			return id
		}
	}
	return ""
}

// fakeImages has every image but "absent".
type fakeImages struct{ image.Images }

// written is what every container is said to have written.
const written = 5 << 20

func (fakeImages) Written(context.Context, string) (diskusage.Usage, error) {
	return diskusage.Usage{Bytes: written, Inodes: 2}, nil
}

func (fakeImages) Get(ref string) (image.Image, error) {
	if ref == "absent" {
		return image.Image{}, image.ErrNotFound
	}
	return image.Image{ID: "sha256:" + ref}, nil
}

func (fakeImages) Pull(_ context.Context, ref string, _ authn.Keychain) (image.Image, error) {
	return image.Image{}, fmt.Errorf("pull %s: %w", ref, image.ErrRegistryNotFound)
}

func (fakeImages) Mount(_ context.Context, _, id string, _ *userns.Range) (image.RootFS, error) {
	return image.RootFS{Path: "/rootfs/" + id}, nil
}
func (fakeImages) Unmount(context.Context, string) error { return nil }
func (fakeImages) Mounts() ([]string, error)             { return nil, nil }

// fakeNetwork gives every pod an address.
type fakeNetwork struct {
	mu    sync.Mutex
	ready chan struct{}
	pods  map[string]network.Attachment
	// making and detaching, if not nil, are called before a namespace is made, and
	// a pod is detached.
	making, detaching func()
}

func newFakeNetwork() *fakeNetwork {
	f := &fakeNetwork{ready: make(chan struct{}), pods: make(map[string]network.Attachment)}
	close(f.ready)
	return f
}

func (f *fakeNetwork) Ready() <-chan struct{} { return f.ready }
func (f *fakeNetwork) MakeNamespace(uid string) (string, error) {
	if f.making != nil {
		f.making()
	}
	return "/netns/" + uid, nil
}
func (f *fakeNetwork) AdoptNamespace(uid string, pid int) (string, error) {
	if pid == 0 {
		return "", errors.New("there is no such process")
	}
	return "/netns/" + uid, nil
}
func (f *fakeNetwork) Attach(_ context.Context, pod network.PodRef, ports []network.HostPort) (network.Attachment, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := network.Attachment{NetNS: "/netns/" + pod.UID, IPs: []netip.Addr{netip.MustParseAddr("10.244.0.5")}, HostPorts: ports}
	f.pods[pod.UID] = a
	return a, nil
}

func (f *fakeNetwork) Detach(_ context.Context, pod network.PodRef) error {
	if f.detaching != nil {
		f.detaching()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pods, pod.UID)
	return nil
}

func (f *fakeNetwork) Attachment(uid string) (network.Attachment, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, ok := f.pods[uid]
	return a, ok, nil
}
func (f *fakeNetwork) CollectGarbage(context.Context, func(string) bool) error { return nil }

// fakeEvents keeps the reasons of events, and the last message of each.
type fakeEvents struct {
	mu       sync.Mutex
	reasons  map[string]int
	messages map[string]string
	changed  chan<- struct{} // nil tells nobody
}

func (f *fakeEvents) EventAt(_ kinds.Object, _, _, reason, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reasons[reason]++
	f.messages[reason] = message
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func (f *fakeEvents) last(reason string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.messages[reason]
}

func (f *fakeEvents) has(reason string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reasons[reason] > 0
}

// bench is a Manager with fakes below it and a Store above it.
type bench struct {
	t       *testing.T
	store   *storetest.Store
	client  *client.Client
	runtime *fakeRuntime
	network *fakeNetwork
	images  image.Images
	events  *fakeEvents
	dir     string
	watch   *client.Informer[*corev1.Pod]
	changed chan struct{}
	manager *Manager
	promise time.Duration // of the manager to be made; then fence is its fence
	fence   *fakeFence
	fenced  atomic.Int32        // how often OnFenced was told
	users   func() *userns.Pool // of the manager to be made; nil is none
	stop    func()
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
		Fence: b.fence, Now: b.fence.now, OnFenced: func() { b.fenced.Add(1) },
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
