// Package localcluster_test checks what `navarch up` and `navarch down`
// promise: what they print, what they refuse, and what they leave.
package localcluster_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"navarch.dev/navarch/internal/testcluster"
)

// hostState is all that a cluster could leave on a host.
type hostState struct {
	processes, mounts, links, addresses, rules, routes, tables, cgroups, runtime []string
}

func look(t *testing.T) hostState {
	t.Helper()
	return hostState{
		processes: processes(t),
		mounts:    mounts(t),
		links:     lines(t, "ip", "-o", "link"),
		addresses: lines(t, "ip", "-o", "-4", "address"),
		rules:     lines(t, "ip", "rule"),
		routes:    lines(t, "ip", "-4", "route", "show", "table", "all"),
		tables:    lines(t, "nft", "list", "tables"),
		cgroups:   globs(t, "/sys/fs/cgroup/*/navarch*", "/sys/fs/cgroup/*/navarch*/*", "/sys/fs/cgroup/navarch*", "/sys/fs/cgroup/navarch*/*"),
		runtime:   globs(t, "/run/navarch", "/run/navarch/*", "/run/navarch/slots/*"),
	}
}

// processes lists the running programs of this repository.
func processes(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, path := range globs(t, "/proc/[0-9]*/cmdline") {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		command := string(bytes.ReplaceAll(data, []byte{0}, []byte{' '}))
		if strings.Contains(command, testcluster.Binary("")) && !strings.Contains(command, "golangci") {
			found = append(found, command)
		}
	}
	slices.Sort(found)
	return found
}

func mounts(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	found := strings.Split(strings.TrimSpace(string(data)), "\n")
	slices.Sort(found)
	return found
}

func lines(t *testing.T, command string, args ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), command, args...).Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	var names []string
	for line := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n") {
		// Of a link and an address neither number nor state nor lifetime count.
		switch fields := strings.Fields(line); {
		case len(fields) > 3 && args[len(args)-1] == "address":
			line = fields[1] + " " + fields[3]
		case len(fields) > 1 && args[len(args)-1] == "link":
			line = fields[1]
		}
		names = append(names, line)
	}
	slices.Sort(names)
	return names
}

func globs(t *testing.T, patterns ...string) []string {
	t.Helper()
	var found []string
	for _, p := range patterns {
		paths, err := filepath.Glob(p)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, paths...)
	}
	slices.Sort(found)
	return found
}

func TestDownLeavesNothing(t *testing.T) {
	before := look(t)
	t.Run("clusters side by side", func(t *testing.T) {
		one := testcluster.Start(t, testcluster.Options{})
		three := testcluster.Start(t, testcluster.Options{Nodes: 3})
		for _, c := range []*testcluster.Cluster{one, three} {
			c.LoadBusybox(t)
			c.Kubectl(t, "create", "deployment", "web", "--image="+testcluster.BusyboxImage, "--replicas=3", "--", "sleep", "1000000")
			c.Kubectl(t, "expose", "deployment", "web", "--port=80", "--type=NodePort")
			c.Kubectl(t, "rollout", "status", "deployment/web", "--timeout=120s")
		}
		if !regexp.MustCompile(`^ready in \d+\.\ds  nodes 3  KUBECONFIG=\S+$`).MatchString(three.ReadyLine) {
			t.Errorf("up printed %q", three.ReadyLine)
		}
		// One cluster's supervisor is killed: down must clean up all the same.
		if err := syscall.Kill(three.PID(t, "up"), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	})
	compare(t, before, look(t))
}

func compare(t *testing.T, before, after hostState) {
	t.Helper()
	for _, part := range []struct {
		name          string
		before, after []string
	}{
		{"processes", before.processes, after.processes}, {"mounts", before.mounts, after.mounts},
		{"links", before.links, after.links}, {"addresses", before.addresses, after.addresses},
		{"routing rules", before.rules, after.rules}, {"routes", before.routes, after.routes},
		{"nftables tables", before.tables, after.tables},
		{"control groups", before.cgroups, after.cgroups}, {"files in /run", before.runtime, after.runtime},
	} {
		for _, left := range part.after {
			if !slices.Contains(part.before, left) {
				t.Errorf("left of %s: %s", part.name, left)
			}
		}
	}
}

func TestUpRefusesWhatCannotWork(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	otherVersion := t.TempDir()
	if err := os.WriteFile(filepath.Join(otherVersion, "version"), []byte("99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		args []string
		exit int
		want string
	}{
		{"an unknown flag", []string{"up", "--nods", "3"}, 2, "unknown flag: --nods"},
		{"a value of the wrong type", []string{"up", "--nodes", "three"}, 2, `"three"`},
		{"too many nodes", []string{"up", "--nodes", "1000"}, 1, "--nodes: 1000 must be between 1 and 100"},
		{"an argument too many", []string{"up", "now"}, 2, `unknown command "now"`},
		{"an unknown command", []string{"upp"}, 2, `unknown command "upp"`},
		{"a bad address", []string{"up", "--gateway-listen", "nowhere"}, 1, `--gateway-listen: "nowhere" must be host:port`},
		{"a port in use", []string{"up", "--gateway-listen", taken.Addr().String()}, 1, "address already in use"},
		{"a data folder of another version", []string{"up", "--data-dir", otherVersion}, 1, `has version "99"`},
		{"no such object", []string{"trace", "nonsense"}, 2, `"nonsense" must be KIND/NAME`},
		{"no such cluster", []string{"trace", "pod/x", "--data-dir", "/nonexistent"}, 1, "there is no cluster in the data folder /nonexistent"},
		// A kind that not every cluster has may be of this one.
		{"a kind that only a cluster may know", []string{"explain", "frob/x", "--data-dir", "/nonexistent"}, 1, "there is no cluster in the data folder /nonexistent"},
		{"a service without its certificate", []string{"agent"}, 2, "flag --ca-file: required"},
		{"a settings file that is not there", []string{"up", "--config", "/nonexistent"}, 1, "/nonexistent: no such file"},
		{"no programs for nodes", []string{"up", "--bin-dir", "/nonexistent"}, 1, "--bin-dir: runc is not in /nonexistent"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			args := tc.args
			dir := filepath.Join(t.TempDir(), "data")
			if tc.args[0] == "up" && !slices.Contains(args, "--data-dir") {
				args = append(slices.Clone(args), "--data-dir", dir)
				defer func() {
					if out, err := exec.CommandContext(context.WithoutCancel(ctx), testcluster.Binary("navarch"), "down", "--purge", "--data-dir", dir).CombinedOutput(); err != nil {
						t.Errorf("down: %v\n%s", err, out)
					}
				}()
			}
			refuses(t, exec.CommandContext(ctx, testcluster.Binary("navarch"), args...), tc.exit, tc.want)
		})
	}
}

// refuses runs a command that must end with an exit status and one line on
// standard error.
func refuses(t *testing.T, cmd *exec.Cmd, exit int, want string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != exit {
		t.Errorf("exit status %d (%v), want %d", code, err, exit)
	}
	if text := strings.TrimSpace(stderr.String()); !strings.Contains(text, want) {
		t.Errorf("stderr %q does not hold %q", text, want)
	} else if strings.Count(text, "\n") != 0 {
		t.Errorf("stderr is more than one line:\n%s", text)
	}
	if stdout.Len() != 0 {
		t.Errorf("stdout is not empty: %s", stdout.String())
	}
}
