// Package framework defines how a scheduling decision is put together from
// plugins.
//
// One attempt runs the extension points in this order:
//
//	QueueSort    which pod is next
//	PreFilter    once per attempt: prepare, narrow the nodes, or give up
//	Filter       per node: can the pod run here?
//	PostFilter   only if no node is left: make room (preemption)
//	PreScore     once, over the nodes that are left
//	Score        per node: how good, from 0 to MaxScore; NormalizeScore scales
//	Reserve      the node is chosen and the pod assumed there
//	Permit       let the binding go on, wait, or not
//	PreBind      before the binding is written
//	Bind         write the binding, of many pods at once
//
// A plugin is a type with a Name that implements any of these interfaces. It
// also tells, by EventsToRegister, which changes in the cluster can help a pod
// it has rejected; the queue wakes the pod for those and no others.
//
// The objects a plugin is given are shared and must not be changed. Filter and
// Score run for many nodes at once; what they need to know of the whole cluster
// is worked out in PreFilter or PreScore and kept in the CycleState.
package framework

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/snapshot"
)

// MaxScore is the best score after normalizing; 0 is the worst.
const MaxScore int64 = 100

// Plugin is anything that takes part in scheduling.
type Plugin interface {
	// Name is unique, and shown to users by Explain.
	Name() string
}

// PreEnqueue keeps pods out of the queue that are not to be tried yet.
type PreEnqueue interface {
	Plugin
	// PreEnqueue rejects a pod that is not ready to be tried.
	PreEnqueue(pod *snapshot.PodInfo) *Status
}

// QueueSort orders the active queue; there is exactly one.
type QueueSort interface {
	Plugin
	// Less says that a is to be tried before b.
	Less(a, b *QueuedPod) bool
}

// PreFilter prepares an attempt.
type PreFilter interface {
	Plugin
	// PreFilter returns the only nodes worth looking at (nil is all), Skip if
	// the plugin's Filter has nothing to say about this pod, or a rejection
	// if no node can take it.
	PreFilter(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, nodes *snapshot.Snapshot) (only []string, status *Status)
}

// Filter rejects nodes that cannot run the pod.
type Filter interface {
	Plugin
	// Filter says whether the node can run the pod.
	Filter(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) *Status
}

// BatchFilter is a Filter that judges many nodes for less than it does one by one.
type BatchFilter interface {
	Filter
	// FilterBatch sets the verdicts on the nodes, each of which is that of Filter. A
	// verdict that is set already is another plugin's and stays.
	FilterBatch(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, nodes snapshot.Selection, verdicts []*Status)
}

// Filters runs the filters of a profile, for a PostFilter to try what would
// be.
type Filters interface {
	// PreFilter begins an attempt, as Profile.PreFilter.
	PreFilter(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, nodes *snapshot.Snapshot) (only map[string]bool, absent, status *Status)
	// Filter returns the first verdict that is not Success.
	Filter(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) *Status
	// NodeLocal says that state stays good when pods come or go.
	NodeLocal(state *CycleState) bool
	// ExtendPreemption lets extenders take candidates away.
	ExtendPreemption(ctx context.Context, pod *snapshot.PodInfo, nodes *snapshot.Snapshot, candidates []Candidate) ([]Candidate, error)
}

// PostFilter makes room for a pod that fits nowhere.
type PostFilter interface {
	Plugin
	// PostFilter returns the node that will have room soon, with Success; or
	// Unschedulable with the reason it could not help, and the node that the pod
	// was nominated to before, if that is to stay.
	PostFilter(ctx context.Context, filters Filters, state *CycleState, pod *snapshot.PodInfo, nodes *snapshot.Snapshot, why *Diagnosis) (nominated string, status *Status)
}

// PreScore prepares scoring.
type PreScore interface {
	Plugin
	// PreScore is given the nodes that passed every filter. Skip leaves out the
	// plugin's Score.
	PreScore(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, all *snapshot.Snapshot, feasible snapshot.Selection) *Status
}

// Score ranks nodes.
type Score interface {
	Plugin
	// Score returns how well the node suits the pod: from 0 to MaxScore, or
	// any figure that NormalizeScore brings there.
	Score(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) (int64, *Status)
}

// BatchScore is a Score that scores many nodes for less than it does one by one.
type BatchScore interface {
	Score
	// ScoreBatch sets the scores of the nodes, each of which is that of Score.
	ScoreBatch(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, nodes snapshot.Selection, scores []int64) *Status
}

// ScoreNormalizer brings a plugin's scores to the range 0 to MaxScore.
type ScoreNormalizer interface {
	Score
	// NormalizeScore changes the scores, which are in the order of the nodes
	// that PreScore was given.
	NormalizeScore(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, scores []int64)
}

// Reserve holds what the pod needs beside its place on the node.
type Reserve interface {
	Plugin
	// Reserve is called when the node is chosen.
	Reserve(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node string) *Status
	// Unreserve gives everything back. It is called if anything fails later,
	// also if this plugin's Reserve was not called, and must not fail.
	Unreserve(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node string)
}

// Permit has the last word before binding.
type Permit interface {
	Plugin
	// Permit may return Wait and how long at most.
	Permit(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node string) (*Status, time.Duration)
}

// PreBind does what must be done before the binding is written.
type PreBind interface {
	Plugin
	// NeedsPreBind says, after Reserve, whether there is anything to do for the
	// pod. Where no plugin has, the binding goes into the next batch at once.
	NeedsPreBind(state *CycleState, pod *snapshot.PodInfo) bool
	// PreBind may take its time: it does not hold other pods up.
	PreBind(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node string) *Status
}

// Binding is one decision to be written.
type Binding struct {
	// Context carries the decision's trace, and nothing else of it is used.
	Context context.Context
	Pod     *snapshot.PodInfo
	Node    string
	// Notice tells of the binding; nil is none.
	Notice *Notice
}

// Notice is the Event that tells of a binding.
type Notice struct {
	Event *corev1.Event
	// Stored is set by a plugin that has had the Event stored with the binding.
	// Otherwise it is recorded once the pod is bound.
	Stored bool
}

// Bind writes decisions.
type Bind interface {
	Plugin
	// Bind writes bindings and returns how each of them ended, in order. Skip
	// hands one to the next binder.
	Bind(ctx context.Context, bindings []Binding) []*Status
}

// NodeLocal marks a Filter or Score plugin whose PreFilter, Filter, PreScore
// and Score depend on nothing but the pod's Signature, the one node, and the
// set of nodes and images in the cluster. Consecutive pods of one Signature
// and one profile then share its answers for nodes that have not changed in
// between. What is not NodeLocal is asked anew.
type NodeLocal interface {
	Plugin
	NodeLocal()
}

// Lasting is a Filter whose verdicts depend, of some pods, on nothing but what those
// of a NodeLocal do. Its state may look beyond the one node and must be made anew
// when pods have come or gone, but the verdicts on nodes that have not changed last.
type Lasting interface {
	Filter
	// Lasting says whether the pod that PreFilter has made state for is such a one.
	Lasting(state *CycleState) bool
}

// EventsRegistrar is a plugin that rejects pods.
type EventsRegistrar interface {
	Plugin
	// EventsToRegister returns the events that can help a rejected pod.
	EventsToRegister() []EventHint
}
