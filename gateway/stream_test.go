package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

func (c *cluster) podURL(pod, subresource string, query url.Values) *url.URL {
	c.t.Helper()
	u, err := url.Parse(c.address + "/api/v1/namespaces/default/pods/" + pod + "/" + subresource + "?" + query.Encode())
	if err != nil {
		c.t.Fatal(err)
	}
	return u
}

// executors are the ways in which clients run commands.
var executors = map[string]func(*rest.Config, *url.URL) (remotecommand.Executor, error){
	"WebSocket": func(c *rest.Config, u *url.URL) (remotecommand.Executor, error) {
		return remotecommand.NewWebSocketExecutor(c, http.MethodGet, u.String())
	},
	"SPDY": func(c *rest.Config, u *url.URL) (remotecommand.Executor, error) {
		return remotecommand.NewSPDYExecutor(c, http.MethodPost, u)
	},
}

func TestExec(t *testing.T) {
	t.Parallel()
	c := start(t, newNode(t))
	c.runPod("web", "main")
	for name, newExecutor := range executors {
		run := func(t *testing.T, options remotecommand.StreamOptions, command ...string) error {
			q := url.Values{"command": command, "stdout": {"true"}, "stderr": {"true"}}
			if options.Stdin != nil {
				q.Set("stdin", "true")
			}
			if options.Tty {
				q.Set("tty", "true")
				q.Del("stderr")
			}
			e, err := newExecutor(c.config("admin"), c.podURL("web", "exec", q))
			if err != nil {
				t.Fatal(err)
			}
			return e.StreamWithContext(t.Context(), options)
		}
		t.Run(name+"/output and input", func(t *testing.T) {
			input := strings.Repeat("0123456789", 50_000)
			var out, errs bytes.Buffer
			if err := run(t, remotecommand.StreamOptions{Stdin: strings.NewReader(input), Stdout: &out, Stderr: &errs}, "cat"); err != nil {
				t.Fatal(err)
			}
			if out.String() != input || errs.Len() > 0 {
				t.Errorf("cat returned %d bytes of %d, and %q on stderr", out.Len(), len(input), errs.String())
			}
		})
		t.Run(name+"/exit code", func(t *testing.T) {
			var out, errs bytes.Buffer
			err := run(t, remotecommand.StreamOptions{Stdout: &out, Stderr: &errs}, "exit", "7")
			var code exec.CodeExitError
			if !errors.As(err, &code) || code.Code != 7 || errs.String() != "failing\n" {
				t.Errorf("error %v, stderr %q; want exit code 7", err, errs.String())
			}
		})
		t.Run(name+"/no such command", func(t *testing.T) {
			var out, errs bytes.Buffer
			if err := run(t, remotecommand.StreamOptions{Stdout: &out, Stderr: &errs}, "nothing"); err == nil || !strings.Contains(err.Error(), "executable file not found") {
				t.Errorf("error %v", err)
			}
		})
		t.Run(name+"/terminal", func(t *testing.T) {
			var out bytes.Buffer
			in, _ := io.Pipe()
			defer in.Close()
			err := run(t, remotecommand.StreamOptions{Stdin: in, Stdout: &out, Tty: true, TerminalSizeQueue: &oneSize{}}, "size")
			if err != nil || out.String() != "80x24" {
				t.Errorf("output %q, error %v", out.String(), err)
			}
		})
	}
}

// oneSize is a terminal that is never resized.
type oneSize struct{ told bool }

func (s *oneSize) Next() *remotecommand.TerminalSize {
	if s.told {
		return nil
	}
	s.told = true
	return &remotecommand.TerminalSize{Width: 80, Height: 24}
}

// TestExecEndsWithItsClient cuts the client off and expects the agent's stream
// to end: the test's cleanup would hang otherwise.
func TestExecEndsWithItsClient(t *testing.T) {
	t.Parallel()
	c := start(t, newNode(t))
	c.runPod("web", "main")
	for name, newExecutor := range executors {
		t.Run(name, func(t *testing.T) {
			e, err := newExecutor(c.config("admin"), c.podURL("web", "exec", url.Values{"command": {"hang"}, "stdout": {"true"}}))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: io.Discard}) }()
			cancel()
			if err := <-done; err == nil {
				t.Error("a command that was cut off ended well")
			}
		})
	}
}

func TestAttachAndContainerChoice(t *testing.T) {
	t.Parallel()
	c := start(t, newNode(t))
	c.runPod("two", "first", "second")
	for name, newExecutor := range executors {
		t.Run(name, func(t *testing.T) {
			e, err := newExecutor(c.config("admin"), c.podURL("two", "attach", url.Values{"stdout": {"true"}, "container": {"second"}}))
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out}); err != nil || out.String() != "attached to second" {
				t.Errorf("output %q, error %v", out.String(), err)
			}
		})
	}
	a := c.do(c.http("admin"), "GET", "/api/v1/namespaces/default/pods/two/log", nil)
	if want := "a container name must be specified for pod two, choose one of: [first second]"; a.code != 400 || !strings.Contains(a.body, want) {
		t.Errorf("%d %s", a.code, a.body)
	}
	a = c.do(c.http("admin"), "POST", "/api/v1/namespaces/default/pods/two/exec?command=x&stdout=1&container=third", nil)
	if a.code != 400 || !strings.Contains(a.body, "container third is not valid for pod two") {
		t.Errorf("%d %s", a.code, a.body)
	}
	a = c.do(c.http("admin"), "POST", "/api/v1/namespaces/default/pods/two/exec?command=x&stdout=1&container=first", nil)
	if a.code != 400 || !strings.Contains(a.body, "Upgrade request required") {
		t.Errorf("%d %s", a.code, a.body)
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	c := start(t, newNode(t))
	c.runPod("web", "main")
	pods := c.clientset("application/vnd.kubernetes.protobuf").CoreV1().Pods("default")
	tail := int64(2)
	b, err := pods.GetLogs("web", &corev1.PodLogOptions{TailLines: &tail}).DoRaw(t.Context())
	if err != nil || string(b) != "two\nthree\n" {
		t.Errorf("log %q, %v", b, err)
	}
	if _, err := pods.GetLogs("web", &corev1.PodLogOptions{Previous: true}).Stream(t.Context()); err == nil || !strings.Contains(err.Error(), "previous terminated container") {
		t.Errorf("previous: %v", err)
	}
	negative := int64(-1)
	if _, err := pods.GetLogs("web", &corev1.PodLogOptions{TailLines: &negative}).Stream(t.Context()); err == nil || !strings.Contains(err.Error(), "tailLines") {
		t.Errorf("negative tail: %v", err)
	}
	follow, err := pods.GetLogs("web", &corev1.PodLogOptions{Follow: true}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer follow.Close()
	got := make([]byte, len("one\ntwo\nthree\n"))
	if _, err := io.ReadFull(follow, got); err != nil || string(got) != "one\ntwo\nthree\n" {
		t.Errorf("followed %q, %v", got, err)
	}
}

func TestPortForward(t *testing.T) {
	t.Parallel()
	c := start(t, newNode(t))
	c.runPod("web", "main")
	dialers := map[string]func(*url.URL) (httpstream.Dialer, error){
		"WebSocket": func(u *url.URL) (httpstream.Dialer, error) {
			return portforward.NewSPDYOverWebsocketDialer(u, c.config("admin"))
		},
		"SPDY": func(u *url.URL) (httpstream.Dialer, error) {
			transport, upgrader, err := spdy.RoundTripperFor(c.config("admin"))
			if err != nil {
				return nil, err
			}
			return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, u), nil
		},
	}
	for name, newDialer := range dialers {
		t.Run(name, func(t *testing.T) {
			dialer, err := newDialer(c.podURL("web", "portforward", nil))
			if err != nil {
				t.Fatal(err)
			}
			stop, ready := make(chan struct{}), make(chan struct{})
			var errs bytes.Buffer
			f, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:80"}, stop, ready, io.Discard, &errs)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- f.ForwardPorts() }()
			select {
			case <-ready:
			case err := <-done:
				t.Fatal(err)
			}
			ports, err := f.GetPorts()
			if err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				if err := shout(fmt.Sprintf("127.0.0.1:%d", ports[0].Local), fmt.Sprintf("hello %d", i)); err != nil {
					t.Error(err)
				}
			}
			close(stop)
			if err := <-done; err != nil {
				t.Errorf("forwarding ended with %v (%s)", err, errs.String())
			}
		})
	}
}

// shout sends text, closes its side and expects the text back in capitals.
func shout(address, text string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	if string(got) != strings.ToUpper(text) {
		return fmt.Errorf("sent %q, got %q", text, got)
	}
	return nil
}
