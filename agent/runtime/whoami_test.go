package runtime_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/runtime/runtimetest"
)

// What a container's status says of its user is what its first process sees, also
// to an agent that did not start it.
func TestUserIsNoted(t *testing.T) {
	cfg := runtimetest.Config(t)
	n := startNode(t, cfg, runtime.SandboxSpec{})
	spec := n.spec("app", "sleep 1000")
	spec.Image.User, spec.Security.SupplementalGroups = "app", []int64{3000}
	id := n.start(spec)
	want := &runtime.User{UID: 1000, GID: 1001, Groups: []uint32{1001, 2000, 3000}}
	for name, r := range map[string]runtime.Runtime{"this": n, "the next": runtimetest.Open(t, cfg)} {
		status, err := r.ContainerStatus(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, status.Spec.User); diff != "" {
			t.Errorf("to %s agent: %s", name, diff)
		}
	}
}
