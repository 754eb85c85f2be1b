package podstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"

	"navarch.dev/navarch/gateway/attributes"
	"navarch.dev/navarch/gateway/reply"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// process is an agent's exec or attach stream.
type process interface {
	stdin([]byte) error
	stdinClosed() error
	resize(*nodev1.TerminalSize) error
	// receive returns the next output or how the process ended.
	receive() (output, error)
}

// output is what both Exec and Attach responses hold.
type output interface {
	GetStdout() []byte
	GetStderr() []byte
	GetExit() *nodev1.Exit
}

// exec serves pods/exec.
func (c *Connector) exec(w http.ResponseWriter, r *http.Request, t podTarget) error {
	start, err := startRequest(t, r.URL.Query())
	if err != nil {
		return err
	}
	if start.Command = r.URL.Query()["command"]; len(start.Command) == 0 {
		return apierrors.NewBadRequest("you must specify at least one command for the container")
	}
	return c.run(w, r, t, start, openExec(start))
}

// opener asks an agent for a process.
type opener func(context.Context, nodev1.NodeServiceClient) (process, error)

func openExec(start *nodev1.ExecStart) opener {
	return func(ctx context.Context, node nodev1.NodeServiceClient) (process, error) {
		stream, err := node.Exec(ctx)
		if err != nil {
			return nil, err
		}
		p := execProcess{stream}
		return p, begun(p.Send(&nodev1.ExecRequest{Message: &nodev1.ExecRequest_Start{Start: start}}))
	}
}

func openAttach(start *nodev1.ExecStart) opener {
	return func(ctx context.Context, node nodev1.NodeServiceClient) (process, error) {
		stream, err := node.Attach(ctx)
		if err != nil {
			return nil, err
		}
		p := attachProcess{stream}
		return p, begun(p.Send(&nodev1.AttachRequest{Message: &nodev1.AttachRequest_Start{Start: start}}))
	}
}

// begun returns the error of a stream's first message. That it could not be sent
// because the agent has ended the stream is none: why it did is what will be
// received.
func begun(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// attach serves pods/attach.
func (c *Connector) attach(w http.ResponseWriter, r *http.Request, t podTarget) error {
	start, err := startRequest(t, r.URL.Query())
	if err != nil {
		return err
	}
	return c.run(w, r, t, start, openAttach(start))
}

// startRequest reads the parameters that exec and attach share.
func startRequest(t podTarget, q url.Values) (*nodev1.ExecStart, error) {
	name, err := container(t.pod, q.Get("container"))
	if err != nil {
		return nil, err
	}
	start := &nodev1.ExecStart{
		Namespace: t.pod.Namespace, Pod: t.pod.Name, Container: name,
		Stdin: attributes.Flag(q, "stdin"), Stdout: attributes.Flag(q, "stdout"), Stderr: attributes.Flag(q, "stderr"), Tty: attributes.Flag(q, "tty"),
	}
	if start.Tty {
		start.Stderr = false // a terminal has one output
	}
	if !start.Stdin && !start.Stdout && !start.Stderr {
		return nil, apierrors.NewBadRequest("you must specify at least 1 of stdin, stdout, stderr")
	}
	return start, nil
}

// run upgrades the client's connection and joins it to the agent's stream.
func (c *Connector) run(w http.ResponseWriter, r *http.Request, t podTarget, start *nodev1.ExecStart, open opener) error {
	ctx, node, err := c.node(r.Context(), t)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, err := upgrade(w, r, start)
	if errors.Is(err, errAnswered) {
		return nil
	}
	if err != nil {
		return err
	}
	defer client.close()
	go func() {
		client.awaitClose()
		cancel()
	}()
	client.end(joinProcess(ctx, client, node, open))
	return nil
}

// joinProcess copies both ways until the process ends and returns how it did.
func joinProcess(ctx context.Context, client *clientStreams, node nodev1.NodeServiceClient, open opener) *metav1.Status {
	p, err := open(ctx, node)
	if err != nil {
		return reply.Status(err)
	}
	in := &input{process: p}
	if client.stdin != nil {
		go in.copyStdin(client.stdin)
	}
	if client.resize != nil {
		go in.copySizes(client.resize)
	}
	for {
		out, err := p.receive()
		if errors.Is(err, io.EOF) {
			return success()
		}
		if err != nil {
			return reply.Status(err)
		}
		if exit := out.GetExit(); exit != nil {
			return exitStatus(exit)
		}
		if err := client.write(out); err != nil {
			return reply.Status(err)
		}
	}
}

// exitStatus is how Kubernetes tells clients a process's end.
func exitStatus(exit *nodev1.Exit) *metav1.Status {
	switch {
	case exit.GetError() != "":
		return reply.Status(apierrors.NewInternalError(fmt.Errorf("error executing command in container: %s", exit.GetError())))
	case exit.GetExitCode() == 0:
		return success()
	}
	code := strconv.Itoa(int(exit.GetExitCode()))
	return &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Reason: remotecommand.NonZeroExitCodeReason,
		Message: "command terminated with non-zero exit code: exit status " + code,
		Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: remotecommand.ExitCodeCauseType, Message: code}}},
	}
}

func success() *metav1.Status {
	return &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess}
}

// input sends what the client sends. gRPC streams take one sender at a time.
type input struct {
	mu      sync.Mutex
	process process
}

func (in *input) send(what func() error) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return what()
}

// copyStdin ends when the client closes its standard input or goes away.
func (in *input) copyStdin(from io.Reader) {
	buf := make([]byte, copyBuffer)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if in.send(func() error { return in.process.stdin(append([]byte(nil), buf[:n]...)) }) != nil {
				_, _ = io.Copy(io.Discard, from) // the process no longer reads; keep the connection moving
				return
			}
		}
		if err != nil {
			_ = in.send(in.process.stdinClosed) // the process may have ended
			return
		}
	}
}

// copySizes passes the terminal's size on whenever it changes.
func (in *input) copySizes(from io.Reader) {
	decoder := json.NewDecoder(from)
	for {
		var size struct{ Width, Height uint16 }
		if decoder.Decode(&size) != nil {
			_, _ = io.Copy(io.Discard, from)
			return
		}
		_ = in.send(func() error { // the process may have ended
			return in.process.resize(&nodev1.TerminalSize{Width: uint32(size.Width), Height: uint32(size.Height)})
		})
	}
}

type execProcess struct {
	grpc.BidiStreamingClient[nodev1.ExecRequest, nodev1.ExecResponse]
}

func (p execProcess) stdin(b []byte) error {
	return p.Send(&nodev1.ExecRequest{Message: &nodev1.ExecRequest_Stdin{Stdin: b}})
}

func (p execProcess) stdinClosed() error {
	return p.Send(&nodev1.ExecRequest{Message: &nodev1.ExecRequest_StdinClosed{StdinClosed: true}})
}

func (p execProcess) resize(s *nodev1.TerminalSize) error {
	return p.Send(&nodev1.ExecRequest{Message: &nodev1.ExecRequest_Resize{Resize: s}})
}

func (p execProcess) receive() (output, error) { return p.Recv() }

type attachProcess struct {
	grpc.BidiStreamingClient[nodev1.AttachRequest, nodev1.AttachResponse]
}

func (p attachProcess) stdin(b []byte) error {
	return p.Send(&nodev1.AttachRequest{Message: &nodev1.AttachRequest_Stdin{Stdin: b}})
}

func (p attachProcess) stdinClosed() error {
	return p.Send(&nodev1.AttachRequest{Message: &nodev1.AttachRequest_StdinClosed{StdinClosed: true}})
}

func (p attachProcess) resize(s *nodev1.TerminalSize) error {
	return p.Send(&nodev1.AttachRequest{Message: &nodev1.AttachRequest_Resize{Resize: s}})
}

func (p attachProcess) receive() (output, error) { return p.Recv() }
