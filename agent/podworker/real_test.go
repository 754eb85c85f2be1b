package podworker

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/agent/network"
	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/runtime/runtimetest"
	"navarch.dev/navarch/agent/userns"
	"navarch.dev/navarch/internal/client"
)

// insideVar says that the test process has namespaces of its own.
const insideVar = "NAVARCH_TEST_OWN_NAMESPACES"

// TestMain runs the tests again in a network and a mount namespace of their
// own, where pods can be connected without a trace on the host.
func TestMain(m *testing.M) {
	if os.Getenv(insideVar) != "" || os.Getuid() != 0 {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVar+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS}
	if err := cmd.Run(); err != nil {
		os.Exit(1)
	}
}

// plainImages has one image: a folder with busybox.
type plainImages struct {
	fakeImages
	rootfs string
}

func (p plainImages) Mount(context.Context, string, string, *userns.Range) (image.RootFS, error) {
	return image.RootFS{Path: p.rootfs, Config: v1.Config{Env: []string{"PATH=/bin"}}}, nil
}

// newRealBench is newBench with runc and CNI in place of fakes.
func newRealBench(t *testing.T) *bench {
	t.Helper()
	cfg := runtimetest.Config(t)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, cancel := context.WithCancel(context.Background())
	var manager *Manager
	cfg.OnEvent = func(e runtime.Event) { manager.RuntimeEvent(e) }
	net, err := network.New(network.Config{
		ClusterID: "real", NodeName: "n1", StateDir: filepath.Join(t.TempDir(), "network"),
		BinDir: filepath.Join(runtimetest.BinDir(t), "cni"), NodeIP: netip.MustParseAddr("127.0.0.1"),
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := net.SetPodCIDRs(ctx, []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}); err != nil {
		t.Fatal(err)
	}
	rt := runtimetest.Open(t, cfg)
	b := newStoreBench(t)
	b.manager = b.newManager(ctx, rt, plainImages{rootfs: runtimetest.RootFS(t)}, net)
	manager = b.manager
	done := make(chan struct{})
	go func() { defer close(done); _ = manager.Run(ctx) }()
	b.stop = func() { cancel(); <-done }
	t.Cleanup(b.stop)
	return b
}

func TestRealPod(t *testing.T) {
	b := newRealBench(t)
	begun := time.Now()
	pod := b.pod("real", func(p *corev1.Pod) {
		p.Spec.Containers[0].Command = []string{"sh", "-c", "cat /etc/hosts; echo $MY_IP; trap 'exit 0' TERM; while true; do sleep 1; done"}
	})
	b.until("real", "ready", isReady)
	t.Logf("create to ready: %v", time.Since(begun))
	if err := b.client.Delete(t.Context(), pod, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("real", "gone", isGone)
	t.Logf("create to gone: %v", time.Since(begun))
}
