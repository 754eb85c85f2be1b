package runtime

import (
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"navarch.dev/navarch/agent/userns"
)

// The kernel is not to translate the owners of files twice.
func TestMountsOfOwnUsersAreNotMapped(t *testing.T) {
	b := &specBuilder{pod: &pod{spec: SandboxSpec{Users: &userns.Range{First: userns.Unit, Length: userns.Unit}}}}
	b.spec.Mounts = []Mount{{ContainerPath: "/image/", OwnUsers: true}, {ContainerPath: "/folder"}}
	mounts := []specs.Mount{b.spec.Mounts[0].oci(), b.spec.Mounts[1].oci()}
	b.mapUsers(mounts)
	if got := mounts[0].UIDMappings; len(got) != 0 {
		t.Errorf("mappings of what belongs to the pod's users: %v", got)
	}
	if got := mounts[1].UIDMappings; len(got) != 1 {
		t.Errorf("mappings of what belongs to the node's users: %v", got)
	}
}
