// Package noderesources keeps pods to nodes that have what they request left:
// CPU, memory, ephemeral storage, extended resources, and a place for a pod. Of
// those it prefers, unless it is told otherwise, the ones with the most left.
package noderesources

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Name of the plugin.
const Name = "NodeResourcesFit"

// TooManyPods is the reason users read where a node's pod places are taken;
// the others are "Insufficient " and the resource.
const TooManyPods = "Too many pods"

// Plugin implements framework.Filter and framework.Score.
type Plugin struct{ scoring scoring }

// New returns the plugin.
func New(args *configv1.NodeResourcesFitArgs) *Plugin {
	return &Plugin{scoring: newScoring(args.ScoringStrategy)}
}

// DefaultArgs returns what Kubernetes uses where nothing else is said: nodes
// with more CPU and memory left are better.
func DefaultArgs() *configv1.NodeResourcesFitArgs {
	return &configv1.NodeResourcesFitArgs{ScoringStrategy: &configv1.ScoringStrategy{
		Type: configv1.LeastAllocated,
		Resources: []configv1.ResourceSpec{
			{Name: string(corev1.ResourceCPU), Weight: 1}, {Name: string(corev1.ResourceMemory), Weight: 1},
		},
	}}
}

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// NodeLocal: verdict and score depend on the pod and the node alone.
func (*Plugin) NodeLocal() {}

// Filter rejects nodes that lack anything. What even an empty node could not
// give cannot be helped by taking pods away.
func (*Plugin) Filter(_ context.Context, _ *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) *framework.Status {
	short := insufficient(&pod.Requests, node)
	if len(short) == 0 {
		return nil
	}
	code := framework.Unschedulable
	if pod.Requests.Exceeds(node.Allocatable) {
		code = framework.UnschedulableAndUnresolvable
	}
	return framework.NewStatus(code, short...)
}

// EventsToRegister: a node comes or grows, a pod goes or shrinks.
func (*Plugin) EventsToRegister() []framework.EventHint {
	return []framework.EventHint{
		{Resource: framework.Node, Action: framework.Add | framework.UpdateAllocatable, Helps: couldFit},
		{Resource: framework.AssignedPod, Action: framework.Delete | framework.ScaleDown},
		{Resource: framework.WaitingPod, Action: framework.ScaleDown},
	}
}

// couldFit says that the node, were it empty, has room for the pod.
func couldFit(pod *snapshot.PodInfo, e framework.Event) bool {
	node, ok := e.New.(*corev1.Node)
	return ok && !pod.Requests.Exceeds(snapshot.NewResources(node.Status.Allocatable))
}

// insufficient returns the reasons why the node cannot take the requests.
// Resources that are not requested may be overdrawn.
func insufficient(want *snapshot.Resources, node *snapshot.NodeInfo) []string {
	var short []string
	if int64(len(node.Pods))+1 > node.Allocatable.Pods {
		short = append(short, TooManyPods)
	}
	if want.MilliCPU > 0 && want.MilliCPU > node.Allocatable.MilliCPU-node.Requested.MilliCPU {
		short = append(short, "Insufficient cpu")
	}
	if want.Memory > 0 && want.Memory > node.Allocatable.Memory-node.Requested.Memory {
		short = append(short, "Insufficient memory")
	}
	if want.EphemeralStorage > 0 && want.EphemeralStorage > node.Allocatable.EphemeralStorage-node.Requested.EphemeralStorage {
		short = append(short, "Insufficient ephemeral-storage")
	}
	return append(short, insufficientScalars(want, node)...)
}

func insufficientScalars(want *snapshot.Resources, node *snapshot.NodeInfo) []string {
	var short []string
	for name, v := range want.Scalars {
		if v > 0 && v > node.Allocatable.Scalars[name]-node.Requested.Scalars[name] {
			short = append(short, "Insufficient "+string(name))
		}
	}
	slices.Sort(short)
	return short
}
