package devices

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	healthv1 "k8s.io/kubelet/pkg/apis/dra-health/v1"
	healthv1alpha1 "k8s.io/kubelet/pkg/apis/dra-health/v1alpha1"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
	drav1beta1 "k8s.io/kubelet/pkg/apis/dra/v1beta1"
	"k8s.io/utils/ptr"
)

func said(device string, state healthv1.HealthStatus, message string, timeout int64) *healthv1.DeviceHealth {
	return &healthv1.DeviceHealth{Device: &healthv1.DeviceIdentifier{PoolName: "p", DeviceName: device}, Health: state, Message: message, HealthCheckTimeoutSeconds: timeout}
}

// TestTakeReports: each report comes after the ones above it.
func TestTakeReports(t *testing.T) {
	h, start := newHealth(), time.Now()
	for _, tt := range []struct {
		name    string
		after   time.Duration // since the start
		report  []*healthv1.DeviceHealth
		changed bool
		next    time.Duration
	}{
		{"two devices", 0, []*healthv1.DeviceHealth{said("a", healthv1.HealthStatus_HEALTHY, "", 0), said("b", healthv1.HealthStatus_UNHEALTHY, "hot", 100)}, true, 30 * time.Second},
		{"the same again", 10 * time.Second, []*healthv1.DeviceHealth{said("a", healthv1.HealthStatus_HEALTHY, "", -1)}, false, 40 * time.Second},
		{"another message", 20 * time.Second, []*healthv1.DeviceHealth{said("b", healthv1.HealthStatus_UNHEALTHY, "cold", 100)}, true, 40 * time.Second},
		{"the first is not told of any more", 40 * time.Second, nil, true, 120 * time.Second},
		{"the second neither", 130 * time.Second, nil, true, 0},
		{"nothing is left", 140 * time.Second, nil, false, 0},
		{"unknown is nothing new", 150 * time.Second, []*healthv1.DeviceHealth{said("c", healthv1.HealthStatus_UNKNOWN, "", 1)}, true, 151 * time.Second},
		{"nor is its end", 160 * time.Second, nil, false, 0},
	} {
		changed, next := h.take("d.com", tt.report, start.Add(tt.after))
		var want time.Time
		if tt.next > 0 {
			want = start.Add(tt.next)
		}
		if changed != tt.changed || !next.Equal(want) {
			t.Errorf("%s: changed %v, until %v", tt.name, changed, next.Sub(start))
		}
	}
	h.take("d.com", []*healthv1.DeviceHealth{said("a", healthv1.HealthStatus_UNHEALTHY, strings.Repeat("\u00e9", 600), 0)}, start)
	if m := h.of("d.com", deviceName{"p", "a"}).message; len(m) > maxHealthMessage || !strings.HasSuffix(m, "\u00e9...") {
		t.Errorf("the message is %q", m)
	}
	var many []*healthv1.DeviceHealth
	for i := range maxReports + 10 {
		many = append(many, said(fmt.Sprintf("d%d", i), healthv1.HealthStatus_HEALTHY, "", 0))
	}
	h.take("d.com", many, start)
	if n := len(h.reports["d.com"]); n != maxReports {
		t.Errorf("%d reports are kept", n)
	}
}

// What a driver says of its devices is in the status of the pods that have them, in
// whichever version it says it, until it is gone.
func TestHealthOfPodsDevices(t *testing.T) {
	for _, services := range [][]string{
		{drav1.DRAPluginService, healthv1.DRAResourceHealthService}, {drav1beta1.DRAPluginService, healthv1alpha1.DRAResourceHealthService},
	} {
		t.Run(services[0], func(t *testing.T) {
			n := newNode(t)
			pod := n.pod("p")
			n.claim(pod)
			p := newPlugin()
			p.info.SupportedVersions = services
			stop := p.serve(t, filepath.Join(n.plugins.dir, "d.sock"))
			if s := await(t, p); !s.GetPluginRegistered() {
				t.Fatal(s)
			}
			<-n.changed
			says(t, "preparing", n.manager.Prepare(t.Context(), pod), "")
			container := &corev1.Container{Resources: corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "mine", Request: "gpu"}}}}
			status := func(state corev1.ResourceHealthStatus, message *string) []corev1.ResourceStatus {
				return []corev1.ResourceStatus{{Name: "claim:mine/gpu", Resources: []corev1.ResourceHealth{
					{ResourceID: "d.com/x=gpu", Health: state, Message: message}, {ResourceID: "d.com/x=all", Health: corev1.ResourceHealthStatusUnknown},
				}}}
			}
			check := func(what string, want []corev1.ResourceStatus) {
				t.Helper()
				if diff := cmp.Diff(want, n.manager.Health(pod, container)); diff != "" {
					t.Errorf("%s: %s", what, diff)
				}
			}
			check("nothing is said", status(corev1.ResourceHealthStatusUnknown, nil))
			p.health <- &healthv1.NodeWatchResourcesResponse{Devices: []*healthv1.DeviceHealth{said("gpu", healthv1.HealthStatus_UNHEALTHY, "hot", 0)}}
			expect(t, "who has reported", <-n.reported, "d.com")
			check("it is said", status(corev1.ResourceHealthStatusUnhealthy, ptr.To("hot")))
			if got := n.manager.UsersOf("d.com"); len(got) != 1 || got[0] != string(pod.UID) {
				t.Errorf("the devices are used by %v", got)
			}
			stop()
			expect(t, "who says nothing any more", <-n.reported, "d.com")
			check("the driver is gone", status(corev1.ResourceHealthStatusUnknown, nil))
			if got := n.manager.Health(n.pod("q"), container); got != nil {
				t.Errorf("a pod without devices has %v", got)
			}
		})
	}
}

// The health of a device is forgotten when its driver has said nothing for as long
// as it told.
func TestHealthEndsByItself(t *testing.T) {
	n := newNode(t)
	p := newPlugin()
	p.info.SupportedVersions = append(p.info.SupportedVersions, healthv1.DRAResourceHealthService)
	defer p.serve(t, filepath.Join(n.plugins.dir, "d.sock"))()
	await(t, p)
	p.health <- &healthv1.NodeWatchResourcesResponse{Devices: []*healthv1.DeviceHealth{said("gpu", healthv1.HealthStatus_HEALTHY, "", 1)}}
	for _, want := range []corev1.ResourceHealthStatus{corev1.ResourceHealthStatusHealthy, corev1.ResourceHealthStatusUnknown} {
		<-n.reported
		if got := n.plugins.health.of(n.plugins.current("d.com").instance, deviceName{"p", "gpu"}).state; got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}
