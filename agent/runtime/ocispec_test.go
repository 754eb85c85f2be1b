package runtime

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"navarch.dev/navarch/agent/shim"
	"navarch.dev/navarch/agent/userns"
)

// TestUsersOfSpecs: with users of its own a container joins their namespace and the
// network namespace in it, and all that comes from the node is translated for them.
func TestUsersOfSpecs(t *testing.T) {
	users := &userns.Range{First: 3 * userns.Unit, Length: userns.Unit}
	mapping := []specs.LinuxIDMapping{{ContainerID: 0, HostID: users.First, Size: users.Length}}
	tests := []struct {
		name       string
		sandbox    SandboxSpec
		namespaces []string
		mapping    []specs.LinuxIDMapping
	}{
		{"the node's users", SandboxSpec{NetNSPath: "/netns"},
			[]string{"mount", "network=/netns", "uts=/proc/7/ns/uts", "ipc=/proc/7/ns/ipc", "pid"}, nil},
		{"its own", SandboxSpec{Users: users},
			[]string{"mount", "user=/proc/7/ns/user", "network=/proc/7/ns/net", "uts=/proc/7/ns/uts", "ipc=/proc/7/ns/ipc", "pid"}, mapping},
		{"its own, and processes of the pod's", SandboxSpec{Users: users, ShareProcessNamespace: true},
			[]string{"mount", "user=/proc/7/ns/user", "network=/proc/7/ns/net", "uts=/proc/7/ns/uts", "ipc=/proc/7/ns/ipc", "pid=/proc/7/ns/pid"}, mapping},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := specBuilder{
				cgroups: &cgroups{},
				pod:     &pod{spec: tt.sandbox, identity: shim.Identity{Pause: shim.ProcessID{Pid: 7}}},
				spec:    ContainerSpec{Command: []string{"/app"}, RootFS: t.TempDir(), Mounts: []Mount{{HostPath: "/src", ContainerPath: "/dst"}}},
			}
			spec, err := b.build()
			if err != nil {
				t.Fatal(err)
			}
			var namespaces []string
			for _, n := range spec.Linux.Namespaces {
				namespaces = append(namespaces, strings.TrimSuffix(string(n.Type)+"="+n.Path, "="))
			}
			if diff := cmp.Diff(tt.namespaces, namespaces); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([][]specs.LinuxIDMapping{tt.mapping, tt.mapping}, [][]specs.LinuxIDMapping{spec.Linux.UIDMappings, spec.Linux.GIDMappings}); diff != "" {
				t.Error(diff)
			}
			for _, mount := range spec.Mounts {
				want := tt.mapping
				if mount.Type != "bind" {
					want = nil // it is the namespace's own
				}
				if !slices.Equal(mount.UIDMappings, want) || !slices.Equal(mount.GIDMappings, want) {
					t.Errorf("the mount of %s is translated by %v, %v, want %v", mount.Destination, mount.UIDMappings, mount.GIDMappings, want)
				}
			}
		})
	}
}
