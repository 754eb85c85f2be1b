package dynamicresources

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// withGPUs has class any stand for example.com/gpu.
func withGPUs(names ...string) *claims {
	c := newClaims(names...)
	c.resources = map[corev1.ResourceName]*resourcev1.DeviceClass{"example.com/gpu": {ObjectMeta: metav1.ObjectMeta{Name: "any"}}}
	return c
}

func podWithGPU(name string, claims ...string) *snapshot.PodInfo {
	return schedtest.Pod(name).With(func(p *corev1.Pod) { p.Spec = podWith(name, claims...).Pod.Spec }).Request("example.com/gpu", "1").Info()
}

// TestExtendedResource: a claim is made for the resource, and goes again when the
// pod cannot be bound.
func TestExtendedResource(t *testing.T) {
	c, ledger := withGPUs(), NewLedger()
	p, pod := newPlugin(c, ledger), podWithGPU("p")
	state, nodes := nodesFor(t, p, pod)
	expect(t, "nodes", nodes, "n1n2")
	if s := p.Reserve(t.Context(), state, pod, "n1"); !s.Success() {
		t.Fatal(s)
	}
	_, nodes = nodesFor(t, p, podWithGPU("q"))
	expect(t, "nodes of another while the device is held", nodes, "n2")
	if s := p.PreBind(t.Context(), state, pod, "n1"); !s.Success() {
		t.Fatal(s)
	}
	claim := c.stored["made"]
	if !metav1.IsControlledBy(claim, pod.Pod) || claim.Annotations[resourcev1.ExtendedResourceClaimAnnotation] != "true" ||
		claim.Spec.Devices.Requests[0].Exactly.DeviceClassName != "any" || claim.Status.Allocation == nil || claim.Status.ReservedFor[0].UID != pod.Pod.UID {
		t.Errorf("the claim is %+v", claim)
	}
	if s := c.extended[pod.Pod.UID]; s == nil || s.ResourceClaimName != "made" || len(s.RequestMappings) != 1 || s.RequestMappings[0].ResourceName != "example.com/gpu" {
		t.Errorf("the pod is told %+v", s)
	}
	_, nodes = nodesFor(t, p, podWithGPU("q"))
	expect(t, "nodes of another before the watch shows the claim", nodes, "n2")
	c.catchUp()
	_, nodes = nodesFor(t, p, podWithGPU("q"))
	expect(t, "nodes of another once it does", nodes, "n2")
	p.Unreserve(t.Context(), state, pod, "n1")
	if c.stored["made"] != nil || c.extended[pod.Pod.UID] != nil {
		t.Error("the claim is left, or the pod says so")
	}
	c.catchUp()
	_, nodes = nodesFor(t, p, podWithGPU("q"))
	expect(t, "nodes of another once the claim is gone", nodes, "n1n2")
}

// What the node itself has of a resource needs no claim.
func TestExtendedResourceOfTheNode(t *testing.T) {
	p, pod, state := newPlugin(withGPUs(), NewLedger()), podWithGPU("p"), &framework.CycleState{}
	has := schedtest.Node("n3").Allocatable("example.com/gpu", "1").Info()
	if _, s := p.PreFilter(t.Context(), state, pod, snapshot.New(has)); !s.Success() {
		t.Fatal(s)
	}
	if s := p.Filter(t.Context(), state, pod, has); !s.Success() {
		t.Fatal(s)
	}
	if s := p.Reserve(t.Context(), state, pod, "n3"); !s.Success() || p.NeedsPreBind(state, pod) {
		t.Errorf("%v: something is to be bound", s)
	}
}

// The pod's own claim and the one for its extended resource are allocated together.
func TestExtendedResourceBesideAClaim(t *testing.T) {
	c := withGPUs("a")
	p, pod := newPlugin(c, NewLedger()), podWithGPU("p", "a")
	_, nodes := nodesFor(t, p, pod) // each node has one device
	expect(t, "nodes", nodes, "")
	c.perNode = 2
	state, nodes := nodesFor(t, p, pod)
	expect(t, "nodes with two devices", nodes, "n1n2")
	for _, s := range []*framework.Status{p.Reserve(t.Context(), state, pod, "n2"), p.PreBind(t.Context(), state, pod, "n2")} {
		if !s.Success() {
			t.Fatal(s)
		}
	}
	if c.stored["a"].Status.Allocation == nil || c.stored["made"].Status.Allocation == nil {
		t.Errorf("%+v %+v", c.stored["a"].Status, c.stored["made"].Status)
	}
	p.Unreserve(t.Context(), state, pod, "n2")
	if c.stored["a"].Status.Allocation != nil || c.stored["made"] != nil {
		t.Error("something is left")
	}
}

// A claim that an earlier attempt has left goes first, which wakes the pod.
func TestStaleClaimGoes(t *testing.T) {
	c := withGPUs()
	pod := podWithGPU("p")
	before := newPlugin(c, NewLedger())
	state, _ := nodesFor(t, before, pod)
	before.Reserve(t.Context(), state, pod, "n1")
	if s := before.PreBind(t.Context(), state, pod, "n1"); !s.Success() {
		t.Fatal(s)
	}
	c.catchUp()
	left := c.stored["made"]
	p := newPlugin(c, NewLedger()) // of the next Scheduler
	state, nodes := nodesFor(t, p, pod)
	expect(t, "nodes while the claim is there", nodes, "")
	if _, s := p.PostFilter(t.Context(), nil, state, pod, nil, nil); s.Message() != ReasonDeleted || c.stored["made"] != nil {
		t.Errorf("%v, left: %v", s, c.stored["made"])
	}
	c.catchUp()
	_, nodes = nodesFor(t, p, pod)
	expect(t, "nodes once it is gone", nodes, "n1n2")
	left.Status = resourcev1.ResourceClaimStatus{}
	if !claimHelps(pod, framework.Event{Resource: framework.ResourceClaim, Action: framework.Delete, Old: left}) {
		t.Error("its end wakes nobody")
	}
}
