package upgrade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"

	"navarch.dev/navarch/internal/apistatus"
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

// Exec runs a command in a container: it joins the client to the agent's stream.
// The error is one of the API, and none once something has been written.
func Exec(w http.ResponseWriter, r *http.Request, start *nodev1.ExecStart, dial Dial) error {
	return run(w, r, start, dial, openExec(start))
}

// Attach is Exec for a container's main process. The command is ignored.
func Attach(w http.ResponseWriter, r *http.Request, start *nodev1.ExecStart, dial Dial) error {
	return run(w, r, start, dial, openAttach(start))
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

// run upgrades the client's connection and joins it to the agent's stream.
func run(w http.ResponseWriter, r *http.Request, start *nodev1.ExecStart, dial Dial, open opener) error {
	ctx, node, err := dial(r.Context())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, err := openStreams(w, r, start)
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
		return apistatus.Of(err)
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
			return apistatus.Of(err)
		}
		if exit := out.GetExit(); exit != nil {
			return exitStatus(exit)
		}
		if err := client.write(out); err != nil {
			return apistatus.Of(err)
		}
	}
}

// exitStatus is how Kubernetes tells clients a process's end.
func exitStatus(exit *nodev1.Exit) *metav1.Status {
	switch {
	case exit.GetError() != "":
		return apistatus.Of(apierrors.NewInternalError(fmt.Errorf("error executing command in container: %s", exit.GetError())))
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
