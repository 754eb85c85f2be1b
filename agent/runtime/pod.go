package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"navarch.dev/navarch/agent/shim"
)

// Names in a pod's folder; see the package comment.
const (
	sandboxFile  = "sandbox.json"
	resolvFile   = "resolv.conf"
	hostnameFile = "hostname"
	shmDir       = "shm"
)

// pod is a sandbox that is made.
type pod struct {
	dir      string
	files    string // the folder of what containers may write
	spec     SandboxSpec
	identity shim.Identity
	created  time.Time
	client   *shim.Client

	mu sync.Mutex // guards what is below, and spec.Resources
	// cancel ends the subscription to the shim.
	cancel context.CancelFunc
	// stopping: the shim has been asked to end, so its end is no accident.
	stopping bool
	// stopped: ended on request, or found dead.
	stopped bool
	message string
}

// savedSandbox is the content of sandboxFile. It is written last, so that a
// folder without it was half made.
type savedSandbox struct {
	Spec    SandboxSpec `json:"spec"`
	Created time.Time   `json:"created"`
}

func loadPod(dir, files string) (*pod, error) {
	p := &pod{dir: dir, files: files, client: shim.Connect(dir)}
	var saved savedSandbox
	if err := shim.ReadFile(filepath.Join(dir, sandboxFile), &saved); err != nil {
		return nil, err
	}
	p.spec, p.created = saved.Spec, saved.Created
	return p, shim.ReadFile(filepath.Join(dir, shim.PidFile), &p.identity)
}

func (p *pod) hostname() string {
	if p.spec.HostNetwork {
		name, _ := os.Hostname()
		return name
	}
	return p.spec.Hostname
}

func (p *pod) bundle(id string) string { return filepath.Join(p.dir, shim.ContainersDir, id) }

// terminationLog is the file that a container may leave its last words in.
func (p *pod) terminationLog(id string) string { return filepath.Join(p.files, id) }

func (p *pod) containerDirs() []string {
	entries, err := os.ReadDir(filepath.Join(p.dir, shim.ContainersDir))
	if err != nil {
		return nil
	}
	var ids []string
	for _, entry := range entries {
		ids = append(ids, entry.Name())
	}
	return ids
}

func (p *pod) unsubscribe() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancel != nil {
		p.cancel()
	}
}

// isStopped tells whether the sandbox has ended, and why.
func (p *pod) isStopped() (bool, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped, p.message
}

// markStopping notes that the shim ends because it is asked to.
func (p *pod) markStopping() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopping = true
}

// markDied returns false if the pod was stopped before, or is being stopped.
func (p *pod) markDied(message string) bool {
	p.mu.Lock()
	stopping := p.stopping
	p.mu.Unlock()
	return !stopping && p.markStopped(message)
}

// markStopped returns false if the pod was stopped before.
func (p *pod) markStopped(message string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return false
	}
	p.stopped, p.message = true, message
	return true
}

// answered asks the pod's shim something that must not wait for ever, since a pod
// is to end. A shim that hangs is ended: its containers are killed then, and told
// as lost.
func (r *Runc) answered(ctx context.Context, p *pod, ask func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, r.cfg.AnswerTime)
	defer cancel()
	err := ask(limited)
	if err == nil || ctx.Err() != nil || limited.Err() == nil {
		return err
	}
	r.log.WarnContext(ctx, "a shim does not answer and is ended", "pod", p.spec.UID, "pid", p.identity.Shim.Pid)
	return errors.Join(err, p.identity.Shim.Kill())
}

// followRecovered follows a pod that an earlier agent left. What a shim that hangs
// would tell is told when it answers; others must not wait for it.
func (r *Runc) followRecovered(ctx context.Context, p *pod) error {
	limited, cancel := context.WithTimeout(ctx, r.cfg.AnswerTime/10)
	defer cancel()
	err := r.follow(limited, p)
	if err != nil && ctx.Err() == nil {
		r.log.WarnContext(ctx, "a shim does not answer yet", "pod", p.spec.UID, "pid", p.identity.Shim.Pid)
		return nil
	}
	return err
}

// follow subscribes to the pod's shim and returns when the state of all its
// containers is current. The subscription outlives ctx.
func (r *Runc) follow(ctx context.Context, p *pod) error {
	subscription, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.mu.Lock()
	p.cancel = cancel
	p.mu.Unlock()
	current := make(chan struct{})
	go r.subscribe(subscription, p, sync.OnceFunc(func() { close(current) }))
	select {
	case <-current:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// subscribe takes the shim's events until ctx ends or the shim is dead.
func (r *Runc) subscribe(ctx context.Context, p *pod, current func()) {
	defer current()
	for ctx.Err() == nil {
		err := p.client.Subscribe(ctx, func() {
			r.refreshAll(p)
			current()
		}, func(event shim.Event) { r.onShimEvent(p, event) })
		if ctx.Err() != nil {
			return
		}
		if !p.identity.Shim.Alive() {
			r.buryShim(ctx, p)
			return
		}
		r.log.WarnContext(ctx, "lost the connection to a shim", "pod", p.spec.UID, "error", err)
		if !r.waitForShim(ctx, p) {
			r.buryShim(ctx, p)
			return
		}
	}
}

// reconnectDelay keeps a shim that refuses connections from being asked hotly.
const reconnectDelay = time.Second

// waitForShim waits a moment, and tells whether the shim still lives.
func (r *Runc) waitForShim(ctx context.Context, p *pod) bool {
	select {
	case <-ctx.Done():
		return true
	case <-time.After(reconnectDelay):
		return p.identity.Shim.Alive()
	}
}

func (r *Runc) onShimEvent(p *pod, event shim.Event) {
	if event.Container == "" {
		r.notify(Event{PodUID: p.spec.UID})
		return
	}
	if c, err := r.container(event.Container); err == nil && c.refresh() {
		r.notify(Event{PodUID: p.spec.UID, ContainerID: event.Container})
	}
}

// refreshAll reads the state of all containers, after events may have been missed.
func (r *Runc) refreshAll(p *pod) {
	for _, c := range r.containersOf(p.spec.UID) {
		if c.refresh() {
			r.notify(Event{PodUID: p.spec.UID, ContainerID: c.spec.ID})
		}
	}
}

// buryShim settles a pod whose shim died by itself: nobody holds the containers'
// streams any more, nor would learn their exit codes, so they are killed.
func (r *Runc) buryShim(ctx context.Context, p *pod) {
	if !p.markDied("the pod's shim died") {
		return
	}
	r.log.ErrorContext(ctx, "a shim died", "pod", p.spec.UID, "pid", p.identity.Shim.Pid)
	if err := r.killOrphans(p); err != nil {
		r.log.ErrorContext(ctx, "killing what a dead shim left failed", "pod", p.spec.UID, "error", err)
	}
	r.notify(Event{PodUID: p.spec.UID})
}

// killOrphans ends what a dead shim left, and records its containers as lost.
func (r *Runc) killOrphans(p *pod) error {
	errs := []error{p.identity.Pause.Kill()}
	for _, c := range r.containersOf(p.spec.UID) {
		lost, err := c.lose(r.cgroups.memoryDir(r.containerCgroup(p.spec.UID, c.spec.ID)))
		errs = append(errs, err)
		if lost {
			r.notify(Event{PodUID: p.spec.UID, ContainerID: c.spec.ID})
		}
	}
	return errors.Join(errs...)
}

// shimError explains a failed call to the shim.
func (p *pod) shimError(err error) error {
	// badCommand begins what runc, which has nothing but words for it, says of a
	// program that cannot be executed.
	const badCommand = "error during container init: exec: "
	switch {
	case err == nil:
		return nil
	case shim.IsCode(err, shim.CodeNotFound):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case shim.IsCode(err, shim.CodeExists):
		return fmt.Errorf("%w: %w", ErrExists, err)
	case shim.IsCode(err, shim.CodeNotRunning):
		return fmt.Errorf("%w: %w", ErrNotRunning, err)
	case shim.IsCode(err, shim.CodeFenced):
		return fmt.Errorf("%w: %w", ErrFenced, err)
	}
	var refusal *shim.Error
	if errors.As(err, &refusal) && strings.Contains(refusal.Error(), badCommand) {
		return fmt.Errorf("%w: %w", ErrCommand, err)
	}
	if !errors.As(err, &refusal) && !p.identity.Shim.Alive() {
		return fmt.Errorf("%w: %w", ErrShimDied, err)
	}
	return err
}
