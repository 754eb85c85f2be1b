// Package driver is a driver of devices, as small as one can be: it speaks the
// kubelet's API of dynamic resource allocation, publishes devices, and prepares
// claims by specifications of the Container Device Interface. Each device that a
// container gets is a variable in its environment and a file below /devices.
package driver

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	healthv1 "k8s.io/kubelet/pkg/apis/dra-health/v1"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
	registrationv1 "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"k8s.io/client-go/kubernetes"
)

// Config says whose devices the driver has.
type Config struct {
	// Name is the driver's, Node that of its node.
	Name, Node string
	// RegistryDir is where it registers, CDIDir where it specifies devices.
	RegistryDir, CDIDir string
	Client              kubernetes.Interface
}

// Driver is a running driver.
type Driver struct {
	drav1.UnimplementedDRAPluginServer
	registrationv1.UnimplementedRegistrationServer
	healthv1.UnimplementedDRAResourceHealthServer
	cfg     Config
	servers []*grpc.Server
	serving sync.WaitGroup

	mu sync.Mutex // guards all below
	// prepared are the claims that are prepared, by UID; calls counts the calls that
	// prepared them.
	prepared map[string]bool
	calls    int
	status   *registrationv1.RegistrationStatus
	failing  string
	// health is what it says of its devices, told is closed when that changes.
	health *healthv1.NodeWatchResourcesResponse
	told   chan struct{}
}

// Start serves the driver's sockets.
func Start(cfg Config) (*Driver, error) {
	d := &Driver{cfg: cfg, prepared: map[string]bool{}, told: make(chan struct{})}
	for path, register := range map[string]func(*grpc.Server){
		d.endpoint(): func(s *grpc.Server) {
			drav1.RegisterDRAPluginServer(s, d)
			healthv1.RegisterDRAResourceHealthServer(s, d)
		},
		filepath.Join(cfg.RegistryDir, cfg.Name+"-reg.sock"): func(s *grpc.Server) { registrationv1.RegisterRegistrationServer(s, d) },
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			return nil, err
		}
		listener, err := net.Listen("unix", path)
		if err != nil {
			d.Stop()
			return nil, err
		}
		s := grpc.NewServer()
		register(s)
		d.servers = append(d.servers, s)
		d.serving.Go(func() { _ = s.Serve(listener) }) // it ends with Stop
	}
	return d, nil
}

// Node is the name of the driver's node.
func (d *Driver) Node() string { return d.cfg.Node }

// endpoint is the socket on which claims are prepared. It is not in the registry.
func (d *Driver) endpoint() string {
	return filepath.Join(filepath.Dir(d.cfg.RegistryDir), "plugins", d.cfg.Name, "dra.sock")
}

// Stop ends the driver as a program's end does: its sockets go.
func (d *Driver) Stop() {
	for _, s := range d.servers {
		s.Stop()
	}
	d.serving.Wait()
}

// Publish makes the devices of the node known.
func (d *Driver) Publish(ctx context.Context, names ...string) error {
	slice := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: d.cfg.Node + "-" + d.cfg.Name}, Spec: resourcev1.ResourceSliceSpec{
		Driver: d.cfg.Name, NodeName: &d.cfg.Node, Pool: resourcev1.ResourcePool{Name: d.cfg.Node, Generation: 1, ResourceSliceCount: 1},
	}}
	for _, name := range names {
		slice.Spec.Devices = append(slice.Spec.Devices, resourcev1.Device{Name: name})
	}
	_, err := d.cfg.Client.ResourceV1().ResourceSlices().Create(ctx, slice, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// Fail makes the driver refuse to prepare anything, with a message; empty makes it
// work again.
func (d *Driver) Fail(message string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failing = message
}

// Say tells that devices of the node are unhealthy, and why.
func (d *Driver) Say(message string, names ...string) {
	said := &healthv1.NodeWatchResourcesResponse{}
	for _, name := range names {
		said.Devices = append(said.Devices, &healthv1.DeviceHealth{
			Device: &healthv1.DeviceIdentifier{PoolName: d.cfg.Node, DeviceName: name},
			Health: healthv1.HealthStatus_UNHEALTHY, Message: message, HealthCheckTimeoutSeconds: 3600,
		})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.health = said
	close(d.told)
	d.told = make(chan struct{})
}

// NodeWatchResources implements healthv1.DRAResourceHealthServer.
func (d *Driver) NodeWatchResources(_ *healthv1.NodeWatchResourcesRequest, stream healthv1.DRAResourceHealth_NodeWatchResourcesServer) error {
	for {
		d.mu.Lock()
		said, told := d.health, d.told
		d.mu.Unlock()
		if said != nil {
			if err := stream.Send(said); err != nil {
				return err
			}
		}
		select {
		case <-told:
		case <-stream.Context().Done():
			return nil
		}
	}
}

// Prepared returns the UIDs of the claims that are prepared, and how many calls
// have prepared claims.
func (d *Driver) Prepared() (uids []string, calls int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for uid := range d.prepared {
		uids = append(uids, uid)
	}
	slices.Sort(uids)
	return uids, d.calls
}

// Status is what the driver was told of its registration; nil before that.
func (d *Driver) Status() *registrationv1.RegistrationStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status
}

// GetInfo implements registrationv1.RegistrationServer.
func (d *Driver) GetInfo(context.Context, *registrationv1.InfoRequest) (*registrationv1.PluginInfo, error) {
	return &registrationv1.PluginInfo{
		Type: registrationv1.DRAPlugin, Name: d.cfg.Name, Endpoint: d.endpoint(), SupportedVersions: []string{drav1.DRAPluginService, healthv1.DRAResourceHealthService},
	}, nil
}

// NotifyRegistrationStatus implements registrationv1.RegistrationServer.
func (d *Driver) NotifyRegistrationStatus(_ context.Context, s *registrationv1.RegistrationStatus) (*registrationv1.RegistrationStatusResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status = s
	return &registrationv1.RegistrationStatusResponse{}, nil
}

// NodePrepareResources implements drav1.DRAPluginServer.
func (d *Driver) NodePrepareResources(ctx context.Context, r *drav1.NodePrepareResourcesRequest) (*drav1.NodePrepareResourcesResponse, error) {
	out := &drav1.NodePrepareResourcesResponse{Claims: map[string]*drav1.NodePrepareResourceResponse{}}
	for _, c := range r.GetClaims() {
		devices, err := d.prepare(ctx, c)
		answer := &drav1.NodePrepareResourceResponse{Devices: devices}
		if err != nil {
			answer.Error = err.Error()
		}
		out.Claims[c.GetUid()] = answer
	}
	return out, nil
}

func (d *Driver) prepare(ctx context.Context, c *drav1.Claim) ([]*drav1.Device, error) {
	d.mu.Lock()
	failing := d.failing
	d.mu.Unlock()
	if failing != "" {
		return nil, fmt.Errorf("%s", failing)
	}
	claim, err := d.cfg.Client.ResourceV1().ResourceClaims(c.GetNamespace()).Get(ctx, c.GetName(), metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if string(claim.UID) != c.GetUid() || claim.Status.Allocation == nil {
		return nil, fmt.Errorf("the claim is another, or has no devices")
	}
	var devices []*drav1.Device
	var specs []map[string]any
	for _, r := range claim.Status.Allocation.Devices.Results {
		if r.Driver != d.cfg.Name {
			continue
		}
		name := c.GetUid() + "-" + r.Device
		file := filepath.Join(d.cfg.CDIDir, name+".txt")
		if err := os.WriteFile(file, []byte("this is "+r.Device+"\n"), 0o644); err != nil {
			return nil, err
		}
		specs = append(specs, map[string]any{"name": name, "containerEdits": map[string]any{
			"env":    []string{"DEVICE_" + strings.ToUpper(strings.ReplaceAll(r.Device, "-", "_")) + "=" + r.Request},
			"mounts": []map[string]any{{"hostPath": file, "containerPath": "/devices/" + r.Device, "options": []string{"ro", "bind"}}},
		}})
		devices = append(devices, &drav1.Device{RequestNames: []string{r.Request}, PoolName: r.Pool, DeviceName: r.Device, CdiDeviceIds: []string{d.cfg.Name + "/device=" + name}})
	}
	spec, err := json.Marshal(map[string]any{"cdiVersion": "0.6.0", "kind": d.cfg.Name + "/device", "devices": specs})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(d.spec(c.GetUid()), spec, 0o644); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.prepared[c.GetUid()] = true
	d.calls++
	return devices, nil
}

func (d *Driver) spec(uid string) string {
	return filepath.Join(d.cfg.CDIDir, d.cfg.Name+"-"+uid+".json")
}

// NodeUnprepareResources implements drav1.DRAPluginServer.
func (d *Driver) NodeUnprepareResources(_ context.Context, r *drav1.NodeUnprepareResourcesRequest) (*drav1.NodeUnprepareResourcesResponse, error) {
	out := &drav1.NodeUnprepareResourcesResponse{Claims: map[string]*drav1.NodeUnprepareResourceResponse{}}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range r.GetClaims() {
		delete(d.prepared, c.GetUid())
		files, _ := filepath.Glob(filepath.Join(d.cfg.CDIDir, c.GetUid()+"-*.txt")) // the pattern is well-formed
		for _, file := range append(files, d.spec(c.GetUid())) {
			if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
				return nil, err
			}
		}
		out.Claims[c.GetUid()] = &drav1.NodeUnprepareResourceResponse{}
	}
	return out, nil
}
