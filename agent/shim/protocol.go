// Package shim is the agent's side of the shim, the one small process per pod
// that owns the pod's containers: it is their parent, holds their standard
// streams, writes their logs and keeps their exit codes. It knows nothing of
// Kubernetes. The agent may die and come back; the shim does not notice.
//
// # Protocol, version 1
//
// The shim listens on a unix socket, shim.sock in its folder. A connection
// carries one call: the client sends one request frame, the shim answers with
// one response frame. A frame is
//
//	type    1 byte    one of the Frame constants
//	length  4 bytes   big-endian, at most MaxFrame
//	payload
//
// Requests, responses, sizes, exits and events are JSON. After the response of
// an exec or attach the connection carries stdin, stdin-closed and resize frames
// to the shim, and stdout and stderr frames from it, until the shim sends an
// exit frame. After that of a subscribe it carries event frames until either
// side closes. Closing an exec's connection kills the command.
//
// # Files
//
// The shim's folder is its working directory:
//
//	shim.json                Config, written by the agent before it starts the shim
//	shim.sock                the socket
//	shim.pid                 the shim's and the pause process's identity
//	containers/<id>/         OCI bundles, made by the agent
//	  state.json             ContainerState, written by the shim on every change
//	  runc.log               runc's messages
//
// A container's output is written to its log file in the CRI format, a file that
// reached its limit is renamed to <path>.<UTC time> and a new one begun. A line
// is in the file before the shim takes the next one from the pipe.
//
// # Fencing
//
// A shim that was given a fence (agent/fence) kills its containers when the
// fence closes, and starts none while it is closed: the agent may be dead by
// then, or hang.
package shim

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"navarch.dev/navarch/agent/userns"
)

// Version is the protocol's. A shim answers requests of its own version only; an
// agent that was updated keeps speaking the version of the shims it finds.
const Version = 1

// Names in the shim's folder.
const (
	ConfigFile    = "shim.json"
	SocketFile    = "shim.sock"
	PidFile       = "shim.pid"
	ContainersDir = "containers"
	StateFile     = "state.json"
	RuncLogFile   = "runc.log"
)

// Frame types.
const (
	FrameRequest     byte = 1
	FrameResponse    byte = 2
	FrameStdin       byte = 3
	FrameStdinClosed byte = 4
	FrameResize      byte = 5
	FrameStdout      byte = 6
	FrameStderr      byte = 7
	FrameExit        byte = 8
	FrameEvent       byte = 9
)

// MaxFrame bounds a frame's payload.
const MaxFrame = 1 << 20

// Config is what a shim is started with.
type Config struct {
	// RuncPath and RuncRoot are the program and its state folder.
	RuncPath string `json:"runcPath"`
	RuncRoot string `json:"runcRoot"`
	// Hostname is set in the UTS namespace, if NewUTS.
	Hostname string `json:"hostname"`
	// NetNSPath is the network namespace the pause process joins; empty: none.
	NetNSPath string `json:"netnsPath"`
	// NewUTS, NewIPC, NewPID and NewNet give the pause process a namespace of its
	// own.
	NewUTS bool `json:"newUTS"`
	NewIPC bool `json:"newIPC"`
	NewPID bool `json:"newPID"`
	NewNet bool `json:"newNet,omitempty"`
	// Users gives it a user namespace of its own, too, to which the others belong:
	// the pod's IDs are these. nil: it stays in the shim's.
	Users *userns.Range `json:"users,omitempty"`
	// Cgroups are the cgroup.procs files by which the shim leaves the agent's cgroup.
	Cgroups []string `json:"cgroups,omitempty"`
	// Fence closes over the pod; nil: none does.
	Fence *FenceOptions `json:"fence,omitempty"`
}

// FenceOptions say by which fence a pod is stopped, and when.
type FenceOptions struct {
	// Path is the fence's file.
	Path string `json:"path"`
	// After is how long after the last renewal the containers are dead.
	After time.Duration `json:"after"`
	// Grace is how long before that they are asked to end.
	Grace time.Duration `json:"grace"`
}

// ProcessID names a process beyond the reuse of its number.
type ProcessID struct {
	Pid int `json:"pid"`
	// StartTime is field 22 of /proc/<pid>/stat.
	StartTime uint64 `json:"startTime"`
}

// Identity is the content of PidFile.
type Identity struct {
	Shim  ProcessID `json:"shim"`
	Pause ProcessID `json:"pause"`
}

// Operations.
const (
	OpState     = "state"
	OpCreate    = "create"
	OpStart     = "start"
	OpKill      = "kill"
	OpDelete    = "delete"
	OpExec      = "exec"
	OpAttach    = "attach"
	OpUpdate    = "update"
	OpSubscribe = "subscribe"
	OpShutdown  = "shutdown"
	OpFence     = "fence"
)

// Request is a call.
type Request struct {
	Version int    `json:"version"`
	Op      string `json:"op"`
	// Container is the container's ID, for all that are about one.
	Container string `json:"container,omitempty"`
	// Signal is OpKill's.
	Signal int `json:"signal,omitempty"`
	// Create is OpCreate's.
	Create *CreateOptions `json:"create,omitempty"`
	// Exec is OpExec's.
	Exec *ExecOptions `json:"exec,omitempty"`
	// Resources is OpUpdate's: OCI LinuxResources.
	Resources json.RawMessage `json:"resources,omitempty"`
	// Fence is OpFence's; nil takes the fence away.
	Fence *FenceOptions `json:"fence,omitempty"`
}

// CreateOptions say what the shim does around runc's create.
type CreateOptions struct {
	TTY       bool `json:"tty,omitempty"`
	Stdin     bool `json:"stdin,omitempty"`
	StdinOnce bool `json:"stdinOnce,omitempty"`
	// LogPath is the CRI log; empty discards the output.
	LogPath     string `json:"logPath,omitempty"`
	LogMaxBytes int64  `json:"logMaxBytes,omitempty"`
	LogMaxFiles int    `json:"logMaxFiles,omitempty"`
	// CgroupDir is the container's cgroup (v1: in the memory hierarchy). Its
	// events tell an out-of-memory kill, its processes are ended with the main one.
	CgroupDir string `json:"cgroupDir,omitempty"`
}

// ExecOptions say what OpExec runs.
type ExecOptions struct {
	// Process is the OCI process.
	Process json.RawMessage `json:"process"`
	TTY     bool            `json:"tty,omitempty"`
	Stdin   bool            `json:"stdin,omitempty"`
}

// Codes of a failed Response.
const (
	CodeNotFound   = "not-found"
	CodeExists     = "exists"
	CodeNotRunning = "not-running"
	CodeRunc       = "runc"
	CodeInternal   = "internal"
	// CodeFenced: the fence is closed.
	CodeFenced = "fenced"
)

// Response answers a Request.
type Response struct {
	// Code is empty on success.
	Code  string `json:"code,omitempty"`
	Error string `json:"error,omitempty"`
	// State answers OpState; Container all that change one.
	State     *State          `json:"state,omitempty"`
	Container *ContainerState `json:"container,omitempty"`
}

// State is all that a shim knows.
type State struct {
	Identity Identity `json:"identity"`
	// PauseRunning tells whether the pause process lives.
	PauseRunning bool             `json:"pauseRunning"`
	Containers   []ContainerState `json:"containers"`
}

// ReasonFenced is the reason of a container that was killed by a closed fence.
const ReasonFenced = "NodeFenced"

// Status of a container.
const (
	StatusCreated = "created"
	StatusRunning = "running"
	StatusExited  = "exited"
)

// ContainerState is the content of StateFile.
type ContainerState struct {
	ID         string    `json:"id"`
	Status     string    `json:"status"`
	Process    ProcessID `json:"process"`
	CreatedAt  time.Time `json:"createdAt"`
	StartedAt  time.Time `json:"startedAt,omitzero"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`
	ExitCode   int       `json:"exitCode"`
	Signal     int       `json:"signal,omitempty"`
	OOMKilled  bool      `json:"oomKilled,omitempty"`
	// Reason and Message are set only if the exit was not the process's own doing.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// Size is a terminal's.
type Size struct {
	Width  uint16 `json:"width"`
	Height uint16 `json:"height"`
}

// Exit ends a stream. Error is set if the command could not be run.
type Exit struct {
	Code  int    `json:"code"`
	Error string `json:"error,omitempty"`
}

// Event says that a container exited, or with no Container, the pause process.
type Event struct {
	Container string `json:"container,omitempty"`
}

// WriteFrame writes one frame. It is one Write call, so that callers who share a
// connection need only a lock.
func WriteFrame(w io.Writer, kind byte, payload []byte) error {
	if len(payload) > MaxFrame {
		return fmt.Errorf("frame of %d bytes is too long", len(payload))
	}
	frame := make([]byte, 5+len(payload))
	frame[0] = kind
	binary.BigEndian.PutUint32(frame[1:], uint32(len(payload)))
	copy(frame[5:], payload)
	_, err := w.Write(frame)
	return err
}

// WriteJSON writes value as one frame.
func WriteJSON(w io.Writer, kind byte, value any) error {
	payload, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode frame: %w", err)
	}
	return WriteFrame(w, kind, payload)
}

// ReadFrame reads one frame. The end of the stream between two frames is io.EOF.
func ReadFrame(r io.Reader) (kind byte, payload []byte, err error) {
	var header [5]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(header[1:])
	if size > MaxFrame {
		return 0, nil, fmt.Errorf("frame of %d bytes is too long", size)
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, fmt.Errorf("read frame: %w", io.ErrUnexpectedEOF)
	}
	return header[0], payload, nil
}
