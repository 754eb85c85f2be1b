package dynamicresources

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/devices"
	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// claims is a Cluster whose watch lags: shown is what it shows, stored what is
// written. It has one device on each of n1 and n2.
type claims struct {
	shown, stored map[string]*resourcev1.ResourceClaim
	gone          map[types.UID]bool // pods
	mu            sync.Mutex         // guards changed
	changed       chan struct{}
	// conditions are those by which the devices are bound.
	conditions, failures []string
	// resources are what classes stand for, extended what pods were told.
	resources map[corev1.ResourceName]*resourcev1.DeviceClass
	extended  map[types.UID]*corev1.PodExtendedResourceClaimStatus
	// perNode is how many devices each node has; 0 is one.
	perNode int
}

func (c *claims) Resources() map[corev1.ResourceName]*resourcev1.DeviceClass { return c.resources }

func (c *claims) ExtendedClaim(pod *corev1.Pod) (*resourcev1.ResourceClaim, bool) {
	claim := c.shown["made"]
	return claim, claim != nil && metav1.IsControlledBy(claim, pod)
}

func (c *claims) Create(_ context.Context, claim *resourcev1.ResourceClaim) error {
	claim.Name, claim.UID, claim.ResourceVersion = "made", "made", "1"
	c.stored["made"] = claim.DeepCopy()
	return nil
}

func (c *claims) Delete(_ context.Context, claim *resourcev1.ResourceClaim) error {
	if len(claim.Finalizers) > 0 {
		return errors.New("the claim is protected")
	}
	delete(c.stored, claim.Name)
	return nil
}

func (c *claims) SetExtendedClaim(_ context.Context, pod *corev1.Pod, status *corev1.PodExtendedResourceClaimStatus) error {
	c.extended[pod.UID] = status
	return nil
}

func newClaims(names ...string) *claims {
	c := &claims{shown: map[string]*resourcev1.ResourceClaim{}, stored: map[string]*resourcev1.ResourceClaim{}, changed: make(chan struct{}), gone: map[types.UID]bool{}, extended: map[types.UID]*corev1.PodExtendedResourceClaimStatus{}}
	for _, name := range names {
		c.stored[name] = &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), ResourceVersion: "1"}, Spec: resourcev1.ResourceClaimSpec{
			Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "any", Count: 1}}}}}}
	}
	c.catchUp()
	return c
}

func (c *claims) catchUp() {
	clear(c.shown)
	for name, claim := range c.stored {
		c.shown[name] = claim.DeepCopy()
	}
	c.wake()
}

func (c *claims) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *claims) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *claims) PodWaits(pod *corev1.Pod) bool { return !c.gone[pod.UID] }

// newPlugin is New without configuration, whose events nobody reads.
func newPlugin(c Cluster, ledger *Ledger) *Plugin {
	return New(DefaultArgs(), c, ledger, func(*corev1.Pod, string, string, string) {})
}

func (c *claims) Claim(_, name string) (*resourcev1.ResourceClaim, bool) {
	claim, ok := c.shown[name]
	return claim, ok
}

func (c *claims) Allocated() (out []*resourcev1.ResourceClaim) {
	for _, claim := range c.shown {
		if claim.Status.Allocation != nil {
			out = append(out, claim)
		}
	}
	return out
}

func (c *claims) Class(name string) (*resourcev1.DeviceClass, bool) {
	return &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name}}, true
}

func (c *claims) Pools() *devices.Pools {
	var all []*resourcev1.ResourceSlice
	for _, node := range []string{"n1", "n2"} {
		s := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: node}, Spec: resourcev1.ResourceSliceSpec{
			Driver: "d.com", NodeName: &node, Pool: resourcev1.ResourcePool{Name: node, ResourceSliceCount: 1},
		}}
		for i := range max(c.perNode, 1) {
			s.Spec.Devices = append(s.Spec.Devices, resourcev1.Device{Name: "dev"[:1+i], BindingConditions: c.conditions, BindingFailureConditions: c.failures})
		}
		all = append(all, s)
	}
	return devices.NewPools(all, nil)
}

func (c *claims) Get(_ context.Context, _, name string) (*resourcev1.ResourceClaim, error) {
	return c.stored[name].DeepCopy(), nil
}

func (c *claims) Update(ctx context.Context, claim *resourcev1.ResourceClaim) error {
	return c.UpdateStatus(ctx, claim)
}

func (c *claims) UpdateStatus(_ context.Context, claim *resourcev1.ResourceClaim) error {
	have := c.stored[claim.Name].ResourceVersion
	if claim.ResourceVersion != have {
		return apierrors.NewConflict(resourcev1.Resource("resourceclaims"), claim.Name, nil)
	}
	n, _ := strconv.Atoi(have)
	claim.ResourceVersion = strconv.Itoa(n + 1)
	c.stored[claim.Name] = claim.DeepCopy()
	return nil
}

func podWith(name string, claim ...string) *snapshot.PodInfo {
	return schedtest.Pod(name).With(func(p *corev1.Pod) {
		for _, c := range claim {
			p.Spec.ResourceClaims = append(p.Spec.ResourceClaims, corev1.PodResourceClaim{Name: c, ResourceClaimName: &c})
		}
	}).Info()
}

// nodesFor returns the nodes that a pod can go to, in the state for that.
func nodesFor(t *testing.T, p *Plugin, pod *snapshot.PodInfo) (state *framework.CycleState, nodes string) {
	t.Helper()
	state = &framework.CycleState{}
	all := snapshot.New(schedtest.Node("n1").Info(), schedtest.Node("n2").Info())
	if _, s := p.PreFilter(t.Context(), state, pod, all); !s.Success() {
		return state, s.Message()
	}
	for _, n := range all.Nodes() {
		if p.Filter(t.Context(), state, pod, n).Success() {
			nodes += n.Name()
		}
	}
	return state, nodes
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, not %q", what, got, want)
	}
}

// What is held or written for one pod is not given to another before the watch
// shows it, and is free again when the pod could not be bound.
func TestLedger(t *testing.T) {
	c, ledger := newClaims("a", "b"), NewLedger()
	p, other := newPlugin(c, ledger), newPlugin(c, ledger) // of two profiles
	first, second := podWith("p", "a"), podWith("q", "b")
	state, nodes := nodesFor(t, p, first)
	expect(t, "nodes of the first", nodes, "n1n2")
	if s := p.Reserve(t.Context(), state, first, "n1"); !s.Success() {
		t.Fatal(s)
	}
	_, nodes = nodesFor(t, other, second)
	expect(t, "nodes of the second while the first is held", nodes, "n2")
	_, nodes = nodesFor(t, other, podWith("r", "a"))
	expect(t, "nodes of another pod of the first's claim", nodes, "n1")
	if s := p.PreBind(t.Context(), state, first, "n1"); !s.Success() {
		t.Fatal(s)
	}
	_, nodes = nodesFor(t, other, second)
	expect(t, "nodes of the second once the first is written", nodes, "n2")
	c.catchUp()
	_, nodes = nodesFor(t, other, second)
	expect(t, "nodes of the second once the watch shows the first", nodes, "n2")
	p.Unreserve(t.Context(), state, first, "n1")
	_, nodes = nodesFor(t, other, second)
	expect(t, "nodes of the second once the first is taken back", nodes, "n1n2")
	if a := c.stored["a"]; a.Status.Allocation != nil || len(a.Status.ReservedFor) != 0 {
		t.Errorf("the claim is %+v", a.Status)
	}
}

// Two pods of one claim are bound at once; that one fails leaves the other its
// devices.
func TestSharedClaim(t *testing.T) {
	c, ledger := newClaims("a"), NewLedger()
	p := newPlugin(c, ledger)
	first, second := podWith("p", "a"), podWith("q", "a")
	one, _ := nodesFor(t, p, first)
	if s := p.Reserve(t.Context(), one, first, "n2"); !s.Success() {
		t.Fatal(s)
	}
	two, nodes := nodesFor(t, p, second)
	expect(t, "nodes of the second", nodes, "n2")
	for _, s := range []*framework.Status{p.Reserve(t.Context(), two, second, "n2"), p.PreBind(t.Context(), one, first, "n2"), p.PreBind(t.Context(), two, second, "n2")} {
		if !s.Success() {
			t.Fatal(s)
		}
	}
	p.Unreserve(t.Context(), one, first, "n2")
	if a := c.stored["a"]; a.Status.Allocation == nil || len(a.Status.ReservedFor) != 1 || a.Status.ReservedFor[0].UID != second.Pod.UID {
		t.Errorf("the claim is %+v", a.Status)
	}
}

// A claim that changed meanwhile is read again.
func TestConflict(t *testing.T) {
	c := newClaims("a")
	p, pod := newPlugin(c, NewLedger()), podWith("p", "a")
	state, _ := nodesFor(t, p, pod)
	if s := p.Reserve(t.Context(), state, pod, "n1"); !s.Success() {
		t.Fatal(s)
	}
	c.stored["a"].ResourceVersion = "5"
	c.stored["a"].Labels = map[string]string{"changed": "meanwhile"}
	if s := p.PreBind(t.Context(), state, pod, "n1"); !s.Success() {
		t.Fatal(s)
	}
	if a := c.stored["a"]; a.Labels["changed"] == "" || a.Status.Allocation == nil {
		t.Errorf("the claim is %+v", a)
	}
}
