package dynamicresources

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/scheduler/devices"
	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// gpus is a Cluster of one node n1 with devices g0, g1 and so on.
type gpus struct {
	*claims
	devices []resourcev1.Device
}

func (g *gpus) Pools() *devices.Pools {
	return devices.NewPools([]*resourcev1.ResourceSlice{{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: resourcev1.ResourceSliceSpec{
		Driver: "d.com", NodeName: new("n1"), Pool: resourcev1.ResourcePool{Name: "n1", ResourceSliceCount: 1}, Devices: g.devices,
	}}}, nil)
}

// give allocates a device to a claim of pods.
func (g *gpus) give(claim, device string, pods ...string) {
	c := g.shown[claim]
	c.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{
		{Request: "r", Driver: "d.com", Pool: "n1", Device: device},
	}}}
	for _, pod := range pods {
		c.Status.ReservedFor = append(c.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: pod, UID: podWith(pod).Pod.UID})
	}
}

// TestAdvise: pod p wants claim want; claims a and b may have devices, for pods
// x and y.
func TestAdvise(t *testing.T) {
	tainted := resourcev1.Device{Name: "g0", Taints: []resourcev1.DeviceTaint{{Key: "broken", Value: "fan", Effect: resourcev1.DeviceTaintEffectNoSchedule}}}
	two := []resourcev1.Device{{Name: "g0"}, {Name: "g1"}}
	request := func(g *gpus) *resourcev1.ExactDeviceRequest {
		return g.shown["want"].Spec.Devices.Requests[0].Exactly
	}
	ending := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }
	const taken = "needs 1 device of class any, 0 of 2 are free (2 allocated to default/a, default/b)"
	for _, tt := range []struct {
		name    string
		devices []resourcev1.Device
		change  func(g *gpus, x *schedtest.PodBuilder)
		detail  string
		want    []string
	}{
		{"all are taken", two, func(g *gpus, _ *schedtest.PodBuilder) { g.give("a", "g0", "x"); g.give("b", "g1", "y") }, taken, []string{"evict default/x", "evict default/y"}},
		{"one by a pod that is going", two, func(g *gpus, x *schedtest.PodBuilder) { g.give("a", "g0", "x"); g.give("b", "g1", "y"); x.With(ending) }, taken,
			[]string{"wait for the end of default/x"}},
		{"one by a more important pod", two, func(g *gpus, x *schedtest.PodBuilder) { g.give("a", "g0", "x"); g.give("b", "g1", "y"); x.Priority(9) }, taken,
			[]string{"evict default/y"}},
		{"one claim of two pods", two[:1], func(g *gpus, _ *schedtest.PodBuilder) { g.give("a", "g0", "x", "y") },
			"needs 1 device of class any, 0 of 1 are free (1 allocated to default/a)", []string{"evict default/x, default/y"}},
		{"two are wanted", two, func(g *gpus, _ *schedtest.PodBuilder) { g.give("a", "g0", "x"); request(g).Count = 2 },
			"needs 2 devices of class any, 1 of 2 are free (1 allocated to default/a)", []string{"evict default/x", "ask for at most 1 device in request r of claim want"}},
		{"all are wanted", two, func(g *gpus, _ *schedtest.PodBuilder) {
			g.give("a", "g0", "x")
			request(g).AllocationMode = resourcev1.DeviceAllocationModeAll
		},
			"needs 2 devices of class any, 1 of 2 are free (1 allocated to default/a)", []string{"evict default/x"}},
		{"tainted", []resourcev1.Device{tainted}, func(*gpus, *schedtest.PodBuilder) {},
			"needs 1 device of class any, 0 of 1 are free (1 tainted broken=fan:NoSchedule)", []string{"tolerate broken=fan:NoSchedule in request r of claim want"}},
		{"none", nil, func(*gpus, *schedtest.PodBuilder) {}, "the node has no device of class any for request r of claim want", []string{"add a device of class any to the node"}},
		{"none that is selected", two, func(g *gpus, _ *schedtest.PodBuilder) {
			request(g).Selectors = []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: `device.driver == "other.com"`}}}
		}, "the node has no device of class any for request r of claim want", []string{"add a device of class any to the node"}},
		{"enough for each request, not for both", two[:1], func(g *gpus, _ *schedtest.PodBuilder) {
			spec := &g.shown["want"].Spec.Devices
			spec.Requests = append(spec.Requests, *spec.Requests[0].DeepCopy())
			spec.Requests[1].Name = "s"
		}, "the devices that are free do for each request, not for all together", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := &gpus{newClaims("want", "a", "b"), tt.devices}
			x, y := schedtest.Pod("x"), schedtest.Pod("y")
			tt.change(g, x)
			p, state, pod := newPlugin(g, NewLedger()), &framework.CycleState{}, podWith("p", "want")
			node := schedtest.Node("n1").Pods(x, y).Info()
			if _, s := p.PreFilter(t.Context(), state, pod, snapshot.New(node)); !s.Success() {
				t.Fatal(s)
			}
			if s := p.Filter(t.Context(), state, pod, node); s.Success() {
				t.Fatal("it fits")
			}
			got := p.Advise(t.Context(), state, pod, node)
			var texts []string
			for _, r := range got.Remedies {
				texts = append(texts, r.Description)
			}
			if diff := cmp.Diff(tt.want, texts); diff != "" || got.Detail != tt.detail {
				t.Errorf("%q %s", got.Detail, diff)
			}
		})
	}
}

// TestAdviseAllocated: the devices are on another node, or held for a pod that
// is being bound.
func TestAdviseAllocated(t *testing.T) {
	c := newClaims("a", "b")
	p, first := newPlugin(c, NewLedger()), podWith("p", "a")
	state, _ := nodesFor(t, p, first)
	if s := p.Reserve(t.Context(), state, first, "n1"); !s.Success() {
		t.Fatal(s)
	}
	all := snapshot.New(schedtest.Node("n1").Info(), schedtest.Node("n2").Info())
	for _, tt := range []struct{ claim, node, detail string }{
		{"a", "n2", "claim a has devices that are only on n1"},
		{"b", "n1", "needs 1 device of class any, 0 of 1 are free (1 allocated to pods that are being bound)"},
	} {
		state, pod := &framework.CycleState{}, podWith("q", tt.claim)
		if _, s := p.PreFilter(t.Context(), state, pod, all); !s.Success() {
			t.Fatal(s)
		}
		if got := p.Advise(t.Context(), state, pod, all.Get(tt.node)); got.Detail != tt.detail {
			t.Errorf("%s on %s: %q", tt.claim, tt.node, got.Detail)
		}
	}
}

// TestAdviseExtended: the claim is the Scheduler's, so that nobody can change it.
func TestAdviseExtended(t *testing.T) {
	tainted := resourcev1.Device{Name: "g0", Taints: []resourcev1.DeviceTaint{{Key: "broken", Effect: resourcev1.DeviceTaintEffectNoSchedule}}}
	for _, tt := range []struct {
		name    string
		devices []resourcev1.Device
		detail  string
		want    []string
	}{
		{"none", nil, "the node has no device of class any, which stands for an extended resource that the pod requests", []string{"add a device of class any to the node"}},
		{"tainted", []resourcev1.Device{tainted}, "needs 1 device of class any, 0 of 1 are free (1 tainted broken:NoSchedule)", nil},
	} {
		g := &gpus{withGPUs(), tt.devices}
		p, state, pod, node := newPlugin(g, NewLedger()), &framework.CycleState{}, podWithGPU("p"), schedtest.Node("n1").Info()
		if _, s := p.PreFilter(t.Context(), state, pod, snapshot.New(node)); !s.Success() {
			t.Fatal(s)
		}
		got := p.Advise(t.Context(), state, pod, node)
		var texts []string
		for _, r := range got.Remedies {
			texts = append(texts, r.Description)
		}
		if diff := cmp.Diff(tt.want, texts); diff != "" || got.Detail != tt.detail {
			t.Errorf("%s: %q %s", tt.name, got.Detail, diff)
		}
	}
}
