package devices

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	healthv1 "k8s.io/kubelet/pkg/apis/dra-health/v1"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"

	"navarch.dev/navarch/internal/client"
)

// called checks that p is the instance that is called.
func (n *node) called(p *plugin, what string) {
	n.t.Helper()
	driver, err := n.plugins.get("d.com")
	if err != nil {
		n.t.Fatalf("%s: %v", what, err)
	}
	if _, err := driver.NodePrepareResources(n.t.Context(), &drav1.NodePrepareResourcesRequest{Claims: []*drav1.Claim{{Name: "c", Uid: "u"}}}); err != nil {
		n.t.Errorf("%s: %v", what, err)
	}
	expect(n.t, what, p.did(), "prepare c")
}

// start has an instance of the driver register.
func (n *node) start(name string) (*plugin, func()) {
	n.t.Helper()
	p := newPlugin()
	p.info.SupportedVersions = append(p.info.SupportedVersions, healthv1.DRAResourceHealthService)
	stop := p.serve(n.t, filepath.Join(n.plugins.dir, name))
	if s := await(n.t, p); !s.GetPluginRegistered() {
		n.t.Fatal(s)
	}
	<-n.changed
	return p, stop
}

func (n *node) healthIs(want string) bool {
	r := n.plugins.health.of(n.plugins.current("d.com").instance, deviceName{"p", "gpu"})
	return string(r.state) == want
}

// A driver may be updated by a new instance beside the old one: the new one is
// called, and if it fails, the old one again, whose word counts again.
func TestInstancesOfADriver(t *testing.T) {
	n := newNode(t)
	older, stopOlder := n.start("old.sock")
	defer stopOlder()
	older.health <- &healthv1.NodeWatchResourcesResponse{Devices: []*healthv1.DeviceHealth{
		{Device: &healthv1.DeviceIdentifier{PoolName: "p", DeviceName: "gpu"}, Health: healthv1.HealthStatus_HEALTHY, HealthCheckTimeoutSeconds: 3600}}}
	<-n.reported
	n.called(older, "alone")
	newer, stopNewer := n.start("new.sock")
	n.called(newer, "the newer of two")
	<-n.reported
	if !n.healthIs("Unknown") {
		t.Error("what the older instance said is taken for the newer one's")
	}
	stopNewer()
	<-n.reported
	n.called(older, "the older, after the newer has failed")
	if !n.healthIs("Healthy") {
		t.Error("what the older instance said is forgotten")
	}
}

// A driver that came and went in the first half minute of the agent is not gone
// for good when that is over: it has half a minute as any other.
func TestDriverThatLeavesEarly(t *testing.T) {
	n := newNode(t)
	here := "n1"
	slice := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: resourcev1.ResourceSliceSpec{Driver: "d.com", NodeName: &here,
		Pool: resourcev1.ResourcePool{Name: here, ResourceSliceCount: 1}}}
	if err := n.Create(t.Context(), slice); err != nil {
		t.Fatal(err)
	}
	_, stop := n.start("d.sock")
	stop()
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	n.plugins.scan(ctx, &working)
	n.plugins.wipeStrangers(ctx)
	if err := n.Get(ctx, "", "a", slice); err != nil {
		t.Errorf("what the driver published: %v", err)
	}
	_, stop = n.start("d.sock")
	defer stop()
	if n.plugins.seen("d.com") {
		t.Error("the driver is back, and what it published is still to be removed")
	}
	cancel()
	working.Wait()
}

// A pod does not get a claim while another one that had its name is prepared: its
// pod was deleted without waiting for its end, and may have the same devices.
func TestClaimMadeAgain(t *testing.T) {
	n := newNode(t)
	driver, stop := n.start("d.sock")
	defer stop()
	old := n.pod("old")
	n.claim(old)
	says(t, "preparing", n.manager.Prepare(t.Context(), old), "")
	c := &resourcev1.ResourceClaim{}
	if err := n.Get(t.Context(), "default", "c", c); err != nil {
		t.Fatal(err)
	}
	c.Finalizers, c.Status = nil, resourcev1.ResourceClaimStatus{}
	if err := n.UpdateStatus(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := n.Delete(t.Context(), c, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := n.pod("new")
	n.claim(pod)
	says(t, "preparing the new claim", n.manager.Prepare(t.Context(), pod),
		"old ResourceClaim with same name c and different UID "+string(c.UID)+" still exists")
	expect(t, "calls", driver.did(), "prepare c")
	says(t, "unpreparing", n.manager.Unprepare(t.Context(), string(old.UID)), "")
	says(t, "preparing the new claim", n.manager.Prepare(t.Context(), pod), "")
	expect(t, "calls", driver.did(), "unprepare c, prepare c")
}
