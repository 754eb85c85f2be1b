package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"navarch.dev/navarch/agent/shim"
)

// Names in a container's bundle; see the package comment.
const (
	containerFile = "container.json"
	specFile      = "config.json"
)

// maxTerminationMessage bounds a termination message, as Kubernetes does.
const maxTerminationMessage = 4096

// killedExitCode is the exit code of a container whose own was lost: SIGKILL's.
const killedExitCode = 128 + 9

// container is a container that is made.
type container struct {
	pod     *pod
	spec    ContainerSpec
	created time.Time
	// exited is closed when state is final.
	exited chan struct{}

	mu    sync.Mutex // guards state, and of spec Resources and Annotations
	state shim.ContainerState
}

func loadContainer(p *pod, id string) (*container, error) {
	c := &container{pod: p, exited: make(chan struct{})}
	if err := shim.ReadFile(filepath.Join(p.bundle(id), containerFile), &c.spec); err != nil {
		return nil, err
	}
	var state shim.ContainerState
	if err := shim.ReadFile(filepath.Join(p.bundle(id), shim.StateFile), &state); err != nil {
		return nil, err
	}
	c.created = state.CreatedAt
	c.set(state)
	return c, nil
}

// set takes a newer state, and tells whether the container has exited with it.
func (c *container) set(state shim.ContainerState) (exited bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Status == shim.StatusExited {
		return false
	}
	c.state = state
	if state.Status != shim.StatusExited {
		return false
	}
	close(c.exited)
	return true
}

// refresh reads the state that the shim wrote.
func (c *container) refresh() (exited bool) {
	var state shim.ContainerState
	if err := shim.ReadFile(filepath.Join(c.pod.bundle(c.spec.ID), shim.StateFile), &state); err != nil {
		return false
	}
	return c.set(state)
}

func (c *container) snapshot() shim.ContainerState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// lose kills a container whose shim is dead and records that its exit code is
// unknown, unless the shim had written it. It tells whether it was lost now.
func (c *container) lose(cgroup string) (bool, error) {
	c.refresh()
	state := c.snapshot()
	if state.Status == shim.StatusExited {
		return false, nil
	}
	err := errors.Join(state.Process.Kill(), killCgroup(cgroup), state.Process.Wait())
	state.Status, state.FinishedAt = shim.StatusExited, time.Now().UTC()
	state.ExitCode, state.Signal = killedExitCode, int(syscall.SIGKILL)
	state.Reason, state.Message = ReasonUnknown, "the pod's shim died, and the exit code with it"
	saveErr := shim.WriteFileAtomic(filepath.Join(c.pod.bundle(c.spec.ID), shim.StateFile), state)
	if errors.Is(saveErr, fs.ErrNotExist) {
		saveErr = nil // the bundle is being removed
	}
	return c.set(state), errors.Join(err, saveErr)
}

// killCgroup kills the processes of a cgroup that need not be there.
func killCgroup(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil //nolint:nilerr // there is no such cgroup
	}
	var errs []error
	for text := range strings.FieldsSeq(string(data)) {
		var pid int
		if _, err := fmt.Sscan(text, &pid); err != nil {
			continue
		}
		if process, err := shim.Identify(pid); err == nil {
			errs = append(errs, process.Kill())
		}
	}
	return errors.Join(errs...)
}

// CreateContainer implements Runtime.
func (r *Runc) CreateContainer(ctx context.Context, podUID string, spec ContainerSpec) (err error) {
	p, err := r.pod(podUID)
	if err != nil {
		return err
	}
	ctx, span := r.tracer.Start(ctx, "container.create", trace.WithAttributes(
		attribute.String("k8s.pod.uid", podUID), attribute.String("k8s.container.name", spec.Name),
		attribute.String("container.id", spec.ID)))
	defer func() { endSpan(span, err) }()
	if err := r.reserveContainer(spec.ID); err != nil {
		return err
	}
	c, err := r.makeContainer(ctx, p, spec)
	if err != nil {
		err = errors.Join(fmt.Errorf("create container %s: %w", spec.Name, err), r.discardContainer(ctx, p, spec.ID))
	}
	r.mu.Lock()
	if err == nil {
		r.containers[spec.ID] = c
	} else {
		delete(r.containers, spec.ID)
	}
	r.mu.Unlock()
	if err != nil {
		return err
	}
	// An event that came before the container was listed found nothing.
	if c.refresh() {
		r.notify(Event{PodUID: podUID, ContainerID: spec.ID})
	}
	return nil
}

func (r *Runc) reserveContainer(id string) error {
	if err := validName(id); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.containers[id]; ok {
		return fmt.Errorf("container %s: %w", id, ErrExists)
	}
	r.containers[id] = nil
	return nil
}

func (r *Runc) makeContainer(ctx context.Context, p *pod, spec ContainerSpec) (*container, error) {
	bundle := p.bundle(spec.ID)
	target, err := r.target(p, spec)
	if err != nil {
		return nil, err
	}
	if err := r.writeBundle(p, bundle, &spec, target.Pid); err != nil {
		return nil, err
	}
	state, err := p.client.Create(ctx, spec.ID, shim.CreateOptions{
		TTY: spec.TTY, Stdin: spec.Stdin, StdinOnce: spec.StdinOnce,
		LogPath: spec.LogPath, LogMaxBytes: r.cfg.LogMaxBytes, LogMaxFiles: r.cfg.LogMaxFiles,
		CgroupDir: r.cgroups.memoryDir(r.containerCgroup(p.spec.UID, spec.ID)),
	})
	if err != nil {
		return nil, p.shimError(err)
	}
	if target.Pid != 0 && !target.Alive() {
		return nil, fmt.Errorf("%w: the target container has ended", ErrNotRunning) // another may have its number now
	}
	c := &container{pod: p, spec: spec, created: state.CreatedAt, exited: make(chan struct{})}
	c.set(state)
	return c, nil
}

// target is the main process of the container whose PID namespace spec joins.
func (r *Runc) target(p *pod, spec ContainerSpec) (shim.ProcessID, error) {
	if spec.TargetID == "" {
		return shim.ProcessID{}, nil
	}
	c, err := r.container(spec.TargetID)
	if err != nil || c.pod != p {
		return shim.ProcessID{}, fmt.Errorf("target container %s: %w", spec.TargetID, ErrNotFound)
	}
	state := c.snapshot()
	if state.Status != shim.StatusRunning {
		return shim.ProcessID{}, fmt.Errorf("target container %s: %w", c.spec.Name, ErrNotRunning)
	}
	return state.Process, nil
}

// writeBundle writes what runc makes a container from, and fills in spec's User.
func (r *Runc) writeBundle(p *pod, bundle string, spec *ContainerSpec, targetPid int) error {
	builder := specBuilder{
		pod: p, spec: *spec, bundle: bundle, targetPid: targetPid, cgroup: r.containerCgroup(p.spec.UID, spec.ID),
		capabilities: r.capabilitiesFor(p), seccompDir: r.cfg.SeccompDir, cdiDirs: r.cfg.CDIDirs,
		appArmorDefault: r.cfg.AppArmorDefault, minOOMScore: r.minOOMScore, cgroups: r.cgroups,
	}
	if err := os.Mkdir(bundle, 0o711); err != nil {
		return err
	}
	if spec.TerminationMessagePath != "" {
		path := p.terminationLog(spec.ID)
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o666); err != nil { // whatever the umask: any user may write it
			return err
		}
	}
	config, err := builder.build()
	if err != nil {
		return err
	}
	user := config.Process.User
	spec.User = &User{UID: user.UID, GID: user.GID, Groups: user.AdditionalGids}
	if err := shim.WriteFileAtomic(filepath.Join(bundle, specFile), config); err != nil {
		return err
	}
	return shim.WriteFileAtomic(filepath.Join(bundle, containerFile), spec)
}

// discardContainer removes all of a container that the caller no longer lists.
func (r *Runc) discardContainer(ctx context.Context, p *pod, id string) error {
	// The call may have failed because ctx ended; what it left has to go still.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return r.removeContainerState(ctx, p, id)
}

// removeContainerState lets the shim kill the container and remove runc's state,
// or if it is dead, does so itself.
func (r *Runc) removeContainerState(ctx context.Context, p *pod, id string) error {
	bundle := p.bundle(id)
	err := p.client.Delete(ctx, id)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		if err := r.runcDelete(ctx, id); err != nil {
			return err
		}
	}
	if err := r.cgroups.remove(r.containerCgroup(p.spec.UID, id)); err != nil {
		return err
	}
	if err := os.Remove(p.terminationLog(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(bundle)
}

// runcDelete removes runc's state of a container. Forced, runc waits for a tenth
// of a second even if nothing is left to be killed, so that is the second try.
func (r *Runc) runcDelete(ctx context.Context, id string) error {
	if exec.CommandContext(ctx, r.cfg.RuncPath, "--root", r.runcRoot(), "delete", id).Run() == nil {
		return nil
	}
	output, err := exec.CommandContext(ctx, r.cfg.RuncPath, "--root", r.runcRoot(), "delete", "--force", id).CombinedOutput()
	if err != nil {
		return fmt.Errorf("runc delete: %w: %s", err, strings.TrimSpace(string(output)))
	}
	return nil
}

// StartContainer implements Runtime.
func (r *Runc) StartContainer(ctx context.Context, containerID string) (err error) {
	c, err := r.container(containerID)
	if err != nil {
		return err
	}
	ctx, span := r.tracer.Start(ctx, "container.start", trace.WithAttributes(
		attribute.String("k8s.pod.uid", c.pod.spec.UID), attribute.String("k8s.container.name", c.spec.Name),
		attribute.String("container.id", containerID)))
	defer func() { endSpan(span, err) }()
	state, err := c.pod.client.Start(ctx, containerID)
	if err != nil {
		return fmt.Errorf("start container %s: %w", c.spec.Name, c.pod.shimError(err))
	}
	if c.set(state) {
		r.notify(Event{PodUID: c.pod.spec.UID, ContainerID: containerID})
	}
	return nil
}

// SignalContainer implements Runtime.
func (r *Runc) SignalContainer(ctx context.Context, containerID string, signal Signal) error {
	c, err := r.container(containerID)
	if err != nil {
		return err
	}
	if c.snapshot().Status == shim.StatusExited {
		return nil
	}
	err = r.answered(ctx, c.pod, func(ctx context.Context) error { return c.pod.client.Kill(ctx, containerID, int(signal)) })
	if err = c.pod.shimError(err); err != nil && !errors.Is(err, ErrShimDied) {
		return fmt.Errorf("signal container %s: %w", c.spec.Name, err)
	}
	return nil
}

// WaitExit implements Runtime.
func (r *Runc) WaitExit(ctx context.Context, containerID string) (ContainerStatus, error) {
	c, err := r.container(containerID)
	if err != nil {
		return ContainerStatus{}, err
	}
	select {
	case <-c.exited:
		return c.status(), nil
	case <-ctx.Done():
		return ContainerStatus{}, ctx.Err()
	}
}

// RemoveContainer implements Runtime.
func (r *Runc) RemoveContainer(ctx context.Context, containerID string) error {
	c, err := r.container(containerID)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err := r.removeContainerState(ctx, c.pod, containerID); err != nil {
		return fmt.Errorf("remove container %s: %w", c.spec.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.containers, containerID)
	return nil
}

// ContainerStatus implements Runtime.
func (r *Runc) ContainerStatus(_ context.Context, containerID string) (ContainerStatus, error) {
	c, err := r.container(containerID)
	if err != nil {
		return ContainerStatus{}, err
	}
	return c.status(), nil
}

// ListContainers implements Runtime.
func (r *Runc) ListContainers(_ context.Context, podUID string) ([]ContainerStatus, error) {
	var all []ContainerStatus
	for _, c := range r.containersOf(podUID) {
		all = append(all, c.status())
	}
	return all, nil
}

func (c *container) status() ContainerStatus {
	c.mu.Lock()
	state, spec := c.state, c.spec
	c.mu.Unlock()
	status := ContainerStatus{
		PodUID: c.pod.spec.UID, Spec: spec, State: State(state.Status),
		CreatedAt: state.CreatedAt, StartedAt: state.StartedAt, FinishedAt: state.FinishedAt,
	}
	if status.State != StateExited {
		status.Pid = state.Process.Pid
		return status
	}
	status.ExitCode, status.Signal, status.OOMKilled = state.ExitCode, state.Signal, state.OOMKilled
	status.Reason, status.Message = exitReason(state), state.Message
	status.TerminationMessage = readTerminationMessage(c.pod.terminationLog(c.spec.ID))
	return status
}

func exitReason(state shim.ContainerState) string {
	switch {
	case state.Reason != "":
		return state.Reason
	case state.OOMKilled:
		return ReasonOOMKilled
	case state.ExitCode == 0:
		return ReasonCompleted
	}
	return ReasonError
}

func readTerminationMessage(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	text, _ := io.ReadAll(io.LimitReader(f, maxTerminationMessage))
	return strings.ToValidUTF8(string(text), "")
}

// Exec implements Runtime.
func (r *Runc) Exec(ctx context.Context, containerID string, opts ExecOptions) (int, error) {
	c, err := r.container(containerID)
	if err != nil {
		return 0, err
	}
	if len(opts.Command) == 0 {
		return 0, fmt.Errorf("exec in container %s: %w: no command", c.spec.Name, ErrInvalid)
	}
	process, err := execProcess(c.pod.bundle(containerID), opts)
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", c.spec.Name, err)
	}
	done := make(chan struct{})
	defer close(done)
	exit, err := c.pod.client.Exec(ctx, containerID,
		shim.ExecOptions{Process: process, TTY: opts.TTY, Stdin: opts.Stdin != nil},
		shim.Streams{Stdin: opts.Stdin, Stdout: opts.Stdout, Stderr: opts.Stderr, Resize: sizes(opts.Resize, done)})
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", c.spec.Name, c.pod.shimError(err))
	}
	return exit.Code, nil
}

// Attach implements Runtime.
func (r *Runc) Attach(ctx context.Context, containerID string, opts AttachOptions) error {
	c, err := r.container(containerID)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	defer close(done)
	_, err = c.pod.client.Attach(ctx, containerID,
		shim.Streams{Stdin: opts.Stdin, Stdout: opts.Stdout, Stderr: opts.Stderr, Resize: sizes(opts.Resize, done)})
	if err != nil {
		return fmt.Errorf("attach to container %s: %w", c.spec.Name, c.pod.shimError(err))
	}
	return nil
}

// sizes hands terminal sizes on in the shim's type, until in or done is closed.
func sizes(in <-chan TerminalSize, done <-chan struct{}) <-chan shim.Size {
	if in == nil {
		return nil
	}
	out := make(chan shim.Size)
	go func() {
		defer close(out)
		for {
			select {
			case <-done:
				return
			case size, ok := <-in:
				if !ok {
					return
				}
				select {
				case out <- shim.Size(size):
				case <-done:
					return
				}
			}
		}
	}()
	return out
}
