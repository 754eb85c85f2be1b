// Package fencing is what agents and the node lifecycle controller agree on so
// that the pods of a node that is cut off can be replaced within seconds, and
// never run twice. docs/decisions/0011-fencing.md has the argument.
//
// Both speak through the node's Lease. An agent that stops its pods by itself
// promises so in an annotation of the Lease, with every renewal. The controller,
// before it removes pods of a silent node, marks the Lease in a write that fails
// if the Lease has been renewed meanwhile. An agent that finds the mark knows
// that pods it has stopped may run elsewhere, and gives them up before it takes
// the mark off.
package fencing

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/toleration"
)

// Annotations of a node's Lease.
const (
	// PromiseAnnotation holds a duration: the agent keeps no pod running for
	// longer than After of it, counted from before it sent the renewal. It is
	// absent if the agent does not fence.
	PromiseAnnotation = "fencing.navarch.dev/promise"
	// MarkAnnotation holds the time at which the controller began to remove pods
	// of the node. Only the agent takes it off.
	MarkAnnotation = "fencing.navarch.dev/mark"
)

// Shortest and Longest bound what an agent can promise: a shorter one would be
// broken by any hiccup of a Store, a longer one is no faster than Kubernetes.
const (
	Shortest = 3 * time.Second
	Longest  = 40 * time.Second
)

// Grace is how long before its end a fenced pod is asked to end.
func Grace(promise time.Duration) time.Duration { return promise / 5 }

// Promise returns what the agent promised with the last renewal of its Lease;
// false if it promised nothing, or nothing that can be true.
func Promise(l *coordinationv1.Lease) (time.Duration, bool) {
	d, err := time.ParseDuration(l.Annotations[PromiseAnnotation])
	return d, err == nil && d >= Shortest && d <= Longest
}

// Marked says whether pods of the Lease's node may have been removed while its
// agent was silent.
func Marked(l *coordinationv1.Lease) bool { return l.Annotations[MarkAnnotation] != "" }

// After returns how long a pod runs on without its node's Lease being renewed:
// as long as the agent promises, or if the pod tolerates an unreachable node for
// longer, that long. Pods that tolerate it for ever, as those of DaemonSets, and
// pods that come from a file are not fenced.
func After(pod *corev1.Pod, promise time.Duration) (after time.Duration, fenced bool) {
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return 0, false
	}
	seconds, bounded := toleration.For(pod, corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute})
	if !bounded || seconds > int64(maxToleration/time.Second) {
		return 0, false
	}
	return max(promise, time.Duration(seconds)*time.Second), true
}

// maxToleration is for ever, and keeps durations from overflowing.
const maxToleration = 365 * 24 * time.Hour
