package agent

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"navarch.dev/navarch/agent/runtime/runtimetest"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
	"navarch.dev/navarch/services/store/auth"
	"navarch.dev/navarch/services/store/storetest"
)

// insideVar says that the test process has namespaces of its own.
const insideVar = "NAVARCH_TEST_OWN_NAMESPACES"

// TestMain runs the tests again in a network and a mount namespace of their
// own, so that nothing of an agent can be left on the host.
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

// cluster is a Store with one node whose agent is real.
type cluster struct {
	t      *testing.T
	store  *storetest.Store
	client *client.Client
	cfg    Config
	tel    telemetry.Set
	pods   *client.Informer[*corev1.Pod]
	// changed is written to when a pod changes.
	changed chan struct{}
	node    nodev1.NodeServiceClient
	stop    func()
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	bin := runtimetest.BinDir(t)
	cfg := DefaultConfig()
	cfg.ClusterID, cfg.NodeName, cfg.NodeIP, cfg.DataDir = "t"+strings.ToLower(filepath.Base(t.TempDir())), "n1", "127.0.0.1", t.TempDir()
	cfg.CNIBinDir, cfg.CNIConfDir = filepath.Join(bin, "cni"), ""
	cfg.BinDir = t.TempDir()
	for program, path := range map[string]string{"runc": filepath.Join(bin, "runc"), "navarch-shim": runtimetest.BuildShim(t)} {
		if err := os.Symlink(path, filepath.Join(cfg.BinDir, program)); err != nil {
			t.Fatal(err)
		}
	}
	// The agent may do what a node's agent may, and no more.
	s := storetest.New(t, storetest.WithControl(auth.New(auth.DefaultConfig())))
	c := &cluster{t: t, store: s, client: s.Client(storetest.Admin()), cfg: cfg, tel: telemetry.Discard("agent"), changed: make(chan struct{}, 1)}
	c.follow()
	t.Cleanup(c.purge)
	c.start()
	c.load("test.local/busybox:1")
	return c
}

func (c *cluster) follow() {
	var err error
	if c.pods, err = client.NewInformer[*corev1.Pod](c.client, client.InformerOptions{}); err != nil {
		c.t.Fatal(err)
	}
	notify := func() {
		select {
		case c.changed <- struct{}{}:
		default:
		}
	}
	c.pods.AddHandler(client.Handler[*corev1.Pod]{
		OnAdd: func(*corev1.Pod) { notify() }, OnUpdate: func(_, _ *corev1.Pod) { notify() }, OnDelete: func(*corev1.Pod) { notify() },
	})
	ctx, cancel := context.WithCancel(context.Background())
	go c.pods.Run(ctx)
	c.t.Cleanup(cancel)
}

// start starts an agent and gives its node a pod CIDR, as the controller does.
func (c *cluster) start() {
	c.t.Helper()
	a, err := New(c.cfg, telemetry.Discard("agent"), c.store.Conn(identity.Node("n1")))
	if err != nil {
		c.t.Fatal(err)
	}
	ch := &inprocgrpc.Channel{}
	ch.WithServerUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		return h(identity.NewContext(ctx, identity.Service(identity.Gateway)), req)
	})
	ch.WithServerStreamInterceptor(func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
		return h(srv, gatewayStream{s})
	})
	a.Register(ch)
	c.node = nodev1.NewNodeServiceClient(ch)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.Run(ctx); err != nil {
			c.t.Errorf("the agent ended: %v", err)
		}
	}()
	c.stop = func() { cancel(); <-done }
	c.giveCIDR(a)
}

type gatewayStream struct{ grpc.ServerStream }

func (s gatewayStream) Context() context.Context {
	return identity.NewContext(s.ServerStream.Context(), identity.Service(identity.Gateway))
}

func (c *cluster) giveCIDR(a *Agent) {
	c.t.Helper()
	select {
	case <-a.nodes.Synced(): // the node is registered
	case <-time.After(20 * time.Second):
		c.t.Fatal("the agent did not register its node")
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	err := c.client.RetryOnConflict(c.t.Context(), node, func() bool {
		node.Spec.PodCIDR, node.Spec.PodCIDRs = "10.244.1.0/24", []string{"10.244.1.0/24"}
		return true
	}, func(ctx context.Context, obj kinds.Object) error { return c.client.Update(ctx, obj) })
	if err != nil {
		c.t.Fatal(err)
	}
	select {
	case <-a.network.Ready():
	case <-time.After(20 * time.Second):
		c.t.Fatal("the network never became ready")
	}
}

// purge stops the agent and checks that Purge leaves nothing.
func (c *cluster) purge() {
	c.stop()
	if err := Purge(context.Background(), c.cfg, c.tel); err != nil {
		c.t.Errorf("purge: %v", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		c.t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, c.cfg.DataDir) {
			c.t.Errorf("a mount is left: %s", line)
		}
	}
	links, err := net.Interfaces()
	if err != nil {
		c.t.Error(err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Name, "nb") || strings.HasPrefix(l.Name, "veth") {
			c.t.Errorf("the link %s is left", l.Name)
		}
	}
	left, _ := filepath.Glob("/sys/fs/cgroup/*/" + c.cfg.cgroup())
	if len(left) > 0 {
		c.t.Errorf("cgroups are left: %v", left)
	}
}

// load gives the node an image of the test's busybox.
func (c *cluster) load(ref string) {
	c.t.Helper()
	stream, err := c.node.LoadImage(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	b := imageTar(c.t, ref, runtimetest.RootFS(c.t))
	for len(b) > 0 {
		n := min(len(b), 1<<20)
		if err := stream.Send(&nodev1.LoadImageRequest{Data: b[:n]}); err != nil {
			break // the answer says why
		}
		b = b[n:]
	}
	if _, err := stream.CloseAndRecv(); err != nil {
		c.t.Fatalf("load an image: %v", err)
	}
}

func imageTar(t *testing.T, ref, rootfs string) []byte {
	t.Helper()
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	if err := w.AddFS(os.DirFS(rootfs)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		Architecture: "amd64", OS: "linux", Config: v1.Config{Env: []string{"PATH=/bin"}},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: diffIDs(t, layer)},
	})
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := tarball.Write(tag, img, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func diffIDs(t *testing.T, l v1.Layer) []v1.Hash {
	t.Helper()
	id, err := l.DiffID()
	if err != nil {
		t.Fatal(err)
	}
	return []v1.Hash{id}
}

// run creates a pod with a shell command on the node.
func (c *cluster) run(name, script string, with func(*corev1.Pod)) *corev1.Pod {
	c.t.Helper()
	grace := int64(2)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{
			NodeName: "n1", TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{Name: "main", Image: "test.local/busybox:1", Command: []string{"sh", "-c", script}}},
		},
	}
	if with != nil {
		with(pod)
	}
	if err := c.client.Create(c.t.Context(), pod); err != nil {
		c.t.Fatal(err)
	}
	return pod
}

func (c *cluster) until(name, what string, cond func(*corev1.Pod) bool) *corev1.Pod {
	c.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		pod, ok := c.pods.Get("default", name)
		if !ok {
			pod = nil
		}
		if cond(pod) {
			return pod
		}
		select {
		case <-c.changed:
		case <-deadline:
			c.t.Fatalf("pod %s never became %s: %+v", name, what, pod)
		}
	}
}

func ready(p *corev1.Pod) bool {
	if p == nil {
		return false
	}
	for _, cond := range p.Status.Conditions {
		if cond.Type == corev1.PodReady {
			return cond.Status == corev1.ConditionTrue
		}
	}
	return false
}

func gone(p *corev1.Pod) bool { return p == nil }

const forever = "trap 'exit 0' TERM; while true; do sleep 0.1; done"

// logs follows a pod's log until it has a number of lines.
func (c *cluster) logs(pod string, lines int) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	stream, err := c.node.Logs(ctx, &nodev1.LogsRequest{Namespace: "default", Pod: pod, Follow: true})
	if err != nil {
		c.t.Fatal(err)
	}
	var out []byte
	for bytes.Count(out, []byte("\n")) < lines {
		resp, err := stream.Recv()
		if err != nil {
			c.t.Fatalf("after %q: %v", out, err)
		}
		out = append(out, resp.GetData()...)
	}
	return string(out)
}

func TestPodFromCreateToDelete(t *testing.T) {
	c := newCluster(t)
	pod := c.run("web", "echo hello from $NAME at $IP; hostname; "+forever, func(p *corev1.Pod) {
		field := func(path string) *corev1.EnvVarSource {
			return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
		}
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "NAME", ValueFrom: field("metadata.name")}, {Name: "IP", ValueFrom: field("status.podIP")}}
	})
	got := c.until("web", "ready", ready)
	ip, err := netip.ParseAddr(got.Status.PodIP)
	if err != nil || !netip.MustParsePrefix("10.244.1.0/24").Contains(ip) {
		t.Errorf("pod IP = %q", got.Status.PodIP)
	}
	want := "hello from web at " + got.Status.PodIP + "\nweb\n"
	if log := c.logs("web", 2); log != want {
		t.Errorf("logs = %q, want %q", log, want)
	}
	if err := c.client.Delete(t.Context(), pod, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("web", "gone", gone)
}

func TestVolumesHooksAndProbes(t *testing.T) {
	c := newCluster(t)
	if err := c.client.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "conf"}, Data: map[string]string{"key": "value"},
	}); err != nil {
		t.Fatal(err)
	}
	c.run("full", "cat /conf/key /shared/init; touch /tmp/live; "+forever, func(p *corev1.Pod) {
		mounts := []corev1.VolumeMount{{Name: "shared", MountPath: "/shared"}, {Name: "conf", MountPath: "/conf"}}
		p.Spec.Volumes = []corev1.Volume{
			{Name: "shared", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "conf", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}}}},
		}
		p.Spec.InitContainers = []corev1.Container{{
			Name: "init", Image: p.Spec.Containers[0].Image, Command: []string{"sh", "-c", "echo made > /shared/init"}, VolumeMounts: mounts,
		}}
		main := &p.Spec.Containers[0]
		main.VolumeMounts = mounts
		main.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"touch", "/tmp/hook"}}}}
		main.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"ls", "/tmp/live", "/tmp/hook"}}}}
	})
	c.until("full", "ready", ready)
	if got := c.logs("full", 1); got != "valuemade\n" {
		t.Errorf("logs = %q", got)
	}
}

func TestAgentThatIsReplaced(t *testing.T) {
	c := newCluster(t)
	c.run("kept", forever, nil)
	before := c.until("kept", "ready", ready)
	c.run("ends", "sleep 1; exit 5", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever })
	c.until("ends", "running", func(p *corev1.Pod) bool { return p != nil && p.Status.Phase == corev1.PodRunning })
	c.stop()
	c.start()
	ended := c.until("ends", "failed", func(p *corev1.Pod) bool { return p != nil && p.Status.Phase == corev1.PodFailed })
	if end := ended.Status.ContainerStatuses[0].State.Terminated; end == nil || end.ExitCode != 5 {
		t.Errorf("state = %+v", ended.Status.ContainerStatuses[0].State)
	}
	after := c.until("kept", "ready", ready)
	if after.Status.ContainerStatuses[0].ContainerID != before.Status.ContainerStatuses[0].ContainerID ||
		after.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("the container was replaced: %+v", after.Status.ContainerStatuses[0])
	}
}

func TestLivenessProbeRestarts(t *testing.T) {
	c := newCluster(t)
	c.run("sick", forever, func(p *corev1.Pod) {
		p.Spec.Containers[0].LivenessProbe = &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(1)}},
			PeriodSeconds: 1, FailureThreshold: 1,
		}
	})
	c.until("sick", "restarted", func(p *corev1.Pod) bool {
		return p != nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].RestartCount > 0
	})
}

func TestExecAndStats(t *testing.T) {
	c := newCluster(t)
	c.run("box", forever, nil)
	c.until("box", "ready", ready)
	stream, err := c.node.Exec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&nodev1.ExecRequest{Message: &nodev1.ExecRequest_Start{Start: &nodev1.ExecStart{
		Namespace: "default", Pod: "box", Command: []string{"sh", "-c", "echo out; exit 3"}, Stdout: true,
	}}}); err != nil {
		t.Fatal(err)
	}
	var out []byte
	for {
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, resp.GetStdout()...)
		if e := resp.GetExit(); e != nil {
			if e.GetExitCode() != 3 || string(out) != "out\n" {
				t.Errorf("exit = %v, output = %q", e, out)
			}
			break
		}
	}
	st, err := c.node.Stats(t.Context(), &nodev1.StatsRequest{})
	if err != nil || len(st.GetPods()) != 1 || st.GetPods()[0].GetUsage().GetCpuNanoseconds() == 0 {
		t.Errorf("stats = %v, %v", st, err)
	}
}
