package runtime_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"navarch.dev/navarch/agent/apparmor"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/runtime/runtimetest"
)

// TestCgroupOfContainers: what a container sees of its limits in version 2, and that
// all of it ends if one of its processes meets them.
func TestCgroupOfContainers(t *testing.T) {
	cfg := runtimetest.Config(t)
	n := startNode(t, cfg, runtime.SandboxSpec{Resources: runtime.Resources{CPUShares: 512, CPUQuota: 150_000, MemoryLimit: 64 << 20}})
	if n.CgroupVersion() != 2 {
		t.Skip("this machine's cgroups are version 1")
	}
	for file, want := range map[string]string{"cpu.max": "150000 100000", "cpu.weight": "20", "memory.max": "67108864"} {
		got, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", cfg.CgroupParent, "pod"+podUID, file))
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("the pod's %s is %q, want %q: %v", file, got, want, err)
		}
	}
	const read = `cat /proc/self/cgroup; cd /sys/fs/cgroup; cat cpu.max memory.max pids.max memory.oom.group; cat memory.swap.max 2>/dev/null || echo 0; mkdir x 2>/dev/null || echo closed`
	limits := runtime.Resources{CPUShares: 256, CPUQuota: 50_000, MemoryLimit: 32 << 20, PidsLimit: 100}
	spec := n.spec("limits", read)
	spec.Resources = limits
	want := "0::/\n50000 100000\n33554432\n100\n1\n0\nclosed\n"
	if got := n.output(spec); got != want {
		t.Errorf("the container sees %q, want %q", got, want)
	}
	hog := n.spec("hog", "(x=0123456789abcdef; while true; do x=$x$x; done); echo still here; sleep 1000")
	hog.Resources = limits
	if status := n.run(hog); status.Reason != runtime.ReasonOOMKilled || status.ExitCode != 137 {
		t.Errorf("of a container of which a process met the limit: %+v", status)
	}
}

// TestAppArmor: containers and commands in them are confined, on a machine that can.
func TestAppArmor(t *testing.T) {
	support := apparmor.OfMachine()
	if support.Default() == "" {
		t.Skip("profiles of AppArmor are not enforced: ", errors.Join(support.Problem, support.DefaultProblem))
	}
	cfg := runtimetest.Config(t)
	cfg.AppArmorDefault = support.Default()
	n := startNode(t, cfg, runtime.SandboxSpec{})
	const read, confined, free = "cat /proc/self/attr/current", apparmor.DefaultProfile + " (enforce)\n", "unconfined\n"
	for _, tt := range []struct {
		name     string
		security runtime.Security
		want     string
	}{
		{"none-chosen", runtime.Security{}, confined},
		{"the-nodes", runtime.Security{AppArmor: runtime.AppArmorLocalhost, AppArmorProfile: apparmor.DefaultProfile}, confined},
		{"unconfined", runtime.Security{AppArmor: runtime.AppArmorUnconfined}, free},
		{"privileged", runtime.Security{Privileged: true}, free},
	} {
		spec := n.spec(tt.name, read)
		spec.Security = tt.security
		if got := n.output(spec); got != tt.want {
			t.Errorf("%s: the profile is %q, want %q", tt.name, got, tt.want)
		}
	}
	id := n.start(n.spec("main", "sleep 1000"))
	var out bytes.Buffer
	code, err := n.Exec(withLimit(t), id, runtime.ExecOptions{Command: []string{"/bin/sh", "-c", read}, Stdout: &out})
	if code != 0 || err != nil || out.String() != confined {
		t.Errorf("a command has the profile %q, want %q: %d, %v", out.String(), confined, code, err)
	}
}
