package devices

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	healthv1 "k8s.io/kubelet/pkg/apis/dra-health/v1"
	healthv1alpha1 "k8s.io/kubelet/pkg/apis/dra-health/v1alpha1"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
	drav1beta1 "k8s.io/kubelet/pkg/apis/dra/v1beta1"
	registrationv1 "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/deviceclaim"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/store/storetest"
)

// plugin is a driver's side of the sockets.
type plugin struct {
	drav1.UnimplementedDRAPluginServer
	healthv1.UnimplementedDRAResourceHealthServer
	registrationv1.UnimplementedRegistrationServer
	info *registrationv1.PluginInfo

	mu     sync.Mutex
	calls  []string
	fail   string
	status chan *registrationv1.RegistrationStatus
	// health is what it says of its devices.
	health chan *healthv1.NodeWatchResourcesResponse
}

// NodeWatchResources implements healthv1.DRAResourceHealthServer.
func (p *plugin) NodeWatchResources(_ *healthv1.NodeWatchResourcesRequest, stream healthv1.DRAResourceHealth_NodeWatchResourcesServer) error {
	for {
		select {
		case said := <-p.health:
			if err := stream.Send(said); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (p *plugin) GetInfo(context.Context, *registrationv1.InfoRequest) (*registrationv1.PluginInfo, error) {
	return p.info, nil
}

func (p *plugin) NotifyRegistrationStatus(_ context.Context, s *registrationv1.RegistrationStatus) (*registrationv1.RegistrationStatusResponse, error) {
	p.status <- s
	return &registrationv1.RegistrationStatusResponse{}, nil
}

func (p *plugin) NodePrepareResources(_ context.Context, r *drav1.NodePrepareResourcesRequest) (*drav1.NodePrepareResourcesResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := r.GetClaims()[0]
	p.calls = append(p.calls, "prepare "+c.GetName())
	answer := &drav1.NodePrepareResourceResponse{Error: p.fail, Devices: []*drav1.Device{
		{RequestNames: []string{"gpu/big"}, PoolName: "p", DeviceName: "gpu", CdiDeviceIds: []string{"d.com/x=gpu"}},
		{RequestNames: []string{"nic"}, PoolName: "p", DeviceName: "nic", CdiDeviceIds: []string{"d.com/x=nic"}}, {CdiDeviceIds: []string{"d.com/x=all"}}}}
	return &drav1.NodePrepareResourcesResponse{Claims: map[string]*drav1.NodePrepareResourceResponse{c.GetUid(): answer}}, nil
}

func (p *plugin) NodeUnprepareResources(_ context.Context, r *drav1.NodeUnprepareResourcesRequest) (*drav1.NodeUnprepareResourcesResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := r.GetClaims()[0]
	p.calls = append(p.calls, "unprepare "+c.GetName())
	return &drav1.NodeUnprepareResourcesResponse{Claims: map[string]*drav1.NodeUnprepareResourceResponse{c.GetUid(): {Error: p.fail}}}, nil
}

// did returns the calls since the last time.
func (p *plugin) did() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	calls := strings.Join(p.calls, ", ")
	p.calls = nil
	return calls
}

func (p *plugin) failWith(message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail = message
}

// serve makes the plugin's socket, until stop is called.
func (p *plugin) serve(t *testing.T, path string) (stop func()) {
	t.Helper()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	if slices.Contains(p.info.GetSupportedVersions(), drav1beta1.DRAPluginService) {
		drav1beta1.RegisterDRAPluginServer(s, drav1beta1.V1ServerWrapper{DRAPluginServer: p})
	} else {
		drav1.RegisterDRAPluginServer(s, p)
	}
	if slices.Contains(p.info.GetSupportedVersions(), healthv1alpha1.DRAResourceHealthService) {
		healthv1alpha1.RegisterDRAResourceHealthServer(s, healthv1.V1ServerWrapper{Server: p})
	} else {
		healthv1.RegisterDRAResourceHealthServer(s, p)
	}
	registrationv1.RegisterRegistrationServer(s, p)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(listener) }() // it ends with Stop
	return func() { s.Stop(); <-done }
}

func newPlugin() *plugin {
	return &plugin{health: make(chan *healthv1.NodeWatchResourcesResponse), status: make(chan *registrationv1.RegistrationStatus, 4),
		info: &registrationv1.PluginInfo{Type: registrationv1.DRAPlugin, Name: "d.com", SupportedVersions: []string{drav1.DRAPluginService}}}
}

// node is a node's drivers and devices over a real Store.
type node struct {
	*client.Client
	t       *testing.T
	dir     string
	plugins *Plugins
	manager *Manager
	changed chan struct{}
	// reported are the drivers that had something to say of their devices.
	reported chan string
}

func newNode(t *testing.T) *node {
	t.Helper()
	dir, err := os.MkdirTemp("", "dra") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n := &node{Client: storetest.New(t).Client(storetest.Admin()), t: t, dir: dir, changed: make(chan struct{}, 16), reported: make(chan string, 16)}
	n.plugins = NewPlugins(filepath.Join(dir, "registry"), "n1", n.Client, func() { n.changed <- struct{}{} },
		func(driver string) { n.reported <- driver }, telemetry.Discard("agent").Log)
	if err := os.MkdirAll(n.plugins.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.plugins.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	n.restart()
	return n
}

// restart has a new manager find what the last one left.
func (n *node) restart() {
	n.t.Helper()
	var err error
	if n.manager, err = New(filepath.Join(n.dir, "claims"), n.Client, n.plugins); err != nil {
		n.t.Fatal(err)
	}
}

// await waits for the result of a registration.
func await(t *testing.T, p *plugin) *registrationv1.RegistrationStatus {
	t.Helper()
	select {
	case s := <-p.status:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("the plugin was not told of its registration")
		return nil
	}
}

func (n *node) pod(name string) *corev1.Pod {
	n.t.Helper()
	claim := "c"
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PodSpec{
		Containers:     []corev1.Container{{Name: "c", Image: "i"}},
		ResourceClaims: []corev1.PodResourceClaim{{Name: "mine", ResourceClaimName: &claim}},
	}}
	if err := n.Create(n.t.Context(), pod); err != nil {
		n.t.Fatal(err)
	}
	return pod
}

// claim makes the claim c, allocated and reserved for pods.
func (n *node) claim(pods ...*corev1.Pod) {
	n.t.Helper()
	c := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c"}, Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{
		Requests: []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "x"}}}}}}
	if err := n.Create(n.t.Context(), c); err != nil {
		n.t.Fatal(err)
	}
	c.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{
		Results: []resourcev1.DeviceRequestAllocationResult{{Request: "r", Driver: "d.com", Pool: "p", Device: "a"}}}}
	for _, p := range pods {
		c.Status.ReservedFor = append(c.Status.ReservedFor, deviceclaim.Consumer(p))
	}
	if err := n.UpdateStatus(n.t.Context(), c); err != nil {
		n.t.Fatal(err)
	}
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, not %q", what, got, want)
	}
}

func says(t *testing.T, what string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: %v, not %q", what, err, want)
	}
}

// A claim is prepared once for all its pods, and unprepared when the last has
// ended, whatever manager that is.
func TestClaimOfTwoPods(t *testing.T) {
	n := newNode(t)
	first, second, stranger := n.pod("first"), n.pod("second"), n.pod("stranger")
	says(t, "no claim", n.manager.Prepare(t.Context(), first), `"c" not found`)
	n.claim(first, second)
	says(t, "no driver", n.manager.Prepare(t.Context(), first), "claim c: DRA driver d.com is not registered")
	says(t, "the end of a pod that nothing was prepared for", n.manager.Unprepare(t.Context(), string(first.UID)), "")
	p := newPlugin()
	defer p.serve(t, filepath.Join(n.plugins.dir, "d.sock"))()
	if s := await(t, p); !s.GetPluginRegistered() {
		t.Fatal(s)
	}
	<-n.changed
	says(t, "a claim of others", n.manager.Prepare(t.Context(), stranger), "is not allowed to use ResourceClaim c")
	p.failWith("broken")
	says(t, "a driver that fails", n.manager.Prepare(t.Context(), first), "claim c: NodePrepareResources of d.com failed: broken")
	p.failWith("")
	for _, pod := range []*corev1.Pod{first, second, first} {
		says(t, "preparing", n.manager.Prepare(t.Context(), pod), "")
	}
	expect(t, "calls", p.did(), "prepare c, prepare c")
	n.restart()
	says(t, "preparing again", n.manager.Prepare(t.Context(), first), "")
	expect(t, "calls after a restart", p.did(), "")
	if got := n.manager.Pods(); len(got) != 2 {
		t.Errorf("something is prepared for %v", got)
	}
	for request, want := range map[string][]string{"": {"d.com/x=gpu", "d.com/x=nic", "d.com/x=all"}, "gpu": {"d.com/x=gpu", "d.com/x=all"}, "other": {"d.com/x=all"}} {
		c := &corev1.Container{Resources: corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "mine", Request: request}}}}
		if got, err := n.manager.CDIDevices(second, c); err != nil || !slices.Equal(got, want) {
			t.Errorf("for the request %q the container gets %v (%v), not %v", request, got, err, want)
		}
	}
	bySchedulersWord := second.DeepCopy()
	bySchedulersWord.Spec.ResourceClaims = nil
	bySchedulersWord.Status.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{ResourceClaimName: "c", RequestMappings: []corev1.ContainerExtendedResourceRequest{
		{ContainerName: "c", ResourceName: "example.com/gpu", RequestName: "gpu"}, {ContainerName: "other", ResourceName: "example.com/nic", RequestName: "nic"},
	}}
	for name, want := range map[string][]string{"c": {"d.com/x=gpu", "d.com/x=all"}, "d": nil} {
		c := &corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"example.com/gpu": resource.MustParse("1")}}}
		if got, err := n.manager.CDIDevices(bySchedulersWord, c); err != nil || !slices.Equal(got, want) {
			t.Errorf("for its extended resources container %s gets %v (%v), not %v", name, got, err, want)
		}
	}
	says(t, "the end of the first", n.manager.Unprepare(t.Context(), string(first.UID)), "")
	expect(t, "calls at the end of the first", p.did(), "")
	p.failWith("busy")
	says(t, "the end of the second", n.manager.Unprepare(t.Context(), string(second.UID)), "unprepare claim default/c: NodeUnprepareResources of d.com failed: busy")
	p.failWith("")
	n.restart()
	says(t, "the end of the second", n.manager.Unprepare(t.Context(), string(second.UID)), "")
	says(t, "its end again", n.manager.Unprepare(t.Context(), string(second.UID)), "")
	expect(t, "calls at the end of the second", p.did(), "unprepare c, unprepare c")
	n.restart()
	if got := n.manager.Pods(); len(got) != 0 {
		t.Errorf("something is prepared for %v", got)
	}
}

func TestRegistration(t *testing.T) {
	n := newNode(t)
	for name, c := range map[string]struct {
		change func(*registrationv1.PluginInfo)
		want   string
	}{
		"storage":    {func(i *registrationv1.PluginInfo) { i.Type = registrationv1.CSIPlugin }, `plugins of type "CSIPlugin" are not served by this node, only DRAPlugin`},
		"old":        {func(i *registrationv1.PluginInfo) { i.SupportedVersions = []string{"v0.DRAPlugin"} }, `none of the services ["v0.DRAPlugin"] is known here, only v1.DRAPlugin, v1beta1.DRAPlugin`},
		"of no name": {func(i *registrationv1.PluginInfo) { i.Name = "" }, "the driver has no name"},
	} {
		p := newPlugin()
		c.change(p.info)
		stop := p.serve(t, filepath.Join(n.plugins.dir, "x.sock"))
		if s := await(t, p); s.GetPluginRegistered() || s.GetError() != c.want {
			t.Errorf("%s: %v", name, s)
		}
		stop()
	}
	// A driver that is started again is called at its new socket.
	path := filepath.Join(n.plugins.dir, "d.sock")
	for range 2 {
		p := newPlugin()
		stop := p.serve(t, path)
		if s := await(t, p); !s.GetPluginRegistered() {
			t.Fatal(s)
		}
		<-n.changed
		driver, err := n.plugins.get("d.com")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := driver.NodePrepareResources(t.Context(), &drav1.NodePrepareResourcesRequest{Claims: []*drav1.Claim{{Name: "c", Uid: "u"}}}); err != nil {
			t.Error(err)
		}
		expect(t, "calls", p.did(), "prepare c")
		stop()
	}
}

// What a driver published that does not come back is removed, of its node only.
func TestWipe(t *testing.T) {
	n := newNode(t)
	for name, node := range map[string]string{"a": "n1", "b": "n2"} {
		s := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourcev1.ResourceSliceSpec{Driver: "gone.com", NodeName: &node,
			Pool: resourcev1.ResourcePool{Name: node, ResourceSliceCount: 1}}}
		if err := n.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	n.plugins.wipeStrangers(t.Context())
	var left resourcev1.ResourceSliceList
	if err := n.List(t.Context(), &left, client.ListOptions{}); err != nil || len(left.Items) != 1 || left.Items[0].Name != "b" {
		t.Errorf("what is left is %v (%v)", left.Items, err)
	}
}

func TestStateThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "u.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(dir, nil, nil); err == nil {
		t.Error("a broken file is ignored")
	}
}
