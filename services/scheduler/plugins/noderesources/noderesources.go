// Package noderesources keeps pods to nodes that have what they request left:
// CPU, memory, ephemeral storage, extended resources, and a place for a pod. Of
// those it prefers, unless it is told otherwise, the ones with the most left.
package noderesources

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/scheduler/devices"
	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/plugins/devicestock"
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
	// devices says whether devices stand for an extended resource; stock counts
	// them for scores.
	devices func(corev1.ResourceName) bool
	stock   devicestock.Counter
}

// New returns the plugin. Its arguments have their defaults and are valid. Where
// devices stand for an extended resource of which a node has none to give itself,
// whether there are enough is for the plugin of devices to say; scores count the
// devices. What asks about devices may be nil: then none stand for anything.
func New(args *configv1.NodeResourcesFitArgs, standsFor func(corev1.ResourceName) bool, stock func([]corev1.ResourceName) *devices.Stock) *Plugin {
	return &Plugin{
		devices: standsFor, stock: devicestock.New(stock),
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
		if want <= capacity-node.Requested.Of(name) || p.ignores(name) || p.isLeft(name, capacity) {
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

// isLeft says whether a resource of which a node has so much is left to devices.
func (p *Plugin) isLeft(name corev1.ResourceName, capacity int64) bool {
	return capacity == 0 && snapshot.IsScalar(name) && p.devices != nil && p.devices(name)
}

// EventsToRegister: a node comes or grows, a pod goes or shrinks, devices come to
// stand for a resource.
func (p *Plugin) EventsToRegister() []framework.EventHint {
	return []framework.EventHint{
		{Resource: framework.Node, Action: framework.Add | framework.UpdateAllocatable, Helps: p.couldFit},
		{Resource: framework.AssignedPod, Action: framework.Delete | framework.ScaleDown},
		{Resource: framework.WaitingPod, Action: framework.ScaleDown},
		{Resource: framework.DeviceClass, Action: framework.Add | framework.Update, Helps: standsForResource},
	}
}

// standsForResource says whether a class stands for a resource that the pod asks
// for, and did not before.
func standsForResource(pod *snapshot.PodInfo, e framework.Event) bool {
	class, ok := e.New.(*resourcev1.DeviceClass)
	if !ok {
		return false
	}
	if old, ok := e.Old.(*resourcev1.DeviceClass); ok && ptr.Equal(old.Spec.ExtendedResourceName, class.Spec.ExtendedResourceName) {
		return false
	}
	return slices.ContainsFunc(pod.Wanted, func(name corev1.ResourceName) bool {
		return string(name) == ptr.Deref(class.Spec.ExtendedResourceName, "") || string(name) == resourcev1.ResourceDeviceClassPrefix+class.Name
	})
}

// couldFit says that the node, were it empty, has room for the pod.
func (p *Plugin) couldFit(pod *snapshot.PodInfo, e framework.Event) bool {
	node, ok := e.New.(*corev1.Node)
	if !ok {
		return false
	}
	capacity := snapshot.NewResources(node.Status.Allocatable)
	return !slices.ContainsFunc(pod.Wanted, func(name corev1.ResourceName) bool {
		return pod.Requests.Of(name) > capacity.Of(name) && !p.ignores(name) && !p.isLeft(name, capacity.Of(name))
	})
}
