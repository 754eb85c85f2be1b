package framework

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/scheduler/snapshot"
)

// RemedyKind is what a Remedy changes.
type RemedyKind int

const (
	// EvictPods takes pods off nodes.
	EvictPods RemedyKind = iota + 1
	// AwaitPods waits for pods that are going already.
	AwaitPods
	// ChangePod changes the pod that is to be placed, or what it is made from.
	ChangePod
	// ChangeNode changes the node.
	ChangeNode
	// AddPod starts another pod.
	AddPod
)

// Remedy is a change after which one plugin would let the pod onto one node.
type Remedy struct {
	Kind RemedyKind
	// Description is for people, and begins with a verb: "evict default/web".
	Description string
	// Pods are those that have to go, as "namespace/name".
	Pods []string
}

// Advice is what one plugin knows of a node that it rejects.
type Advice struct {
	// Detail is what is wanted and what is there: "needs 300m of cpu, 120m of 4
	// are free". It may be empty.
	Detail string
	// Remedies are a few, the most sensible first. Each does alone.
	Remedies []Remedy
}

// Advisor is a Filter that knows what would have to change.
type Advisor interface {
	Filter
	// Advise is asked of a node that Filter has rejected, with the same state.
	Advise(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) Advice
}

// Advise returns what the plugin that gave a verdict on the node knows.
func (p *Profile) Advise(ctx context.Context, state *CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo, verdict *Status) Advice {
	for _, f := range state.filters {
		if a, ok := f.(Advisor); ok && f.Name() == verdict.Plugin() {
			return a.Advise(ctx, state, pod, node)
		}
	}
	return Advice{}
}

// Evict is the remedy of taking pods away.
func Evict(pods ...*snapshot.PodInfo) Remedy {
	names := keys(pods)
	return Remedy{Kind: EvictPods, Description: "evict " + strings.Join(names, ", "), Pods: names}
}

// Await is the remedy of waiting for pods that are going.
func Await(pods ...*snapshot.PodInfo) Remedy {
	names := keys(pods)
	return Remedy{Kind: AwaitPods, Description: "wait for the end of " + strings.Join(names, ", "), Pods: names}
}

func keys(pods []*snapshot.PodInfo) []string {
	names := make([]string, len(pods))
	for i, p := range pods {
		names[i] = p.Key()
	}
	slices.Sort(names)
	return names
}

// Going says that a pod is being deleted.
func Going(p *snapshot.PodInfo) bool { return p.Pod.DeletionTimestamp != nil }

// Evictable says whether it makes sense to take other away for pod's sake: it is
// not more important, and nothing puts it back where it was.
func Evictable(other, pod *snapshot.PodInfo) bool {
	if Going(other) || other.Priority() > pod.Priority() {
		return false
	}
	owner := metav1.GetControllerOfNoCopy(other.Pod)
	if owner != nil && (owner.Kind == "DaemonSet" || owner.Kind == "Node") {
		return false
	}
	_, mirror := other.Pod.Annotations[corev1.MirrorPodAnnotationKey]
	return !mirror
}
