package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"

	"navarch.dev/navarch/agent/logs"
	"navarch.dev/navarch/agent/podworker"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/stats"
)

// declared is onePod, whose pod says which containers it has: "c", which runs,
// and "new", which does not yet.
type declared struct{ onePod }

func (d declared) Pod(ctx context.Context, namespace, name string) (podworker.PodInfo, error) {
	info, err := d.onePod.Pod(ctx, namespace, name)
	if err == nil {
		info.Object.ObjectMeta = metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "uid"}
		info.Object.Spec.Containers = []corev1.Container{{Name: "c"}, {Name: "new"}}
	}
	return info, err
}

// shell is a Runtime whose only command says what it was told, and that fails if
// it was told so.
type shell struct{ echo }

func (s shell) Exec(ctx context.Context, id string, o runtime.ExecOptions) (int, error) {
	if o.Stdin != nil {
		return s.echo.Exec(ctx, id, o)
	}
	switch o.Command[0] {
	case "fail":
		fmt.Fprint(o.Stderr, "it failed")
		return 3, nil
	case "break":
		return 0, errors.New("no such program")
	case "much":
		for range 2 {
			if _, err := o.Stdout.Write(make([]byte, maxRunOutput-1)); err != nil {
				return 0, err
			}
		}
		return 0, nil
	}
	fmt.Fprint(o.Stderr, "err ")
	fmt.Fprint(o.Stdout, strings.Join(o.Command, "+"), " out ")
	return 0, nil
}

func (shell) ListSandboxes(context.Context) ([]runtime.SandboxStatus, error) {
	return []runtime.SandboxStatus{
		{Ready: true, Spec: runtime.SandboxSpec{Namespace: "default", Name: "web", UID: "uid"}},
		{Spec: runtime.SandboxSpec{Namespace: "default", Name: "ended", UID: "other"}},
	}, nil
}

func (shell) ListContainers(context.Context, string) ([]runtime.ContainerStatus, error) {
	return []runtime.ContainerStatus{
		{State: runtime.StateRunning, Spec: runtime.ContainerSpec{Name: "c", ImageID: "sha256:1"}},
		{State: runtime.StateExited, Spec: runtime.ContainerSpec{Name: "init"}},
	}, nil
}

// serveHTTP serves the node over HTTP. Its containers' log is what was asked for.
func serveHTTP(t *testing.T) *httptest.Server {
	t.Helper()
	readLog := func(_ context.Context, path string, o logs.Options, w io.Writer) error {
		if o.TailLines != nil && *o.TailLines == 13 {
			return errors.New("the log is gone")
		}
		_, err := fmt.Fprintf(w, "%s follow=%t timestamps=%t stream=%s", path, o.Follow, o.Timestamps, o.Stream)
		return err
	}
	s := New(declared{}, shell{}, noImages{}, stats.New("n1", shell{}, stats.ReadMachine), readLog, http.HandlerFunc(showPage), slog.New(slog.DiscardHandler))
	server := httptest.NewServer(s.HTTP())
	t.Cleanup(server.Close)
	return server
}

func TestHTTP(t *testing.T) {
	server := serveHTTP(t)
	for _, tt := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "/containerLogs/default/web/c", 200, "log follow=false timestamps=false stream="},
		{"GET", "/containerLogs/default/web/c?timestamps=true&tail=all&stream=Stdout", 200, "log follow=false timestamps=true stream=stdout"},
		{"GET", "/containerLogs/default/web/c?tailLines=13", 400, "read the log: the log is gone\n"},
		{"GET", "/containerLogs/default/web/c?tailLines=x", 400, `{"message": "Unable to decode query."}` + "\n"},
		{"GET", "/containerLogs/default/web/c?tailLines=-1", 422, `{"message": "Invalid request."}` + "\n"},
		{"GET", "/containerLogs/default/web/c?limitBytes=0", 422, `{"message": "Invalid request."}` + "\n"},
		{"GET", "/containerLogs/default/web/c?stream=stdin", 422, `{"message": "Invalid request."}` + "\n"},
		{"GET", "/containerLogs/default/web/c?stream=Stdout&tailLines=1", 422, `{"message": "Invalid request."}` + "\n"},
		{"GET", "/containerLogs/default/web/c?sinceTime=now", 400, `{"message": "Unable to decode query."}` + "\n"},
		{"GET", "/containerLogs/default/web/c?sinceTime=2026-01-02T03:04:05Z&sinceSeconds=1", 422, `{"message": "Invalid request."}` + "\n"},
		{"GET", "/containerLogs/default/web/c?sinceSeconds=9223372036854775807", 200, "log follow=false timestamps=false stream="},
		{"GET", "/containerLogs/default/none/c", 404, `pod "none" does not exist` + "\n"},
		{"GET", "/containerLogs/default/web/none", 404, `container "none" not found in pod "web"` + "\n"},
		{"POST", "/containerLogs/default/web/c", 405, "Method Not Allowed\n"},
		{"GET", "/containerLogs/default/web/new", 400, `container "new" is waiting to start` + "\n"},
		{"POST", "/run/default/web/c?cmd=say+this", 200, "say+this out err "},
		{"POST", "/run/default/web/uid/c?cmd=say", 200, "say out err "},
		{"POST", "/run/default/web/other/c?cmd=say", 404, "pod not found\n"},
		{"POST", "/run/default/web/c?cmd=fail+it", 500, "command 'fail it' exited with 3: it failed\n"},
		{"POST", "/run/default/web/c?cmd=break", 500, "error executing command in container: no such program\n"},
		{"POST", "/run/default/web/c", 400, `query parameter "cmd" is required` + "\n"},
		{"POST", "/run/default/web/new?cmd=say", 404, `container not found ("new")` + "\n"},
		{"POST", "/run/default/none/c?cmd=say", 404, "pod does not exist\n"},
		{"GET", "/run/default/web/c?cmd=say", 405, "Method Not Allowed\n"},
		{"POST", "/exec/default/web/c?command=say", 400, "you must specify at least 1 of stdin, stdout, stderr\n"},
		{"POST", "/exec/default/web/c?output=1", 400, `query parameter "command" is required` + "\n"},
		{"POST", "/exec/default/web/c?output=1&command=say", 400, "Upgrade request required\n"},
		{"POST", "/exec/default/none/c?output=1&command=say", 404, "pod does not exist\n"},
		{"GET", "/attach/default/web/c?output=1", 400, "Upgrade request required\n"},
		{"GET", "/attach/default/web/new?output=1", 404, `container not found ("new")` + "\n"},
		{"PUT", "/attach/default/web/c?output=1", 405, "Method Not Allowed\n"},
		{"POST", "/portForward/default/web", 400, "Upgrade request required\n"},
		{"POST", "/portForward/default/web/other", 404, "pod not found\n"},
		{"POST", "/portForward/default/web?port=70000", 400, `query parameter "port": "70000" is not a port from 1 to 65535` + "\n"},
		{"POST", "/checkpoint/default/web/c", 500, "checkpointing of default/web/c failed (this agent does not support checkpoints)\n"},
		{"POST", "/checkpoint/default/web/none", 404, "container none does not exist\n"},
		{"POST", "/checkpoint/default/none/c", 404, "pod does not exist\n"},
		{"GET", "/checkpoint/default/web/c", 405, "Method Not Allowed\n"},
		{"GET", "/runningpods/", 200, `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"name":"web","namespace":"default","uid":"uid"},` +
			`"spec":{"containers":[{"name":"c","image":"sha256:1","resources":{}}]},"status":{}}]}`},
		{"GET", "/any/page?q=1", 418, "GET /any/page 1"},
		{"POST", "/exec/default", 418, "POST /exec/default "},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, server.URL+tt.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.code || string(body) != tt.body {
			t.Errorf("%s %s: %d %q, want %d %q", tt.method, tt.path, resp.StatusCode, body, tt.code, tt.body)
		}
	}
}

func TestRunKeepsSoMuch(t *testing.T) {
	resp, err := http.Post(serveHTTP(t).URL+"/run/default/web/c?cmd=much", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); n != maxRunOutput || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestHTTPExec has client-go run a command as against a kubelet, by both protocols.
func TestHTTPExec(t *testing.T) {
	server := serveHTTP(t)
	at, err := url.Parse(server.URL + "/exec/default/web/c?command=cat&input=1&output=1&error=1")
	if err != nil {
		t.Fatal(err)
	}
	config := &rest.Config{Host: server.URL}
	for name, make := range map[string]func() (remotecommand.Executor, error){
		"SPDY": func() (remotecommand.Executor, error) { return remotecommand.NewSPDYExecutor(config, "POST", at) },
		"WebSocket": func() (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutor(config, "GET", at.String())
		},
	} {
		executor, err := make()
		if err != nil {
			t.Fatal(err)
		}
		var out, stderr bytes.Buffer
		err = executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader("hello"), Stdout: &out, Stderr: &stderr})
		var exit utilexec.CodeExitError
		if !errors.As(err, &exit) || exit.Code != 7 || out.String() != "HELLO" {
			t.Errorf("%s: %q, %v", name, out.String(), err)
		}
	}
}

// FuzzLogsQuery: a query is a request or is refused with a 4xx, and what is read of
// it is within bounds.
func FuzzLogsQuery(f *testing.F) {
	for _, query := range []string{"follow=1&tailLines=5", "tail=all", "sinceSeconds=99999999999999", "sinceTime=2026-01-02T03:04:05.6Z", "stream=Stderr", "limitBytes=%00", "%zz", "a;b"} {
		f.Add(query)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, query string) {
		q, _ := url.ParseQuery(query) // as http.Request.URL.Query does
		req, err := logsRequest(q, now)
		var known *httpError
		switch {
		case errors.As(err, &known):
			if known.code < 400 || known.code >= 500 {
				t.Errorf("%q is answered %d", query, known.code)
			}
		case err != nil:
			t.Errorf("%q: %v", query, err)
		case req.TailLines != nil && req.GetTailLines() < 0, req.LimitBytes != nil && req.GetLimitBytes() < 1:
			t.Errorf("%q is %v", query, req)
		}
	})
}
