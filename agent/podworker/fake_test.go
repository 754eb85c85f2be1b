package podworker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sort"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/diskusage"
	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/agent/network"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/userns"
	"navarch.dev/navarch/internal/kinds"
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
	onSignal   func(id string)                                             // before a container is signalled
	onCreate   func(ctx context.Context, spec runtime.ContainerSpec) error // before a container is made; an error refuses it
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

func (f *fakeRuntime) CreateContainer(ctx context.Context, uid string, spec runtime.ContainerSpec) error {
	f.mu.Lock()
	onCreate := f.onCreate
	f.mu.Unlock()
	if onCreate != nil {
		if err := onCreate(ctx, spec); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if u := spec.Security.RunAsUser; u != nil {
		spec.User = &runtime.User{UID: uint32(*u), GID: 7, Groups: []uint32{7, 8}}
	}
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

func (f *fakeRuntime) AnnotateContainer(_ context.Context, id string, annotations map[string]string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.containers[id]
	if !ok {
		return runtime.ErrNotFound
	}
	c.status.Spec.Annotations = maps.Clone(c.status.Spec.Annotations)
	maps.Copy(c.status.Spec.Annotations, annotations)
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
func (fakeImages) Mounted(string) (string, bool)         { return "", false }
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
