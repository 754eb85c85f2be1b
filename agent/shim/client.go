package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Client talks to the shim of one folder. It holds no connection: each call
// makes one, so it is valid before the shim runs and after it died.
type Client struct {
	dir string
}

// Connect returns a client of the shim whose socket is dir/shim.sock.
func Connect(dir string) *Client { return &Client{dir: dir} }

// Error is a call that the shim refused.
type Error struct {
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Message }

// IsCode tells whether err is the shim's refusal with that code.
func IsCode(err error, code string) bool {
	var refusal *Error
	return errors.As(err, &refusal) && refusal.Code == code
}

// State returns all that the shim knows.
func (c *Client) State(ctx context.Context) (State, error) {
	response, err := c.call(ctx, Request{Op: OpState})
	if err != nil {
		return State{}, err
	}
	if response.State == nil {
		return State{}, errors.New("shim: answer without a state")
	}
	return *response.State, nil
}

// Create runs runc create on the bundle containers/<id>.
func (c *Client) Create(ctx context.Context, id string, opts CreateOptions) (ContainerState, error) {
	return c.change(ctx, Request{Op: OpCreate, Container: id, Create: &opts})
}

// Start lets a created container run.
func (c *Client) Start(ctx context.Context, id string) (ContainerState, error) {
	return c.change(ctx, Request{Op: OpStart, Container: id})
}

// Kill sends a signal to the container's main process.
func (c *Client) Kill(ctx context.Context, id string, signal int) error {
	_, err := c.call(ctx, Request{Op: OpKill, Container: id, Signal: signal})
	return err
}

// Delete kills the container if need be and removes runc's state of it.
func (c *Client) Delete(ctx context.Context, id string) error {
	_, err := c.call(ctx, Request{Op: OpDelete, Container: id})
	return err
}

// Update changes the container's limits; resources are OCI LinuxResources.
func (c *Client) Update(ctx context.Context, id string, resources json.RawMessage) error {
	_, err := c.call(ctx, Request{Op: OpUpdate, Container: id, Resources: resources})
	return err
}

// Fence puts the pod under a fence, another one, or with nil under none.
func (c *Client) Fence(ctx context.Context, opts *FenceOptions) error {
	_, err := c.call(ctx, Request{Op: OpFence, Fence: opts})
	return err
}

// Shutdown kills all containers and the pause process and ends the shim.
func (c *Client) Shutdown(ctx context.Context) error {
	_, err := c.call(ctx, Request{Op: OpShutdown})
	return err
}

// Subscribe calls ready once events can no longer be missed, and then event for
// each one, until ctx ends or the shim does (io.EOF).
func (c *Client) Subscribe(ctx context.Context, ready func(), event func(Event)) error {
	conn, _, err := c.open(ctx, Request{Op: OpSubscribe})
	if err != nil {
		return err
	}
	defer closeOnDone(ctx, conn)()
	ready()
	for {
		_, payload, err := ReadFrame(conn)
		if err != nil {
			return firstError(ctx, err)
		}
		var e Event
		if err := json.Unmarshal(payload, &e); err != nil {
			return fmt.Errorf("decode event: %w", err)
		}
		event(e)
	}
}

// Streams are the local ends of an exec or attach. Nil ones are left out.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Resize         <-chan Size
}

// Exec runs a process in the container and returns how it ended.
func (c *Client) Exec(ctx context.Context, id string, opts ExecOptions, streams Streams) (Exit, error) {
	return c.stream(ctx, Request{Op: OpExec, Container: id, Exec: &opts}, streams)
}

// Attach joins the main process's streams until it ends.
func (c *Client) Attach(ctx context.Context, id string, streams Streams) (Exit, error) {
	return c.stream(ctx, Request{Op: OpAttach, Container: id}, streams)
}

func (c *Client) change(ctx context.Context, request Request) (ContainerState, error) {
	response, err := c.call(ctx, request)
	if err != nil {
		return ContainerState{}, err
	}
	if response.Container == nil {
		return ContainerState{}, fmt.Errorf("shim: answer to %s without a container", request.Op)
	}
	return *response.Container, nil
}

func (c *Client) call(ctx context.Context, request Request) (Response, error) {
	conn, response, err := c.open(ctx, request)
	if err != nil {
		return Response{}, err
	}
	_ = conn.Close()
	return response, nil
}

// open makes a connection, sends the request and reads the response.
func (c *Client) open(ctx context.Context, request Request) (net.Conn, Response, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, Response{}, fmt.Errorf("connect to the shim: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	response, err := exchange(conn, request)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, Response{}, firstError(ctx, err)
	}
	return conn, response, nil
}

func exchange(conn net.Conn, request Request) (Response, error) {
	request.Version = Version
	if err := WriteJSON(conn, FrameRequest, request); err != nil {
		return Response{}, fmt.Errorf("send %s to the shim: %w", request.Op, err)
	}
	kind, payload, err := ReadFrame(conn)
	if err != nil {
		return Response{}, fmt.Errorf("read the shim's answer to %s: %w", request.Op, err)
	}
	var response Response
	if kind != FrameResponse {
		return Response{}, fmt.Errorf("shim: frame of type %d in answer to %s", kind, request.Op)
	}
	if err := json.Unmarshal(payload, &response); err != nil {
		return Response{}, fmt.Errorf("decode the shim's answer: %w", err)
	}
	if response.Code != "" {
		return Response{}, &Error{Code: response.Code, Message: response.Error}
	}
	return response, nil
}

// dial connects by way of the folder's descriptor, since a socket's path is
// limited to 107 bytes and a data folder's is not.
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	dir, err := unix.Open(c.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: c.dir, Err: err}
	}
	defer func() { _ = unix.Close(dir) }()
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", filepath.Join("/proc/self/fd", strconv.Itoa(dir), SocketFile))
}

// closeOnDone closes conn when ctx ends; the returned function closes it now.
func closeOnDone(ctx context.Context, conn net.Conn) func() {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	return func() {
		stop()
		_ = conn.Close()
	}
}

// firstError prefers the context's error to that of the connection it closed.
func firstError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
