// Package dynamicresources places pods where the devices of their ResourceClaims
// are, and allocates claims that have none yet.
//
// A claim that is allocated keeps its pods to the nodes on which its devices can
// be used. For the others the plugin looks on each node for devices that suit all
// claims of the pod together (package devices). When the node is chosen, what was
// found there is held for the pod; before the pod is bound, the allocation is
// written to the claims, which are reserved for the pod.
//
//	dynamicresources.go  the extension points that choose the node
//	extended.go          devices that stand for extended resources
//	ledger.go            what is held for pods that are being bound
//	bind.go              writing it, and taking it back
//	await.go             waiting for devices that are not ready at once
//	release.go           what claims give up for a pod that they keep from every node
//	score.go             which node gives requests what they prefer
//	args.go              what the plugin can be told
//	advise.go            what would have to change on a node that is rejected
package dynamicresources

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/internal/deviceclaim"
	"navarch.dev/navarch/services/scheduler/devices"
	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Name of the plugin.
const Name = "DynamicResources"

// The reasons that users read.
const (
	ReasonNotAvailable = "resourceclaim not available on the node"
	ReasonInUse        = "resourceclaim in use"
	ReasonStale        = "cannot schedule extended resource claim"
)

// Cluster shows claims and devices as the watches have them, and writes claims.
// What it shows is shared and must not be changed.
type Cluster interface {
	Claim(namespace, name string) (*resourcev1.ResourceClaim, bool)
	// Allocated returns the claims that are allocated.
	Allocated() []*resourcev1.ResourceClaim
	Class(name string) (*resourcev1.DeviceClass, bool)
	// Resources returns the classes that stand for extended resources.
	Resources() map[corev1.ResourceName]*resourcev1.DeviceClass
	// ExtendedClaim returns the claim that was made for a pod's extended resources.
	ExtendedClaim(pod *corev1.Pod) (*resourcev1.ResourceClaim, bool)
	// Pools returns the devices that are published.
	Pools() *devices.Pools
	// Get returns a claim as it is stored.
	Get(ctx context.Context, namespace, name string) (*resourcev1.ResourceClaim, error)
	// Update and UpdateStatus write a claim and fill it with what was stored.
	Update(ctx context.Context, claim *resourcev1.ResourceClaim) error
	UpdateStatus(ctx context.Context, claim *resourcev1.ResourceClaim) error
	// Create stores a claim and fills it with what was stored, Delete removes it.
	Create(ctx context.Context, claim *resourcev1.ResourceClaim) error
	Delete(ctx context.Context, claim *resourcev1.ResourceClaim) error
	// SetExtendedClaim writes to a pod's status which claim it has for its extended
	// resources; nil is none.
	SetExtendedClaim(ctx context.Context, pod *corev1.Pod, status *corev1.PodExtendedResourceClaimStatus) error
	// PodWaits says whether a pod is still there to be placed.
	PodWaits(pod *corev1.Pod) bool
	// Changed returns what is closed at the next change of a claim, or of whether
	// some pod waits.
	Changed() <-chan struct{}
}

// Events tells users what happens to a pod.
type Events func(pod *corev1.Pod, eventType, reason, message string)

// Plugin implements framework.Filter, framework.PostFilter, framework.Score,
// framework.Reserve and framework.PreBind.
type Plugin struct {
	// searchTimeout is how long one node is searched for devices, 0 without end;
	// bindingTimeout how long devices may take to be ready.
	searchTimeout, bindingTimeout time.Duration

	cluster   Cluster
	events    Events
	ledger    *Ledger
	selectors devices.Selectors
	claims    *framework.Key[*podClaims]
	held      *framework.Key[*held]
}

// New returns the plugin. Its arguments have their defaults and are valid. The
// plugins of several profiles share their ledger.
func New(args *configv1.DynamicResourcesArgs, cluster Cluster, ledger *Ledger, events Events) *Plugin {
	p := &Plugin{
		searchTimeout: args.FilterTimeout.Duration, bindingTimeout: args.BindingTimeout.Duration,
		cluster: cluster, ledger: ledger, events: events, claims: framework.NewKey[*podClaims](), held: framework.NewKey[*held](),
	}
	if ledger != nil {
		p.selectors = ledger
	}
	return p
}

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// podClaims is what the nodes are compared with.
type podClaims struct {
	// allocated are the claims that have devices, each with what says where they
	// can be used; nil is everywhere.
	allocated []*resourcev1.ResourceClaim
	selectors []*nodeaffinity.NodeSelector
	// lost says of each that its devices will not be ready any more.
	lost []bool
	// waiting are the others; they alone are asked for where no devices stand for
	// the pod's extended resources.
	waiting []*resourcev1.ResourceClaim
	alone   *asked
	// extended are the classes that stand for resources which the pod asks for.
	extended map[corev1.ResourceName]*resourcev1.DeviceClass
	// stale is a claim that an earlier attempt has left.
	stale     *resourcev1.ResourceClaim
	inventory *devices.Inventory
	// nodes is the view that the pods which have claims are looked up in.
	nodes *snapshot.Snapshot

	mu sync.Mutex // guards all below
	// found are the allocations on each node that has what is asked for.
	found map[string]*found
	// byResources is what is asked for where devices stand for some resources.
	byResources map[string]*asked
	// unavailable are the allocated claims that have kept the pod from a node.
	unavailable map[int]bool
}

// asked is what is to be allocated on a node.
type asked struct {
	claims  []*resourcev1.ResourceClaim
	request *devices.Request
	// uses is nil unless the last of the claims is for extended resources; it says
	// which container uses what of it.
	uses []corev1.ContainerExtendedResourceRequest
}

// found is what is asked for on a node and the allocations of its claims.
type found struct {
	*asked
	allocations []*resourcev1.AllocationResult
}

// PreFilter sorts the pod's claims, and gives up if one cannot be used anywhere.
func (p *Plugin) PreFilter(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, nodes *snapshot.Snapshot) ([]string, *framework.Status) {
	extended := p.extendedOf(pod)
	if len(pod.Pod.Spec.ResourceClaims) == 0 && len(extended) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	sorted := &podClaims{nodes: nodes, extended: extended, found: map[string]*found{}, byResources: map[string]*asked{}, unavailable: map[int]bool{}}
	for _, ref := range deviceclaim.Of(pod.Pod) {
		if ref.Claim == "" && !ref.Pending {
			continue
		}
		claim, err := p.check(pod.Pod, ref)
		if err == nil {
			err = p.sort(sorted, pod.Pod, claim)
		}
		if err != nil {
			return nil, framework.NewStatus(framework.UnschedulableAndUnresolvable, err.Error())
		}
	}
	if len(extended) > 0 {
		if stale, ok := p.cluster.ExtendedClaim(pod.Pod); ok {
			sorted.stale = stale
		}
	}
	var err error
	if sorted.alone, err = p.ask(sorted.waiting); err != nil {
		return nil, framework.NewStatus(framework.UnschedulableAndUnresolvable, err.Error())
	}
	if len(sorted.waiting)+len(extended) > 0 {
		sorted.inventory = devices.NewInventory(p.cluster.Pools(), p.ledger.allocations(p.cluster))
	}
	p.claims.Set(state, sorted)
	return nil, nil
}

// ask reads what claims ask for.
func (p *Plugin) ask(claims []*resourcev1.ResourceClaim) (*asked, error) {
	request, err := devices.NewRequest(claims, p.cluster.Class, p.selectors)
	if err != nil {
		return nil, err
	}
	return &asked{claims: claims, request: request}, nil
}

// check returns one of a pod's claims, or why the pod cannot be placed with it.
func (p *Plugin) check(pod *corev1.Pod, ref deviceclaim.Ref) (*resourcev1.ResourceClaim, error) {
	if ref.Pending {
		return nil, fmt.Errorf("pod claim %q: ResourceClaim not created yet", ref.Name)
	}
	claim, ok := p.cluster.Claim(pod.Namespace, ref.Claim)
	if !ok {
		return nil, fmt.Errorf("resourceclaim %q not found", ref.Claim)
	}
	claim = p.ledger.latest(claim)
	if claim.DeletionTimestamp != nil {
		return nil, errors.New("resourceclaim is being deleted")
	}
	if ref.Own {
		if err := deviceclaim.CheckOwner(pod, claim); err != nil {
			return nil, err
		}
	}
	return claim, nil
}

// sort puts a claim to the allocated or to the waiting ones.
func (p *Plugin) sort(c *podClaims, pod *corev1.Pod, claim *resourcev1.ResourceClaim) error {
	a := claim.Status.Allocation
	if a == nil {
		c.waiting = append(c.waiting, claim)
		return nil
	}
	if !deviceclaim.IsReserved(claim, pod) && !deviceclaim.HasRoom(claim) {
		return errors.New(ReasonInUse)
	}
	var selector *nodeaffinity.NodeSelector
	if a.NodeSelector != nil {
		var err error
		if selector, err = nodeaffinity.NewNodeSelector(a.NodeSelector); err != nil {
			return fmt.Errorf("resourceclaim %q: node selector: %w", claim.Name, err)
		}
	}
	c.allocated, c.selectors, c.lost = append(c.allocated, claim), append(c.selectors, selector), append(c.lost, p.isLost(claim))
	return nil
}

// Filter rejects nodes on which allocated devices cannot be used, or where there
// are none for a claim.
func (p *Plugin) Filter(ctx context.Context, state *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) *framework.Status {
	claims := p.claims.Get(state)
	switch {
	case claims.keepFrom(node.Node):
		return framework.NewStatus(framework.UnschedulableAndUnresolvable, ReasonNotAvailable)
	case claims.stale != nil:
		return framework.NewStatus(framework.UnschedulableAndUnresolvable, ReasonStale)
	}
	wanted, err := p.askedOn(claims, pod, node)
	if err == nil && len(wanted.claims) > 0 {
		err = p.find(ctx, claims, wanted, node)
	}
	if err != nil {
		return framework.NewStatus(framework.UnschedulableAndUnresolvable, err.Error())
	}
	return nil
}

// find looks for devices on a node, and keeps what it finds.
func (p *Plugin) find(ctx context.Context, claims *podClaims, wanted *asked, node *snapshot.NodeInfo) error {
	ctx, cancel := p.search(ctx)
	defer cancel()
	allocations, err := claims.inventory.Allocate(ctx, wanted.request, node.Node)
	if err != nil {
		return err
	}
	claims.mu.Lock()
	defer claims.mu.Unlock()
	claims.found[node.Name()] = &found{wanted, allocations}
	return nil
}

// keepFrom says whether allocated claims keep the pod from a node, and notes which.
func (c *podClaims) keepFrom(node *corev1.Node) bool {
	kept := false
	for i, selector := range c.selectors {
		if !c.lost[i] && (selector == nil || selector.Match(node)) {
			continue
		}
		kept = true
		c.mu.Lock()
		c.unavailable[i] = true
		c.mu.Unlock()
	}
	return kept
}

// search bounds the search of one node.
func (p *Plugin) search(ctx context.Context) (context.Context, context.CancelFunc) {
	if p.searchTimeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, p.searchTimeout)
}

// EventsToRegister: a claim of the pod comes or changes, another gives up its
// devices, what is published changes, a class or a node comes.
func (*Plugin) EventsToRegister() []framework.EventHint {
	const changed = framework.Add | framework.Update
	return []framework.EventHint{
		{Resource: framework.ResourceClaim, Action: changed | framework.Delete, Helps: claimHelps},
		{Resource: framework.ResourceSlice, Action: changed | framework.Delete},
		{Resource: framework.DeviceClass, Action: changed},
		{Resource: framework.DeviceTaintRule, Action: changed | framework.Delete},
		{Resource: framework.Node, Action: framework.Add | framework.UpdateNodeLabels},
		{Resource: framework.WaitingPod, Action: framework.UpdateClaims},
		// What was held for a pod that could not be bound is free again.
		{Resource: framework.AssignedPod, Action: framework.Delete, Helps: func(_ *snapshot.PodInfo, e framework.Event) bool {
			pod, ok := e.Old.(*corev1.Pod)
			return ok && mayHaveDevices(pod)
		}},
	}
}

// claimHelps says whether a claim's change can help a pod: it is the pod's own,
// or its devices are free now.
func claimHelps(pod *snapshot.PodInfo, e framework.Event) bool {
	old, _ := e.Old.(*resourcev1.ResourceClaim)
	claim, _ := e.New.(*resourcev1.ResourceClaim)
	if old != nil && old.Status.Allocation != nil && (claim == nil || claim.Status.Allocation == nil) {
		return true
	}
	if old != nil && claim == nil && metav1.IsControlledBy(old, pod.Pod) {
		return true // what an earlier attempt has left
	}
	if claim == nil || claim.Namespace != pod.Pod.Namespace {
		return false
	}
	for _, name := range deviceclaim.Names(pod.Pod) {
		if name == claim.Name {
			return true
		}
	}
	return false
}
