package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"navarch.dev/navarch/agent/shim"
)

// CreateSandbox implements Runtime.
func (r *Runc) CreateSandbox(ctx context.Context, spec SandboxSpec) (err error) {
	ctx, span := r.tracer.Start(ctx, "sandbox.create", trace.WithAttributes(
		attribute.String("k8s.namespace.name", spec.Namespace), attribute.String("k8s.pod.name", spec.Name),
		attribute.String("k8s.pod.uid", spec.UID)))
	defer func() { endSpan(span, err) }()
	if err := r.reservePod(spec); err != nil {
		return err
	}
	dir := r.podDir(spec.UID)
	p, err := r.makePod(ctx, dir, spec)
	if err != nil {
		err = errors.Join(fmt.Errorf("create sandbox: %w", err), r.discardPod(dir, spec.UID))
	}
	r.mu.Lock()
	if err == nil {
		r.pods[spec.UID] = p
	} else {
		delete(r.pods, spec.UID)
	}
	r.mu.Unlock()
	if err != nil {
		return err
	}
	return r.follow(ctx, p)
}

func endSpan(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

func (r *Runc) reservePod(spec SandboxSpec) error {
	if err := validName(spec.UID); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.pods[spec.UID]; ok {
		return fmt.Errorf("sandbox %s: %w", spec.UID, ErrExists)
	}
	r.pods[spec.UID] = nil
	return nil
}

// makePod makes all of a sandbox; what a failure leaves is the caller's to discard.
func (r *Runc) makePod(ctx context.Context, dir string, spec SandboxSpec) (*pod, error) {
	if err := os.MkdirAll(filepath.Join(dir, shim.ContainersDir), 0o711); err != nil {
		return nil, err
	}
	p := &pod{dir: dir, files: r.filesDir(spec.UID), spec: spec, created: time.Now().UTC(), client: shim.Connect(dir)}
	var parallel errgroup.Group
	parallel.Go(func() error { return r.cgroups.create(r.podCgroup(spec.UID), spec.Resources) })
	parallel.Go(func() error { return p.writeFiles() })
	parallel.Go(func() error { return r.startShim(ctx, p) })
	if err := parallel.Wait(); err != nil {
		return nil, err
	}
	return p, shim.WriteFileAtomic(filepath.Join(dir, sandboxFile), savedSandbox{Spec: spec, Created: p.created})
}

// writeFiles makes what the pod's containers share.
func (p *pod) writeFiles() error {
	if !p.spec.HostIPC {
		shm := filepath.Join(p.dir, shmDir)
		if err := os.Mkdir(shm, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("shm", shm, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777,size=64m"); err != nil {
			return fmt.Errorf("mount shared memory: %w", err)
		}
	}
	if err := os.Mkdir(p.files, 0o711); err != nil {
		return err
	}
	if name := p.hostname(); name != "" {
		if err := writePublic(filepath.Join(p.files, hostnameFile), name+"\n"); err != nil {
			return err
		}
	}
	if text := p.spec.DNS.resolvConf(); text != "" {
		return writePublic(filepath.Join(p.files, resolvFile), text)
	}
	return nil
}

// writePublic writes a file that any user of a container may read, whatever the
// agent's umask.
func writePublic(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Chmod(path, 0o644)
}

// resolvConf is the file's text; empty if there is nothing to say.
func (d DNS) resolvConf() string {
	var text strings.Builder
	if len(d.Searches) > 0 {
		text.WriteString("search " + strings.Join(d.Searches, " ") + "\n")
	}
	for _, server := range d.Servers {
		text.WriteString("nameserver " + server + "\n")
	}
	if len(d.Options) > 0 {
		text.WriteString("options " + strings.Join(d.Options, " ") + "\n")
	}
	return text.String()
}

// startShim starts the shim and waits until it is ready. It has a session of its
// own and is not waited for by its exit: it outlives the agent.
func (r *Runc) startShim(ctx context.Context, p *pod) error {
	config := shim.Config{
		RuncPath: r.cfg.RuncPath, RuncRoot: r.runcRoot(),
		Hostname: p.spec.Hostname, NetNSPath: p.spec.NetNSPath,
		NewUTS: !p.spec.HostNetwork, NewIPC: !p.spec.HostIPC,
		NewPID: p.spec.ShareProcessNamespace && !p.spec.HostPID,
		NewNet: p.spec.ownNetwork(), Users: p.spec.Users,
		Cgroups: r.cgroups.procsFiles(filepath.Join(r.cfg.CgroupParent, shimsCgroup)),
		Fence:   r.fenceOptions(p.spec.Fence),
	}
	if err := shim.WriteFileAtomic(filepath.Join(p.dir, shim.ConfigFile), config); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(p.dir, "shim.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	ready, readyChild, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = ready.Close() }()
	cmd := exec.Command(r.cfg.ShimPath, p.dir)
	cmd.Env = []string{defaultPath, "GOMAXPROCS=1", "GOGC=50"}
	cmd.Stderr, cmd.ExtraFiles = log, []*os.File{readyChild}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = readyChild.Close()
	if err != nil {
		return fmt.Errorf("start shim: %w", err)
	}
	go func() { _ = cmd.Wait() }() // so that it is no zombie if it ends before the agent
	if err := awaitShim(ctx, ready); err != nil {
		_ = cmd.Process.Kill()
		return fmt.Errorf("start shim: %w", err)
	}
	return shim.ReadFile(filepath.Join(p.dir, shim.PidFile), &p.identity)
}

// awaitShim reads "ok", or what went wrong.
func awaitShim(ctx context.Context, ready *os.File) error {
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	answer, err := io.ReadAll(ready)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	case string(answer) == "ok":
		return nil
	case len(answer) == 0:
		return errors.New("it ended at once, see shim.log")
	}
	return errors.New(string(answer))
}

// discardPod removes what a sandbox that could not be made left.
func (r *Runc) discardPod(dir, uid string) error {
	var identity shim.Identity
	if err := shim.ReadFile(filepath.Join(dir, shim.PidFile), &identity); err == nil {
		if err := errors.Join(identity.Shim.Kill(), identity.Shim.Wait(), identity.Pause.Wait()); err != nil {
			return err
		}
	}
	return r.removePodState(dir, uid)
}

func (r *Runc) removePodState(dir, uid string) error {
	if err := unmount(filepath.Join(dir, shmDir)); err != nil {
		return err
	}
	if err := r.cgroups.remove(r.podCgroup(uid)); err != nil {
		return err
	}
	if err := os.RemoveAll(r.filesDir(uid)); err != nil {
		return err
	}
	// The rest goes last: as long as the folder is there, a later try finds it.
	return os.RemoveAll(dir)
}

// StopSandbox implements Runtime.
func (r *Runc) StopSandbox(ctx context.Context, podUID string) (err error) {
	p, err := r.pod(podUID)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	ctx, span := r.tracer.Start(ctx, "sandbox.stop")
	defer func() { endSpan(span, err) }()
	if stopped, _ := p.isStopped(); stopped {
		return nil
	}
	p.markStopping()
	if err := r.answered(ctx, p, p.client.Shutdown); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("stop sandbox %s: %w", podUID, err)
		}
		// A shim that cannot answer is ended; what it leaves is killed.
		if err := p.identity.Shim.Kill(); err != nil {
			return fmt.Errorf("stop sandbox %s: %w", podUID, err)
		}
	}
	if err := errors.Join(p.identity.Shim.Wait(), p.identity.Pause.Wait()); err != nil {
		return fmt.Errorf("stop sandbox %s: %w", podUID, err)
	}
	p.markStopped("stopped")
	p.unsubscribe()
	r.refreshAll(p)
	return r.killOrphans(p)
}

// RemoveSandbox implements Runtime.
func (r *Runc) RemoveSandbox(ctx context.Context, podUID string) error {
	p, err := r.pod(podUID)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err := r.StopSandbox(ctx, podUID); err != nil {
		return err
	}
	for _, c := range r.containersOf(podUID) {
		if err := r.RemoveContainer(ctx, c.spec.ID); err != nil {
			return err
		}
	}
	if err := r.removePodState(p.dir, podUID); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", podUID, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pods, podUID)
	return nil
}

// SandboxStatus implements Runtime.
func (r *Runc) SandboxStatus(_ context.Context, podUID string) (SandboxStatus, error) {
	p, err := r.pod(podUID)
	if err != nil {
		return SandboxStatus{}, err
	}
	return p.status(), nil
}

func (p *pod) status() SandboxStatus {
	p.mu.Lock()
	status := SandboxStatus{Spec: p.spec, CreatedAt: p.created}
	p.mu.Unlock()
	stopped, message := p.isStopped()
	shimAlive, pauseAlive := p.identity.Shim.Alive(), p.identity.Pause.Alive()
	if shimAlive {
		status.ShimPid = p.identity.Shim.Pid
	}
	if pauseAlive {
		status.PausePid = p.identity.Pause.Pid
	}
	switch {
	case stopped:
		status.Message = message
	case !shimAlive:
		status.Message = "the pod's shim died"
	case !pauseAlive:
		status.Message = "the pause process died"
	default:
		status.Ready = true
	}
	return status
}

// ListSandboxes implements Runtime.
func (r *Runc) ListSandboxes(context.Context) ([]SandboxStatus, error) {
	var all []SandboxStatus
	for _, p := range r.allPods() {
		all = append(all, p.status())
	}
	return all, nil
}

// FenceSandbox implements Runtime.
func (r *Runc) FenceSandbox(ctx context.Context, podUID string, fence *Fence) error {
	p, err := r.pod(podUID)
	if err != nil {
		return err
	}
	if stopped, _ := p.isStopped(); stopped {
		return nil // nothing of it runs, or ever will
	}
	if err := p.client.Fence(ctx, r.fenceOptions(fence)); err != nil {
		return fmt.Errorf("fence sandbox %s: %w", podUID, p.shimError(err))
	}
	return nil
}

func (r *Runc) fenceOptions(fence *Fence) *shim.FenceOptions {
	if fence == nil {
		return nil
	}
	return &shim.FenceOptions{Path: r.cfg.FencePath, After: fence.After, Grace: fence.Grace}
}

// UpdateSandboxResources implements Runtime.
func (r *Runc) UpdateSandboxResources(_ context.Context, podUID string, resources Resources) error {
	p, err := r.pod(podUID)
	if err != nil {
		return err
	}
	if err := r.cgroups.limit(r.podCgroup(podUID), resources); err != nil {
		return fmt.Errorf("update sandbox %s: %w", podUID, err)
	}
	if err := p.saveResources(resources); err != nil {
		return fmt.Errorf("update sandbox %s: %w", podUID, err)
	}
	return nil
}

// saveResources remembers what the pod's limits have been changed to.
func (p *pod) saveResources(resources Resources) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	spec := p.spec
	spec.Resources = spec.Resources.Updated(resources)
	if err := shim.WriteFileAtomic(filepath.Join(p.dir, sandboxFile), savedSandbox{Spec: spec, Created: p.created}); err != nil {
		return err
	}
	p.spec.Resources = spec.Resources
	return nil
}
