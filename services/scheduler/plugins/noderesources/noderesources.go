// Package noderesources keeps pods to nodes that have what they request left:
// CPU, memory, ephemeral storage, extended resources, and a place for a pod. Of
// those it prefers, unless it is told otherwise, the ones with the most left.
package noderesources

import (
	"context"
	"slices"
	"strings"

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
type Plugin struct {
	// ignored are resources, ignoredGroups their names up to the slash, that
	// the filter does not look at.
	ignored, ignoredGroups map[string]bool
	scoring                scoring
}

// New returns the plugin. Its arguments have their defaults and are valid.
func New(args *configv1.NodeResourcesFitArgs) *Plugin {
	return &Plugin{
		ignored: setOf(args.IgnoredResources), ignoredGroups: setOf(args.IgnoredResourceGroups),
		scoring: newScoring(args.ScoringStrategy),
	}
}

func setOf(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// NodeLocal: verdict and score depend on the pod and the node alone.
func (*Plugin) NodeLocal() {}

// Filter rejects nodes that lack anything. What even an empty node could not
// give cannot be helped by taking pods away.
func (p *Plugin) Filter(_ context.Context, _ *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) *framework.Status {
	var short []string
	code := framework.Unschedulable
	if int64(len(node.Pods))+1 > node.Allocatable.Pods {
		short = append(short, TooManyPods)
	}
	for _, name := range pod.Wanted {
		want, capacity := pod.Requests.Of(name), node.Allocatable.Of(name)
		if want <= capacity-node.Requested.Of(name) || p.ignores(name) {
			continue
		}
		short = append(short, "Insufficient "+string(name))
		if want > capacity {
			code = framework.UnschedulableAndUnresolvable
		}
	}
	if len(short) == 0 {
		return nil
	}
	return framework.NewStatus(code, short...)
}

// ignores says whether the resource is an extended one that is not looked at.
func (p *Plugin) ignores(name corev1.ResourceName) bool {
	if !snapshot.IsScalar(name) || len(p.ignored) == 0 && len(p.ignoredGroups) == 0 {
		return false
	}
	group, _, _ := strings.Cut(string(name), "/")
	return p.ignored[string(name)] || p.ignoredGroups[group]
}

// EventsToRegister: a node comes or grows, a pod goes or shrinks.
func (p *Plugin) EventsToRegister() []framework.EventHint {
	return []framework.EventHint{
		{Resource: framework.Node, Action: framework.Add | framework.UpdateAllocatable, Helps: p.couldFit},
		{Resource: framework.AssignedPod, Action: framework.Delete | framework.ScaleDown},
		{Resource: framework.WaitingPod, Action: framework.ScaleDown},
	}
}

// couldFit says that the node, were it empty, has room for the pod.
func (p *Plugin) couldFit(pod *snapshot.PodInfo, e framework.Event) bool {
	node, ok := e.New.(*corev1.Node)
	if !ok {
		return false
	}
	capacity := snapshot.NewResources(node.Status.Allocatable)
	return !slices.ContainsFunc(pod.Wanted, func(name corev1.ResourceName) bool {
		return pod.Requests.Of(name) > capacity.Of(name) && !p.ignores(name)
	})
}
