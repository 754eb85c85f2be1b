package server

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/internal/upgrade"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// httpExec runs a command in a container.
func (s *Server) httpExec(dial upgrade.Dial) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		start, err := s.startOf(r)
		if err != nil {
			return err
		}
		if start.Command = r.URL.Query()["command"]; len(start.Command) == 0 {
			return answer(http.StatusBadRequest, "query parameter %q is required", "command")
		}
		return upgrade.Exec(w, r, start, dial)
	}
}

// httpAttach joins the streams of a container's main process.
func (s *Server) httpAttach(dial upgrade.Dial) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		start, err := s.startOf(r)
		if err != nil {
			return err
		}
		return upgrade.Attach(w, r, start, dial)
	}
}

// startOf reads what exec and attach share. The parameters are a kubelet's, which
// are not the API's.
func (s *Server) startOf(r *http.Request) (*nodev1.ExecStart, error) {
	q := r.URL.Query()
	set := func(name string) bool { return q.Get(name) == "1" }
	start := &nodev1.ExecStart{
		Namespace: r.PathValue("namespace"), Pod: r.PathValue("pod"), Container: r.PathValue("container"),
		Stdin: set("input"), Stdout: set("output"), Stderr: set("error") && !set("tty"), Tty: set("tty"),
	}
	if !start.GetStdin() && !start.GetStdout() && !start.GetStderr() {
		return nil, answer(http.StatusBadRequest, "you must specify at least 1 of stdin, stdout, stderr")
	}
	_, err := s.running(r)
	return start, err
}

// portParameter is the query parameter that names the ports of a WebSocket.
const portParameter = "port"

// httpPortForward forwards ports of a pod.
func (s *Server) httpPortForward(dial upgrade.Dial) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		ports, err := upgrade.Ports(r.URL.Query(), portParameter)
		if err != nil {
			return err
		}
		info, err := s.pod(r)
		if err != nil {
			return err
		}
		return upgrade.PortForward(w, r, upgrade.Forward{Pod: info.Object, Ports: ports, Parameter: portParameter, Log: s.log}, dial)
	}
}

// maxRunOutput bounds what is kept of a command's output, in bytes.
const maxRunOutput = 16 << 20

// httpRun runs a command and answers with its output: what it has written to its
// standard output, and then to its standard error.
func (s *Server) httpRun(w http.ResponseWriter, r *http.Request) error {
	command, err := commandOf(r.URL.Query())
	if err != nil {
		return err
	}
	info, err := s.running(r)
	if err != nil {
		return err
	}
	var stdout, stderr bounded
	code, err := s.runtime.Exec(r.Context(), info.ID, runtime.ExecOptions{Command: command, Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		return answer(http.StatusInternalServerError, "error executing command in container: %v", err)
	}
	if code != 0 {
		return answer(http.StatusInternalServerError, "command '%s' exited with %d: %s", strings.Join(command, " "), code, stderr.text())
	}
	w.Header().Set("Content-Type", "application/json") // a kubelet calls it that
	_, _ = fmt.Fprint(w, stdout.text(), stderr.text()) // who asked may have gone
	return nil
}

// commandOf returns the command of a run, whose words are parted by spaces.
func commandOf(q url.Values) ([]string, error) {
	text := q.Get("cmd")
	if strings.TrimSpace(text) == "" {
		return nil, answer(http.StatusBadRequest, "query parameter %q is required", "cmd")
	}
	return strings.Split(text, " "), nil
}

// bounded keeps the first bytes of what is written. It is safe for concurrent
// use.
type bounded struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Write(p[:min(len(p), maxRunOutput-b.buf.Len())])
	return len(p), nil
}

func (b *bounded) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
