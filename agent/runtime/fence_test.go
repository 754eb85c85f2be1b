package runtime_test

import (
	"errors"
	"math"
	"path/filepath"
	"testing"
	"time"

	"navarch.dev/navarch/agent/fence"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/runtime/runtimetest"
	"navarch.dev/navarch/agent/shim"
)

// forEver is a time at which a fence is renewed that no test waits out.
const forEver = time.Duration(math.MaxInt64 / 2)

// fencedNode has a sandbox under a fence of the test's.
func fencedNode(t *testing.T) (*node, *fence.Fence) {
	t.Helper()
	cfg := runtimetest.Config(t)
	cfg.FencePath = filepath.Join(t.TempDir(), "fence")
	f, err := fence.Open(cfg.FencePath, true)
	if err != nil {
		t.Fatal(err)
	}
	f.Renew(forEver)
	return startNode(t, cfg, runtime.SandboxSpec{Fence: &runtime.Fence{After: time.Second, Grace: time.Millisecond}}), f
}

// The shim alone ends what runs under a closed fence: all processes, also those
// that have left the main one's session and ignore signals.
func TestFenceClosesOverContainers(t *testing.T) {
	n, f := fencedNode(t)
	spec := n.spec("stubborn", "trap '' TERM; (trap '' TERM; setsid sleep 1000000) & sleep 1000000")
	id := n.start(spec)
	other := n.spec("created", "exit 0")
	if err := n.CreateContainer(t.Context(), podUID, other); err != nil {
		t.Fatal(err)
	}
	f.Lift()
	f.Renew(fence.Now()) // a second from now it closes, and the agent does no more
	if err := n.FenceSandbox(t.Context(), podUID, &runtime.Fence{After: time.Second, Grace: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	status := waitExit(t, n, id)
	if status.Reason != shim.ReasonFenced || status.Signal != 9 {
		t.Errorf("it ended with reason %q by signal %d", status.Reason, status.Signal)
	}
	if usage, err := n.ContainerUsage(t.Context(), id); err == nil && usage.Pids != 0 {
		t.Errorf("%d processes are left", usage.Pids)
	}
	if err := n.CreateContainer(t.Context(), podUID, n.spec("next", "exit 0")); !errors.Is(err, runtime.ErrFenced) {
		t.Errorf("create under a closed fence: %v", err)
	}
	if err := n.StartContainer(t.Context(), other.ID); err == nil {
		t.Error("a container was started under a closed fence")
	}
	f.Renew(forEver)
	compareExit(t, n.run(n.spec("after", "exit 3")), runtime.ContainerStatus{ExitCode: 3, Reason: runtime.ReasonError})
}

// A sandbox that an agent made without fences can be put under one, also by the
// next agent, and closed for good.
func TestSandboxIsPutUnderAFence(t *testing.T) {
	cfg := runtimetest.Config(t)
	cfg.FencePath = filepath.Join(t.TempDir(), "fence")
	n := startNode(t, cfg, runtime.SandboxSpec{})
	id := n.start(n.spec("main", "sleep 1000000"))
	f := &runtime.Fence{After: time.Second, Grace: time.Millisecond}
	if err := n.FenceSandbox(t.Context(), podUID, f); err == nil {
		t.Error("a fence that is not there was taken")
	}
	file, err := fence.Open(cfg.FencePath, true)
	if err != nil {
		t.Fatal(err)
	}
	file.Renew(forEver)
	for _, f := range []*runtime.Fence{f, nil, f, {After: -forEver - forEver}} {
		if err := n.FenceSandbox(t.Context(), podUID, f); err != nil {
			t.Fatal(err)
		}
	}
	if status := waitExit(t, n, id); status.Reason != shim.ReasonFenced {
		t.Errorf("it ended with reason %q", status.Reason)
	}
	if err := n.FenceSandbox(t.Context(), "nobody", f); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("a sandbox that is not there: %v", err)
	}
}
