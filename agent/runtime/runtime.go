// Package runtime runs pods' sandboxes and containers with runc. No daemon
// stands between the agent and runc: each pod has one small shim process (see
// agent/shim) that owns its containers, so that an agent may die at any time
// and find everything again.
//
// # State on disk
//
//	<StateDir>/
//	  runc/                          runc's own state (--root)
//	  pods/<pod UID>/
//	    sandbox.json                 the SandboxSpec the sandbox was made from
//	    shim.json                    what the shim was told
//	    shim.sock shim.pid shim.log  the running shim
//	    netns                        the pod's network namespace, if the caller put it here (NetNSPath)
//	    shm/                         the tmpfs that the containers share as /dev/shm
//	    containers/<container ID>/   an OCI bundle
//	      container.json             the ContainerSpec, as given
//	      config.json                the OCI spec made from it
//	      state.json                 what the shim knows: pid, times, exit code
//	      rootfs/                    the default place for the image's mount
//	      runc.log                   runc's own messages
//	<FilesDir>/<pod UID>/            what is mounted into containers and writable there
//	    resolv.conf hostname         the pod's
//	    <container ID>               mounted at TerminationMessagePath
//
// StateDir describes processes and need not outlive them: it may be in memory.
// Every file is written to a temporary name and renamed. Cgroups are at
// <CgroupParent>/pod<UID>/<container ID>, in cgroup v1 and v2 alike.
package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Sentinel errors. Compare with errors.Is.
var (
	// ErrNotFound: there is no such sandbox or container.
	ErrNotFound = errors.New("not found")
	// ErrExists: a sandbox or container of that ID exists already.
	ErrExists = errors.New("already exists")
	// ErrNotRunning: the container is not in a state that allows the call.
	ErrNotRunning = errors.New("not running")
	// ErrInvalid: the specification cannot be run; the pod's author has to
	// change it (an unknown user, a missing command). The text says what is wrong.
	ErrInvalid = errors.New("invalid specification")
	// ErrRoot: the container would run as root, which its specification forbids.
	ErrRoot = fmt.Errorf("%w: container has runAsNonRoot and image will run as root", ErrInvalid)
	// ErrCommand: the image has no such program, or it cannot be executed.
	ErrCommand = errors.New("the command cannot be run")
	// ErrShimDied: the pod's shim was killed. Its containers are dead, the
	// sandbox has to be removed and made anew.
	ErrShimDied = errors.New("the pod's shim died")
	// ErrFenced: the node has not heard of the Store for too long; nothing can be
	// started in the pod until it has.
	ErrFenced = errors.New("the pod is fenced")
)

// Runtime runs sandboxes and containers. *Runc implements it.
//
// A sandbox is what the containers of one pod share: a shim process, a pause
// process that holds the IPC and UTS namespaces (and the PID namespace if the
// pod shares it), a network namespace made by the caller, and a pod-level
// cgroup. A container is an OCI bundle run by runc in those namespaces.
//
// A pod's life, with the steps on one line free to run in parallel:
//
//	NewNetNS(path)
//	CreateSandbox | CNI ADD on path | image pull, volumes
//	image.Store.Mount → CreateContainer → StartContainer      for each container
//	WaitExit, or Config.OnEvent and ContainerStatus
//	SignalContainer(SIGTERM) … SignalContainer(SIGKILL) → RemoveContainer → image.Store.Unmount
//	StopSandbox → CNI DEL → DeleteNetNS(path) → RemoveSandbox
//
// All methods are safe for concurrent use. Ending what is gone already succeeds.
// Methods on a missing sandbox or container return an error that wraps
// ErrNotFound, except those that stop or remove.
type Runtime interface {
	// Recover finds the sandboxes and containers that an earlier agent left,
	// reconnects to their shims and reports those whose shim died as exited. Call
	// it once, before anything else.
	Recover(ctx context.Context) error

	// CreateSandbox makes the cgroup, the shim and the pause process. If it fails
	// nothing of the sandbox is left.
	CreateSandbox(ctx context.Context, spec SandboxSpec) error
	// StopSandbox kills what still runs in the pod, the pause process and the
	// shim. The state of its containers can still be read.
	StopSandbox(ctx context.Context, podUID string) error
	// RemoveSandbox stops the sandbox and removes its containers, cgroup and state
	// folder. The network namespace and image mounts are the caller's to remove,
	// before.
	RemoveSandbox(ctx context.Context, podUID string) error
	// SandboxStatus tells whether the sandbox is ready.
	SandboxStatus(ctx context.Context, podUID string) (SandboxStatus, error)
	// ListSandboxes returns all sandboxes, ordered by pod UID.
	ListSandboxes(ctx context.Context) ([]SandboxStatus, error)
	// FenceSandbox puts the pod under the node's fence, as SandboxSpec.Fence does.
	FenceSandbox(ctx context.Context, podUID string, fence *Fence) error
	// UpdateSandboxResources changes the pod-level cgroup's limits; a zero field
	// leaves the limit as it is. SandboxStatus shows them from then on, also after
	// a Recover.
	UpdateSandboxResources(ctx context.Context, podUID string, resources Resources) error

	// CreateContainer prepares a container up to, but not including, its first
	// instruction. If it fails nothing of the container is left.
	CreateContainer(ctx context.Context, podUID string, spec ContainerSpec) error
	// StartContainer starts a created container.
	StartContainer(ctx context.Context, containerID string) error
	// SignalContainer sends a signal to the container's main process. SIGKILL ends
	// all its processes. A container that has ended is no error.
	SignalContainer(ctx context.Context, containerID string, signal Signal) error
	// WaitExit blocks until the container has ended, or ctx does. It is driven by
	// events, nothing is polled.
	WaitExit(ctx context.Context, containerID string) (ContainerStatus, error)
	// RemoveContainer kills the container if it still runs, and removes its
	// cgroup, bundle and state. Log files stay: they are the caller's.
	RemoveContainer(ctx context.Context, containerID string) error
	// ContainerStatus returns what is known of a container.
	ContainerStatus(ctx context.Context, containerID string) (ContainerStatus, error)
	// ListContainers returns the containers of one pod, or of all for "",
	// ordered by creation.
	ListContainers(ctx context.Context, podUID string) ([]ContainerStatus, error)
	// UpdateContainerResources changes a running container's limits in place; a
	// zero field leaves the limit as it is. Annotations are added to those that
	// are kept for the caller. ContainerStatus shows both from then on, also
	// after a Recover.
	UpdateContainerResources(ctx context.Context, containerID string, resources Resources, annotations map[string]string) error
	// AnnotateContainer adds annotations to those that are kept for the caller,
	// whether the container runs or has ended.
	AnnotateContainer(ctx context.Context, containerID string, annotations map[string]string) error

	// Exec runs a command in a running container and returns its exit code. When
	// ctx ends the command is killed. An error means that it could not be run.
	Exec(ctx context.Context, containerID string, opts ExecOptions) (exitCode int, err error)
	// Attach joins the streams of the container's main process, until it ends or
	// ctx does. Output from before is in the log, not here.
	Attach(ctx context.Context, containerID string, opts AttachOptions) error

	// SandboxUsage reads the pod-level cgroup.
	SandboxUsage(ctx context.Context, podUID string) (Usage, error)
	// ContainerUsage reads a container's cgroup.
	ContainerUsage(ctx context.Context, containerID string) (Usage, error)
	// NodeUsage reads the cgroup above all pods of this node.
	NodeUsage(ctx context.Context) (Usage, error)
}

// TerminalSize is a terminal's size in characters.
type TerminalSize struct {
	Width  uint16 `json:"width"`
	Height uint16 `json:"height"`
}

// ExecOptions says what Exec runs.
type ExecOptions struct {
	// Command is the argument vector. It is not run in a shell.
	Command []string
	// TTY gives the command a terminal. Its output then all goes to Stdout.
	TTY bool
	// Stdin is copied to the command until it ends; nil is an empty input.
	Stdin io.Reader
	// Stdout and Stderr take the output; nil discards it.
	Stdout, Stderr io.Writer
	// Resize changes the terminal's size, as often as a value is received.
	Resize <-chan TerminalSize
}

// AttachOptions says which streams Attach joins; fields are as in ExecOptions.
type AttachOptions struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Resize         <-chan TerminalSize
}
