package runtime

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestLimits(t *testing.T) {
	r := Resources{CPUShares: 512, CPUQuota: 150_000, MemoryLimit: 1 << 20, PidsLimit: 9}
	const cpu = `"cpu": {"shares": 512, "quota": 150000, "period": 100000}, "pids": {"limit": 9}`
	tests := []struct {
		name   string
		cgroup cgroups
		limits Resources
		want   string
	}{
		{"version 1", cgroups{}, r, `{` + cpu + `, "memory": {"limit": 1048576}}`},
		{"version 1 with swap", cgroups{swap: true}, r, `{` + cpu + `, "memory": {"limit": 1048576, "swap": 1048576}}`},
		{"version 1 without limits", cgroups{swap: true}, Resources{}, `{}`},
		{"version 2", cgroups{unified: "/c"}, r, `{` + cpu + `, "memory": {"limit": 1048576}, "unified": {"memory.oom.group": "1"}}`},
		{"version 2 without limits", cgroups{unified: "/c", swap: true, hugePages: []string{"2MB"}}, Resources{},
			`{"hugepageLimits": [{"pageSize": "2MB", "limit": 0}], "unified": {"memory.oom.group": "1", "memory.swap.max": "0"}}`},
	}
	for _, tt := range tests {
		var want specs.LinuxResources
		if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&want, tt.cgroup.oci(tt.limits)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestLimitsOfVersion2: what a pod's cgroup is set to, with the CPU weights of
// kubelets.
func TestLimitsOfVersion2(t *testing.T) {
	dir := t.TempDir()
	c := &cgroups{unified: dir}
	if err := os.Mkdir(filepath.Join(dir, "pod"), 0o755); err != nil {
		t.Fatal(err)
	}
	files := func(r Resources) map[string]string {
		t.Helper()
		names := []string{"cpu.weight", "cpu.max", "memory.max", "pids.max"}
		for _, name := range names { // which the kernel makes
			if err := os.WriteFile(filepath.Join(dir, "pod", name), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.limit("pod", r); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, name := range names {
			if text := readFile(filepath.Join(dir, "pod", name)); len(text) > 0 {
				got[name] = string(text)
			}
		}
		return got
	}
	for _, tt := range []struct {
		limits Resources
		want   map[string]string
	}{
		{Resources{}, map[string]string{}},
		{Resources{CPUShares: 2}, map[string]string{"cpu.weight": "1"}},
		{Resources{CPUShares: 1024, CPUQuota: 50_000, MemoryLimit: 4096, PidsLimit: 7},
			map[string]string{"cpu.weight": "39", "cpu.max": "50000 100000", "memory.max": "4096", "pids.max": "7"}},
		{Resources{CPUShares: 1 << 30}, map[string]string{"cpu.weight": "10000"}},
	} {
		if diff := cmp.Diff(tt.want, files(tt.limits)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.limits, diff)
		}
	}
}

func TestHugePages(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cgroup.controllers")
	if err := os.WriteFile(file, []byte("cpu memory pids\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := hugePages(file); got != nil {
		t.Errorf("without the controller: %v", got)
	}
}

// TestCgroupNamespace: in version 2 containers see their own cgroup as the root, but
// for privileged ones, which see what the node sees.
func TestCgroupNamespace(t *testing.T) {
	for _, tt := range []struct {
		name       string
		cgroups    cgroups
		privileged bool
		want       bool
	}{
		{"version 1", cgroups{}, false, false},
		{"version 2", cgroups{unified: "/c"}, false, true},
		{"version 2, privileged", cgroups{unified: "/c"}, true, false},
	} {
		b := specBuilder{cgroups: &tt.cgroups, pod: &pod{}, spec: ContainerSpec{Security: Security{Privileged: tt.privileged}}}
		if got := slices.Contains(b.namespaces(), specs.LinuxNamespace{Type: specs.CgroupNamespace}); got != tt.want {
			t.Errorf("%s: a namespace of its own: %t", tt.name, got)
		}
	}
}
