package scheduler

import (
	"cmp"
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/placement"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// attempt is one pod's way through a decision.
type attempt struct {
	profile *framework.Profile
	pod     *snapshot.PodInfo
	added   time.Time
	began   time.Time
	result  *placement.Result
	// ctx carries the decision's span, the pod's trace from here on.
	ctx context.Context
}

// node is where the pod goes.
func (a *attempt) node() string { return a.result.Node }

// schedule tries one pod.
func (s *Scheduler) schedule(ctx context.Context, queued *framework.QueuedPod) {
	if !s.stillWaits(queued.PodInfo) {
		s.queue.Done(queued.Pod.UID)
		return
	}
	a := &attempt{profile: s.profiles.Of(queued.Pod), pod: queued.PodInfo, added: queued.Added, began: time.Now()}
	var span trace.Span
	a.ctx, span = s.tracer.Start(s.pods.TraceContext(ctx, a.pod.Key()), "scheduler.schedule", trace.WithAttributes(
		attribute.String("k8s.namespace.name", a.pod.Pod.Namespace),
		attribute.String("k8s.pod.name", a.pod.Pod.Name),
		attribute.Int("navarch.scheduler.attempt", queued.Attempts),
	))
	defer span.End()
	var err error
	if a.result, err = s.placer.Place(a.ctx, a.profile, a.pod); err != nil {
		span.SetStatus(codes.Error, err.Error())
		a.result = &placement.Result{}
		s.broken(a, err)
		return
	}
	span.SetAttributes(attribute.Int("navarch.scheduler.nodes_evaluated", a.result.Evaluated),
		attribute.Int("navarch.scheduler.nodes_feasible", a.result.Feasible))
	if a.result.Diagnosis != nil {
		s.unschedulable(a)
		return
	}
	span.SetAttributes(attribute.String("k8s.node.name", a.node()))
	span.End() // decided; the binding has a span of its own
	s.commit(a)
}

// stillWaits says whether the pod, as it is by now, is to be placed.
func (s *Scheduler) stillWaits(pod *snapshot.PodInfo) bool {
	now, ok := s.pods.GetByKey(pod.Key())
	return ok && now.UID == pod.Pod.UID && s.waits(now) && !s.cache.IsAssumed(now.UID)
}

// commit takes the node's room for the pod and hands the binding over.
func (s *Scheduler) commit(a *attempt) {
	if err := s.cache.Assume(a.pod, a.node()); err != nil {
		s.broken(a, err)
		return
	}
	if nominated := s.nominations.remove(a.pod.Pod.UID); nominated != a.node() {
		s.noLongerNominated(a.pod, nominated, false)
	}
	if status := a.profile.Reserve(a.ctx, a.result.State, a.pod, a.node()); !status.Success() {
		s.cache.Forget(a.pod.Pod.UID)
		s.refused(a, status)
		return
	}
	status, timeout := a.profile.Permit(a.ctx, a.result.State, a.pod, a.node())
	switch {
	case status.Code() == framework.Wait:
		wait := s.waiting.Begin(a.pod.Pod.UID, status.Plugin())
		s.binder.whenPermitted(a, func(ctx context.Context) *framework.Status { return wait(ctx, timeout) })
	case !status.Success():
		s.takeBack(a)
		s.refused(a, status)
	default:
		s.binder.submit(a)
	}
}

// takeBack undoes what commit did. Others may have been kept waiting by it.
func (s *Scheduler) takeBack(a *attempt) {
	a.profile.Unreserve(a.ctx, a.result.State, a.pod, a.node())
	s.cache.Forget(a.pod.Pod.UID)
	s.queue.Happened(framework.Event{Resource: framework.AssignedPod, Action: framework.Delete, Old: a.pod.Pod})
}

// unschedulable deals with a pod that fits nowhere: it asks whether room can be
// made, tells the user, and lets the pod wait for an event that helps.
func (s *Scheduler) unschedulable(a *attempt) {
	why := a.result.Diagnosis
	rejectedBy := why.Plugins()
	nominated := ""
	if why.AllNodes > 0 {
		var status *framework.Status
		nominated, status = a.profile.PostFilter(a.ctx, a.result.State, s.nominations.known(a.pod), a.result.Nodes, why)
		if status.Code() == framework.Error {
			s.log.ErrorContext(a.ctx, "making room failed", "pod", a.pod.Key(), "error", status)
		}
		why.PostFilter = status.Message()
	}
	before := s.nominate(a.pod, nominated)
	message := why.Message()
	s.log.DebugContext(a.ctx, "unschedulable", "pod", a.pod.Key(), "message", message, "nominated", nominated)
	s.tell(a, corev1.PodReasonUnschedulable, message, nominated)
	s.metrics.attempted("unschedulable", a)
	s.noLongerNominated(a.pod, before, false)
	s.queue.Reject(a.pod.Pod.UID, rejectedBy, message)
}

// nominate notes for which node room is being made for a pod, and returns the one for
// which that is no longer so, if there is one. A pod that is gone or bound by now gets
// no room: its informer has told of that already, or is about to.
func (s *Scheduler) nominate(pod *snapshot.PodInfo, node string) (before string) {
	before = s.nominations.set(pod, node)
	if node != "" && !s.stillWaits(pod) {
		return cmp.Or(s.nominations.remove(pod.Pod.UID), before)
	}
	return before
}

// refused deals with a pod that a plugin stopped after it had a node.
func (s *Scheduler) refused(a *attempt, status *framework.Status) {
	if !status.Rejected() {
		s.broken(a, status)
		return
	}
	s.tell(a, corev1.PodReasonUnschedulable, status.Message(), "")
	s.metrics.attempted("unschedulable", a)
	s.queue.Reject(a.pod.Pod.UID, []string{status.Plugin()}, status.Message())
}

// broken deals with an attempt that ended in an error.
func (s *Scheduler) broken(a *attempt, err error) {
	if a.ctx.Err() != nil { // the scheduler is stopping
		s.queue.Retry(a.pod.Pod.UID, err.Error())
		return
	}
	if s.stillWaits(a.pod) {
		s.log.WarnContext(a.ctx, "attempt failed", "pod", a.pod.Key(), "error", err)
		s.tell(a, corev1.PodReasonSchedulerError, err.Error(), "")
	}
	s.metrics.attempted("error", a)
	s.queue.Retry(a.pod.Pod.UID, err.Error())
}

// tell makes a failed attempt known: as an event, as the pod's condition, to
// those who watch, and to those who ask later.
func (s *Scheduler) tell(a *attempt, reason, message, nominated string) {
	s.history.record(a, "", message) // first: whoever is told may ask why at once
	s.event(a.pod.Pod, a.pod.Pod, corev1.EventTypeWarning, "FailedScheduling", message)
	s.conditions.set(a.pod.Pod, reason, message, nominated)
}
