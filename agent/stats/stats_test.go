package stats

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"navarch.dev/navarch/agent/runtime"
)

// burner is a node with one pod whose containers each use half a CPU, as long
// as they run.
type burner struct {
	runtime.Runtime
	started map[string]time.Time // by container ID
}

func (b burner) used(since time.Time) runtime.Usage {
	return runtime.Usage{CPUNanoseconds: uint64(time.Since(since)) / 2, MemoryWorkingSetBytes: 1 << 20}
}

func (b burner) NodeUsage(context.Context) (runtime.Usage, error) { return runtime.Usage{}, nil }

func (b burner) ListSandboxes(context.Context) ([]runtime.SandboxStatus, error) {
	return []runtime.SandboxStatus{{Ready: true, Spec: runtime.SandboxSpec{UID: "u", Namespace: "ns", Name: "p"}}}, nil
}

func (b burner) SandboxUsage(context.Context, string) (runtime.Usage, error) {
	return b.used(time.Time{}), nil
}

func (b burner) ListContainers(context.Context, string) ([]runtime.ContainerStatus, error) {
	var all []runtime.ContainerStatus
	for id := range b.started {
		all = append(all, runtime.ContainerStatus{Spec: runtime.ContainerSpec{ID: id, Name: id}, State: runtime.StateRunning})
	}
	return all, nil
}

func (b burner) ContainerUsage(_ context.Context, id string) (runtime.Usage, error) {
	return b.used(b.started[id]), nil
}

func TestUsageOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := burner{started: map[string]time.Time{"a": time.Now()}}
		r := New("n", b, func() (runtime.Usage, error) { return b.used(time.Time{}), nil })
		read := func(wait, took, window time.Duration) {
			t.Helper()
			time.Sleep(wait)
			start := time.Now()
			resp, err := r.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); d != took {
				t.Errorf("took %s, want %s", d, took)
			}
			for _, c := range resp.GetPods()[0].GetContainers() {
				if u := c.GetUsage(); u.GetCpuNanocores() != 500_000_000 || u.GetWindow().AsDuration() != window {
					t.Errorf("container %s uses %d nanocores over %s, want half a CPU over %s", c.GetName(), u.GetCpuNanocores(), u.GetWindow().AsDuration(), window)
				}
			}
		}
		read(time.Minute, firstWindow, firstWindow)   // nobody has looked before
		read(15*time.Second, 0, 15*time.Second)       // compared with that
		read(10*time.Second, 0, 25*time.Second)       // and again, for it is not too old
		read(2*time.Minute, firstWindow, firstWindow) // all looks are too old
		b.started["b"] = time.Now()                   // a container that no look knows
		read(10*time.Second, firstWindow, firstWindow)
		b.started["a"] = time.Now() // one that began anew
		read(10*time.Second, firstWindow, firstWindow)
		read(6*time.Second, 0, 6*time.Second)
	})
}
