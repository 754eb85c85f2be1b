package runtime_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/runtime/runtimetest"
)

func contextOfProcess() context.Context { return context.Background() }

// BenchmarkPod measures from nothing to a running container, and the removal
// apart from it.
func BenchmarkPod(b *testing.B) {
	r := runtimetest.Open(b, runtimetest.Config(b))
	rootfs, logs := runtimetest.RootFS(b), b.TempDir()
	for i := 0; b.Loop(); i++ {
		uid := strconv.Itoa(i)
		netns := filepath.Join(b.TempDir(), "netns")
		if err := runtime.NewNetNS(netns); err != nil {
			b.Fatal(err)
		}
		if err := r.CreateSandbox(b.Context(), runtime.SandboxSpec{UID: uid, Hostname: "h", NetNSPath: netns}); err != nil {
			b.Fatal(err)
		}
		spec := runtime.ContainerSpec{ID: "c" + uid, RootFS: rootfs, LogPath: filepath.Join(logs, uid), Command: []string{"/bin/sleep", "1000"}}
		if err := r.CreateContainer(b.Context(), uid, spec); err != nil {
			b.Fatal(err)
		}
		if err := r.StartContainer(b.Context(), spec.ID); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := r.RemoveSandbox(b.Context(), uid); err != nil {
			b.Fatal(err)
		}
		if err := runtime.DeleteNetNS(netns); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkRemovePod measures the removal of a running pod.
func BenchmarkRemovePod(b *testing.B) {
	r := runtimetest.Open(b, runtimetest.Config(b))
	rootfs := runtimetest.RootFS(b)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		uid := strconv.Itoa(i)
		if err := r.CreateSandbox(b.Context(), runtime.SandboxSpec{UID: uid}); err != nil {
			b.Fatal(err)
		}
		spec := runtime.ContainerSpec{ID: "c" + uid, RootFS: rootfs, Command: []string{"/bin/sleep", "1000"}}
		if err := r.CreateContainer(b.Context(), uid, spec); err != nil {
			b.Fatal(err)
		}
		if err := r.StartContainer(b.Context(), spec.ID); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := r.RemoveSandbox(b.Context(), uid); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRuncRun is the reference: runc alone, running a program that ends at once.
func BenchmarkRuncRun(b *testing.B) {
	runc := filepath.Join(runtimetest.BinDir(b), "runc")
	bundle := b.TempDir()
	if output, err := exec.Command(runc, "spec", "--bundle", bundle).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, output)
	}
	path := filepath.Join(bundle, "config.json")
	data, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		b.Fatal(err)
	}
	spec.Root.Path, spec.Process.Args, spec.Process.Terminal = runtimetest.RootFS(b), []string{"/bin/true"}, false
	spec.Linux.CgroupsPath = "/navarch/bench-" + strconv.Itoa(os.Getpid())
	if data, err = json.Marshal(spec); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
	root := b.TempDir()
	for i := 0; b.Loop(); i++ {
		if output, err := exec.Command(runc, "--root", root, "run", "--bundle", bundle, "c"+strconv.Itoa(i)).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, output)
		}
	}
}
