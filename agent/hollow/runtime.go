package hollow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/runtime"
)

// hollowRuntime implements runtime.Runtime without processes: sandboxes and
// containers are entries of maps, and timers end them.
type hollowRuntime struct {
	cfg    *Config
	chance chance
	counts *counts
	// pod finds a pod of the node.
	pod func(namespace, name string) (*corev1.Pod, bool)
	// onEvent is told of containers that end by themselves.
	onEvent func(runtime.Event)
	// takeOver is what Recover does.
	takeOver func(*hollowRuntime)

	mu         sync.Mutex // guards the maps and all that is in them
	sandboxes  map[string]*sandbox
	containers map[string]*container
	closed     bool
}

// sandbox is what the containers of one pod share.
type sandbox struct {
	uid, namespace, name string
	annotations          map[string]string
	resources            runtime.Resources
	ready                bool
	createdAt            time.Time
	containers           []*container // in the order in which they were created
}

// container is what is kept of one container: there are many.
type container struct {
	sandbox           *sandbox
	id, name, imageID string
	annotations       map[string]string
	resources         runtime.Resources
	attempt           uint32
	state             runtime.State
	createdAt         time.Time
	startedAt         time.Time
	finishedAt        time.Time
	exitCode          int
	reason, message   string
	end               *time.Timer   // ends it by itself; nil if nothing does
	ended             chan struct{} // closed when it has ended
}

func newRuntime(cfg *Config, counts *counts) *hollowRuntime {
	return &hollowRuntime{
		cfg: cfg, chance: chance(cfg.Seed), counts: counts,
		sandboxes: make(map[string]*sandbox), containers: make(map[string]*container),
	}
}

// Recover implements runtime.Runtime: what ran before is what the Store says.
func (r *hollowRuntime) Recover(context.Context) error {
	if r.takeOver != nil {
		r.takeOver(r)
	}
	return nil
}

// Close ends all timers. The containers are left as they are.
func (r *hollowRuntime) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, c := range r.containers {
		if c.state == runtime.StateRunning {
			r.counts.containers.Dec()
		}
		c.stopTimer()
	}
}

// wait waits for about as long as a step takes.
func (r *hollowRuntime) wait(ctx context.Context, mean time.Duration, name ...string) error {
	return sleep(ctx, r.chance.around(mean, r.cfg.LatencySpread, name...))
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// CreateSandbox implements runtime.Runtime.
func (r *hollowRuntime) CreateSandbox(ctx context.Context, spec runtime.SandboxSpec) error {
	if err := r.wait(ctx, r.cfg.SandboxLatency, "sandbox", spec.UID); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.sandboxes[spec.UID]; ok {
		return fmt.Errorf("sandbox %s: %w", spec.UID, runtime.ErrExists)
	}
	r.sandboxes[spec.UID] = &sandbox{
		uid: spec.UID, namespace: spec.Namespace, name: spec.Name, annotations: spec.Annotations, resources: spec.Resources,
		ready: true, createdAt: time.Now(),
	}
	return nil
}

// StopSandbox implements runtime.Runtime.
func (r *hollowRuntime) StopSandbox(_ context.Context, uid string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.sandboxes[uid]; ok {
		r.stop(s)
	}
	return nil
}

func (r *hollowRuntime) stop(s *sandbox) {
	s.ready = false
	for _, c := range s.containers {
		r.finish(c, killed)
	}
}

// RemoveSandbox implements runtime.Runtime.
func (r *hollowRuntime) RemoveSandbox(_ context.Context, uid string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[uid]
	if !ok {
		return nil
	}
	r.stop(s)
	for _, c := range s.containers {
		delete(r.containers, c.id)
	}
	delete(r.sandboxes, uid)
	return nil
}

// SandboxStatus implements runtime.Runtime.
func (r *hollowRuntime) SandboxStatus(_ context.Context, uid string) (runtime.SandboxStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[uid]
	if !ok {
		return runtime.SandboxStatus{}, fmt.Errorf("sandbox %s: %w", uid, runtime.ErrNotFound)
	}
	return s.status(), nil
}

func (s *sandbox) status() runtime.SandboxStatus {
	return runtime.SandboxStatus{
		Spec: runtime.SandboxSpec{
			UID: s.uid, Namespace: s.namespace, Name: s.name, Annotations: s.annotations, Resources: s.resources,
		},
		Ready: s.ready, CreatedAt: s.createdAt,
	}
}

// FenceSandbox implements runtime.Runtime. There are no processes to stop.
func (r *hollowRuntime) FenceSandbox(_ context.Context, uid string, _ *runtime.Fence) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.sandboxes[uid]; !ok {
		return fmt.Errorf("sandbox %s: %w", uid, runtime.ErrNotFound)
	}
	return nil
}

// UpdateSandboxResources implements runtime.Runtime.
func (r *hollowRuntime) UpdateSandboxResources(_ context.Context, uid string, resources runtime.Resources) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.sandboxes[uid]
	if !ok {
		return fmt.Errorf("sandbox %s: %w", uid, runtime.ErrNotFound)
	}
	s.resources = s.resources.Updated(resources)
	return nil
}

// UpdateContainerResources implements runtime.Runtime.
func (r *hollowRuntime) UpdateContainerResources(_ context.Context, id string, resources runtime.Resources, annotations map[string]string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.container(id)
	if err != nil {
		return err
	}
	if c.state != runtime.StateRunning {
		return fmt.Errorf("container %s: %w", id, runtime.ErrNotRunning)
	}
	c.annotate(annotations)
	c.resources = c.resources.Updated(resources)
	return nil
}

// AnnotateContainer implements runtime.Runtime.
func (r *hollowRuntime) AnnotateContainer(_ context.Context, id string, annotations map[string]string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.container(id)
	if err != nil {
		return err
	}
	c.annotate(annotations)
	return nil
}

// annotate adds annotations to a copy: others read the one that is there.
func (c *container) annotate(annotations map[string]string) {
	all := maps.Clone(c.annotations)
	if all == nil {
		all = make(map[string]string, len(annotations))
	}
	maps.Copy(all, annotations)
	c.annotations = all
}

// Exec implements runtime.Runtime: every command of a running container
// succeeds, and so do probes.
func (r *hollowRuntime) Exec(_ context.Context, id string, _ runtime.ExecOptions) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.container(id)
	if err != nil {
		return 0, err
	}
	if c.state != runtime.StateRunning {
		return 0, fmt.Errorf("container %s: %w", id, runtime.ErrNotRunning)
	}
	return 0, nil
}

var errHollow = errors.New("a hollow node's containers have no processes")

// Attach implements runtime.Runtime.
func (*hollowRuntime) Attach(context.Context, string, runtime.AttachOptions) error { return errHollow }

// container finds a container. The caller holds the lock.
func (r *hollowRuntime) container(id string) (*container, error) {
	c, ok := r.containers[id]
	if !ok {
		return nil, fmt.Errorf("container %s: %w", id, runtime.ErrNotFound)
	}
	return c, nil
}

// outcome is how a container ends.
type outcome struct {
	code    int
	reason  string
	message string
}

func exits(code int) outcome {
	if code == 0 {
		return outcome{reason: runtime.ReasonCompleted}
	}
	return outcome{code: code, reason: runtime.ReasonError}
}

// signalled is 128 and a signal's number: the exit code of what it ended.
func signalled(s runtime.Signal) outcome { return exits(128 + int(s)) }

var killed = signalled(syscall.SIGKILL)
