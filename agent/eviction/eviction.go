// Package eviction ends pods of a node that is short of memory, of its disk or of
// process IDs, as Kubernetes' node-pressure eviction does: one after another, those
// first that take most beyond what they asked for.
//
//	eviction.go   what the node looks at, and what it does then
//	rank.go       whose turn it is
//	shortage.go   what a node is short of
//	threshold.go  from when on
package eviction

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// interval is how often the node is looked at.
	interval = 10 * time.Second
	// goneTime is how long a pod that was evicted may take to give back what it
	// has before the next one is.
	goneTime = 30 * time.Second
	goneStep = time.Second
)

// Pod is a pod that runs, and what it has of what the node is short of.
type Pod struct {
	Object *corev1.Pod
	// Used is in bytes or, of inodes and process IDs, how many.
	Used int64
	// Containers is what each container has, by its name.
	Containers map[string]int64
}

// Pods are the node's pods.
type Pods interface {
	// Using returns the pods that run, with what they have.
	Using(ctx context.Context, s Signal) ([]Pod, error)
	// Evict ends a pod for good, within a grace period, or the pod's own if that is
	// shorter. It says whether the pod was running.
	Evict(ctx context.Context, uid string, s Signal, message string, grace time.Duration) bool
	// Ended says whether nothing of a pod is left that takes any.
	Ended(ctx context.Context, uid string) bool
}

// Evictor looks after one node.
type Evictor struct {
	// Shortages says what the node is short of; before is what it was at last.
	Shortages func(before []Shortage) []Shortage
	// Reclaim frees what of the disk no pod needs.
	Reclaim func(ctx context.Context) error
	Pods    Pods
	// MaxPodGrace bounds the grace period of pods that go for a soft threshold. Those
	// that go for a hard one have none.
	MaxPodGrace time.Duration
	Log         *slog.Logger

	// short is what the node was short of at last, since when it is.
	short []Shortage
	since map[Signal]time.Time
	// helpless says that nothing could be done about the last shortage.
	helpless bool
}

// Run evicts pods while the node is short of something, until ctx ends.
func (e *Evictor) Run(ctx context.Context) error {
	_ = wait.PollUntilContextCancel(ctx, interval, false, func(ctx context.Context) (bool, error) {
		e.look(ctx)
		return false, nil
	}) // only the end of ctx ends it
	return nil
}

// look does what a shortage calls for, at most one eviction.
func (e *Evictor) look(ctx context.Context) {
	short := e.due()
	if len(short) == 0 {
		e.helpless = false
		return
	}
	s := short[0]
	if s.onDisk() {
		if err := e.Reclaim(ctx); err != nil {
			e.Log.WarnContext(ctx, "unused images were not removed", "error", err)
		}
		if short = e.due(); len(short) == 0 {
			return
		}
		s = short[0]
	}
	pods, err := e.Pods.Using(ctx, s.Signal)
	if err != nil {
		e.Log.WarnContext(ctx, "what pods use was not measured", "error", err)
	}
	var grace time.Duration
	if !s.hard() {
		grace = e.MaxPodGrace
	}
	for _, p := range candidates(s, pods) {
		if !e.Pods.Evict(ctx, string(p.Object.UID), s.Signal, message(s, p), grace) {
			continue
		}
		e.Log.WarnContext(ctx, "evicted a pod", "signal", s.Signal, "available", s.Available, "threshold", s.Threshold,
			"namespace", p.Object.Namespace, "pod", p.Object.Name, "used", p.Used)
		e.helpless = false
		e.awaitEnd(ctx, string(p.Object.UID), grace+goneTime)
		return
	}
	if e.helpless {
		return
	}
	e.helpless = true
	e.Log.WarnContext(ctx, "the node is short of what no pod would give back", "signal", s.Signal, "available", s.Available, "threshold", s.Threshold)
}

// due returns the shortages about which something is to be done: those by hard
// thresholds, and those by soft ones that have lasted.
func (e *Evictor) due() []Shortage {
	e.short = e.Shortages(e.short)
	now, since := time.Now(), make(map[Signal]time.Time, len(e.short))
	var due []Shortage
	for _, s := range e.short {
		began, ok := e.since[s.Signal]
		if !ok {
			began = now
		}
		since[s.Signal] = began
		if now.Sub(began) >= s.Grace {
			due = append(due, s)
		}
	}
	e.since = since
	return due
}

// awaitEnd waits until an evicted pod has given back what it has, but not for long.
func (e *Evictor) awaitEnd(ctx context.Context, uid string, patience time.Duration) {
	_ = wait.PollUntilContextTimeout(ctx, goneStep, patience, true, func(ctx context.Context) (bool, error) {
		return e.Pods.Ended(ctx, uid), nil
	}) // whether it has is seen at the next look
}

// message tells users why a pod was evicted, in Kubernetes' words.
func message(s Shortage, p Pod) string {
	text := fmt.Sprintf("The node was low on resource: %s. Threshold quantity: %s, available: %s. ", s.resource(), s.quantity(s.Threshold), s.quantity(s.Available))
	for i := range p.Object.Spec.Containers {
		c := &p.Object.Spec.Containers[i]
		used, asked := p.Containers[c.Name], requestOf(s, c.Resources.Requests)
		if used > asked {
			text += fmt.Sprintf("Container %s was using %s, request is %s, has larger consumption of %s. ", c.Name, s.quantity(used), s.quantity(asked), s.resource())
		}
	}
	return text
}

func (s Shortage) quantity(n int64) string {
	format := resource.BinarySI
	if s.Signal == Inodes || s.Signal == PIDs {
		format = resource.DecimalSI
	}
	return resource.NewQuantity(n, format).String()
}
