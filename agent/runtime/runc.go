package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/trace"

	"navarch.dev/navarch/internal/telemetry"
)

// Runc is the Runtime that drives runc by way of shims.
type Runc struct {
	cfg          Config
	log          *slog.Logger
	tracer       trace.Tracer
	cgroups      *cgroups
	capabilities []string
	minOOMScore  int
	// kernelCapabilities are all that there are.
	kernelCapabilities []string

	mu sync.Mutex
	// pods by UID; nil while the sandbox is being made.
	pods map[string]*pod
	// containers by ID; nil while the container is being made.
	containers map[string]*container
}

var _ Runtime = (*Runc)(nil)

// New returns a Runtime of what is below cfg.StateDir. Call Recover next.
func New(cfg Config, tel telemetry.Set) (*Runc, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("runtime: %w", err)
	}
	if cfg.FilesDir == "" {
		cfg.FilesDir = filepath.Join(cfg.StateDir, "files")
	}
	for _, dir := range []string{filepath.Join(cfg.StateDir, "pods"), filepath.Join(cfg.StateDir, "runc"), cfg.FilesDir} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, fmt.Errorf("runtime: %w", err)
		}
	}
	hierarchy, err := findCgroups()
	if err != nil {
		return nil, fmt.Errorf("runtime: %w", err)
	}
	capabilities, err := ownCapabilities()
	if err != nil {
		return nil, fmt.Errorf("runtime: %w", err)
	}
	all, err := kernelCapabilities()
	if err != nil {
		return nil, fmt.Errorf("runtime: %w", err)
	}
	r := &Runc{
		cfg: cfg, log: tel.Log, tracer: tel.Tracer(), cgroups: hierarchy, capabilities: capabilities, kernelCapabilities: all,
		pods: map[string]*pod{}, containers: map[string]*container{},
	}
	r.minOOMScore = r.lowestOOMScore()
	shims := filepath.Join(cfg.CgroupParent, shimsCgroup)
	if err := r.cgroups.create(shims, Resources{}); err != nil {
		return nil, fmt.Errorf("runtime: %w", err)
	}
	r.cgroups.lookForSwap(shims)
	return r, nil
}

// Close ends the runtime's goroutines. Pods run on.
func (r *Runc) Close() error {
	for _, p := range r.allPods() {
		p.unsubscribe()
	}
	return nil
}

// Recover implements Runtime.
func (r *Runc) Recover(ctx context.Context) error {
	ctx, span := r.tracer.Start(ctx, "runtime.recover")
	defer span.End()
	entries, err := os.ReadDir(r.podsDir())
	if err != nil {
		return fmt.Errorf("recover sandboxes: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		if err := r.recoverPod(ctx, entry.Name()); err != nil {
			errs = append(errs, fmt.Errorf("recover sandbox %s: %w", entry.Name(), err))
		}
	}
	return errors.Join(append(errs, r.removeStrayFiles())...)
}

// removeStrayFiles removes the files of pods that are not there: StateDir may
// have gone with a boot, while FilesDir stayed.
func (r *Runc) removeStrayFiles() error {
	entries, err := os.ReadDir(r.cfg.FilesDir)
	if err != nil {
		return fmt.Errorf("find the files of pods that are gone: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		if _, err := os.Stat(r.podDir(entry.Name())); errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, os.RemoveAll(r.filesDir(entry.Name())))
		}
	}
	return errors.Join(errs...)
}

// recoverPod loads one sandbox. One that was half made is removed: nobody was
// told of it.
func (r *Runc) recoverPod(ctx context.Context, uid string) error {
	p, err := loadPod(r.podDir(uid), r.filesDir(uid))
	if err != nil {
		r.log.WarnContext(ctx, "removing a half-made sandbox", "pod", uid, "error", err)
		return r.discardPod(r.podDir(uid), uid)
	}
	for _, id := range p.containerDirs() {
		c, err := loadContainer(p, id)
		if err != nil {
			r.log.WarnContext(ctx, "removing a half-made container", "pod", uid, "container", id, "error", err)
			if err := r.discardContainer(ctx, p, id); err != nil {
				return err
			}
			continue
		}
		r.mu.Lock()
		r.containers[id] = c
		r.mu.Unlock()
	}
	r.mu.Lock()
	r.pods[uid] = p
	r.mu.Unlock()
	return r.followRecovered(ctx, p)
}

func (r *Runc) podsDir() string             { return filepath.Join(r.cfg.StateDir, "pods") }
func (r *Runc) podDir(uid string) string    { return filepath.Join(r.podsDir(), uid) }
func (r *Runc) filesDir(uid string) string  { return filepath.Join(r.cfg.FilesDir, uid) }
func (r *Runc) runcRoot() string            { return filepath.Join(r.cfg.StateDir, "runc") }
func (r *Runc) podCgroup(uid string) string { return filepath.Join(r.cfg.CgroupParent, "pod"+uid) }

func (r *Runc) containerCgroup(uid, id string) string { return filepath.Join(r.podCgroup(uid), id) }

// lowestOOMScore finds out how far the agent may lower an OOM score: without
// CAP_SYS_RESOURCE not below its own, and runc fails when told to.
func (r *Runc) lowestOOMScore() int {
	const path, lowest = "/proc/self/oom_score_adj", -1000
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	own, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	if os.WriteFile(path, []byte(strconv.Itoa(lowest)), 0) == nil {
		_ = os.WriteFile(path, data, 0)
		return lowest
	}
	r.log.Warn("OOM scores of containers are limited: no right to lower them", "lowest", own)
	return own
}

// pod finds a sandbox that is made.
func (r *Runc) pod(uid string) (*pod, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.pods[uid]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("sandbox %s: %w", uid, ErrNotFound)
}

// container finds a container that is made.
func (r *Runc) container(id string) (*container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[id]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("container %s: %w", id, ErrNotFound)
}

func (r *Runc) allPods() []*pod {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*pod
	for _, p := range r.pods {
		if p != nil {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *pod) int { return strings.Compare(a.spec.UID, b.spec.UID) })
	return all
}

// containersOf returns a pod's containers, or all for "", by creation.
func (r *Runc) containersOf(uid string) []*container {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*container
	for _, c := range r.containers {
		if c != nil && (uid == "" || c.pod.spec.UID == uid) {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *container) int {
		if order := a.created.Compare(b.created); order != 0 {
			return order
		}
		return strings.Compare(a.spec.ID, b.spec.ID)
	})
	return all
}

func (r *Runc) notify(event Event) {
	if r.cfg.OnEvent != nil {
		r.cfg.OnEvent(event)
	}
}

// SandboxUsage implements Runtime.
func (r *Runc) SandboxUsage(_ context.Context, podUID string) (Usage, error) {
	return r.cgroups.usage(r.podCgroup(podUID))
}

// ContainerUsage implements Runtime.
func (r *Runc) ContainerUsage(_ context.Context, containerID string) (Usage, error) {
	c, err := r.container(containerID)
	if err != nil {
		return Usage{}, err
	}
	return r.cgroups.usage(r.containerCgroup(c.pod.spec.UID, containerID))
}

// NodeUsage implements Runtime.
func (r *Runc) NodeUsage(context.Context) (Usage, error) {
	return r.cgroups.usage(r.cfg.CgroupParent)
}

// validName tells whether a pod's UID or a container's ID is safe as a file name.
func validName(name string) error {
	if name == "" || strings.HasPrefix(name, ".") || !fs.ValidPath(name) || strings.Contains(name, "/") {
		return fmt.Errorf("%w: %q cannot be a name", ErrInvalid, name)
	}
	return nil
}
