// Package demo_test runs the demo that the README begins with: its scripts, on
// a cluster of three nodes, with images pulled from a registry.
package demo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"navarch.dev/navarch/internal/testcluster"
)

const (
	scripts = "../../examples/guestbook"
	// scriptTime bounds one run of a script on a slow machine.
	scriptTime = 5 * time.Minute
)

// demo is a data folder that the scripts work on.
type demo struct {
	dir string
	env []string
}

func newDemo(t *testing.T) *demo {
	t.Helper()
	// Not t.TempDir: a mount left below it by a bug would be followed when it
	// is removed.
	dir, err := os.MkdirTemp("", "navarch-demo-")
	if err != nil {
		t.Fatal(err)
	}
	bin, err := filepath.Abs(testcluster.Binary(""))
	if err != nil {
		t.Fatal(err)
	}
	d := &demo{dir: dir, env: append(os.Environ(), "NAVARCH_BIN_DIR="+bin, "NAVARCH_GATEWAY_LISTEN="+freeAddress(t))}
	t.Cleanup(func() {
		if out, err := d.run("stop.sh"); err != nil {
			t.Errorf("stop.sh: %v\n%s", err, out)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return d
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// run runs a script and returns all that it printed.
func (d *demo) run(script string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), scriptTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(scripts, script), d.dir)
	cmd.Env = d.env
	// A file, not a pipe: what the script leaves running may hold it open.
	file, err := os.CreateTemp("", script)
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	cmd.Stdout, cmd.Stderr = file, file
	err = cmd.Run()
	_ = file.Close()
	out, readErr := os.ReadFile(file.Name())
	return string(out), errors.Join(err, readErr)
}

func (d *demo) mustRun(t *testing.T, script string) string {
	t.Helper()
	out, err := d.run(script)
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

// identity returns the cluster's ID and the number of its address slot.
func (d *demo) identity(t *testing.T) (string, int) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(d.dir, "cluster.json"))
	if err != nil {
		t.Fatal(err)
	}
	var state struct {
		ID   string `json:"id"`
		Slot int    `json:"slot"`
	}
	if err := json.Unmarshal(data, &state); err != nil {
		t.Fatal(err)
	}
	return state.ID, state.Slot
}

func TestDemo(t *testing.T) {
	d := newDemo(t)
	first := d.mustRun(t, "demo.sh")
	t.Logf("the demo printed:\n%s", first)
	for _, want := range []string{
		"nodes 3  KUBECONFIG=" + filepath.Join(d.dir, "kubeconfig"),
		`deployment "web" successfully rolled out`,
		"Hello from outside", "Hello from a pod",
		"store.Create web", "scheduler.schedule", "container.start",
	} {
		if !strings.Contains(first, want) {
			t.Errorf("the demo did not print %q", want)
		}
	}
	for _, node := range []string{"node-1", "node-2", "node-3"} {
		if !slices.ContainsFunc(strings.Split(first, "\n"), func(line string) bool {
			return strings.HasPrefix(line, "web-") && strings.Contains(line, " "+node+" ")
		}) {
			t.Errorf("no web pod runs on %s", node)
		}
	}
	id, slot := d.identity(t)
	checkNodePorts(t, slot)
	again := d.mustRun(t, "demo.sh")
	if n := strings.Count(again, "It is running already."); n != 2 {
		t.Errorf("a second demo says %d times that something runs already, want 2:\n%s", n, again)
	}
	if out := d.mustRun(t, "stop.sh"); strings.TrimSpace(out) != "" {
		t.Errorf("stop.sh printed:\n%s", out)
	}
	if left := d.leftovers(t, id); len(left) > 0 {
		t.Errorf("left on the host:\n%s", strings.Join(left, "\n"))
	}
	d.mustRun(t, "stop.sh")
}

// checkNodePorts signs the book through one node and reads it through the
// others.
func checkNodePorts(t *testing.T, slot int) {
	t.Helper()
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	url := func(node int) string {
		return "http://172.30." + strconv.Itoa(slot) + "." + strconv.Itoa(10+node) + ":30080/entries"
	}
	resp, err := client.Post(url(1), "text/plain", strings.NewReader("Hello from a test"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("sign through node 1: %s", resp.Status)
	}
	for node := 1; node <= 3; node++ {
		resp, err := client.Get(url(node))
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		_, err = body.ReadFrom(resp.Body)
		_ = resp.Body.Close()
		if err != nil || !strings.Contains(body.String(), "Hello from a test\n") {
			t.Errorf("read through node %d: %v, %q", node, err, body.String())
		}
	}
}

// leftovers lists what the host still holds of the cluster.
func (d *demo) leftovers(t *testing.T, id string) []string {
	t.Helper()
	var left []string
	keep := func(what, text string, marks ...string) {
		for line := range strings.SplitSeq(text, "\n") {
			if slices.ContainsFunc(marks, func(mark string) bool { return strings.Contains(line, mark) }) {
				left = append(left, what+": "+line)
			}
		}
	}
	for _, path := range glob(t, "/proc/[0-9]*/cmdline") {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		keep("process", string(bytes.ReplaceAll(data, []byte{0}, []byte{' '})), d.dir, "guestbook-images")
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	keep("mount", string(mounts), d.dir, "/run/navarch/"+id)
	keep("link", output(t, "ip", "-o", "link"), "nv"+id)
	keep("table", output(t, "nft", "list", "tables"), id)
	for _, pattern := range []string{"/sys/fs/cgroup/*/navarch/" + id, "/sys/fs/cgroup/navarch/" + id, "/run/navarch/" + id, d.dir} {
		left = append(left, glob(t, pattern)...)
	}
	return left
}

func output(t *testing.T, command string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), command, args...).Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return string(out)
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return found
}
