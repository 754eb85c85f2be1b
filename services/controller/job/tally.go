package job

import (
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/podset"
)

// maxUncounted is the most pods that are counted at once, which bounds the
// size of the status. The others' turn is after that.
const maxUncounted = 500

func namespaceOf(key string) string {
	namespace, _, _ := strings.Cut(key, "/")
	return namespace
}

// look sorts the pods.
func (s *step) look(pods []*corev1.Pod) {
	s.pods = pods
	for _, pod := range pods {
		switch {
		case podset.IsActive(pod):
			s.active = append(s.active, pod)
		case !podset.IsFinished(pod):
			s.terminating = append(s.terminating, pod)
		}
	}
}

// tally counts pods that have ended. Those whose uid the stored status has and
// whose finalizer is off enter the counts; those new go onto the list. The
// success of an index needs no list: an index is complete or not, however
// often one looks.
func (s *step) tally() {
	status := &s.job.Status
	if status.UncountedTerminatedPods == nil {
		status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	list := status.UncountedTerminatedPods
	tracked := make(map[types.UID]bool)
	for _, pod := range s.pods {
		if isTracked(pod) {
			tracked[pod.UID] = true
		}
	}
	var counted int32
	list.Succeeded, counted = settle(list.Succeeded, tracked)
	status.Succeeded += counted
	list.Failed, counted = settle(list.Failed, tracked)
	status.Failed += counted
	s.tallyIndexes()
	for _, pod := range s.pods {
		if isTracked(pod) {
			s.tallyPod(list, pod)
		}
	}
	s.count()
}

// settle keeps the uids of pods that still have their finalizers and says how
// many have not.
func settle(uids []types.UID, tracked map[types.UID]bool) (kept []types.UID, counted int32) {
	for _, uid := range uids {
		if tracked[uid] {
			kept = append(kept, uid)
		} else {
			counted++
		}
	}
	return kept, counted
}

// tallyIndexes finds out which indexes are complete, which have failed for
// good, and which failed pod each of the others starts its next attempt from.
func (s *step) tallyIndexes() {
	if !isIndexed(s.job) {
		return
	}
	status := &s.job.Status
	s.completed = parseIndexes(status.CompletedIndexes, s.completions())
	s.failed = parseIndexes(ptr.Deref(status.FailedIndexes, ""), s.completions())
	for _, pod := range s.pods {
		if i, ok := s.index(pod); ok && isTracked(pod) && pod.Status.Phase == corev1.PodSucceeded {
			s.completed[i] = true
		}
	}
	status.CompletedIndexes, status.Succeeded = s.completed.String(), int32(len(s.completed))
	if !limitsIndexes(s.job) {
		return
	}
	for _, pod := range s.pods {
		if i, ok := s.index(pod); ok && isTracked(pod) && s.hasFailed(pod) && !s.completed[i] && s.failsIndex(pod) {
			s.failed[i] = true
		}
	}
	status.FailedIndexes = ptr.To(s.failed.String())
	s.tallyAttempts()
}

// tallyAttempts finds the last failed pod of every index that is to be tried
// again. The pod keeps its finalizer until its successor, which inherits the
// number of failures, is seen.
func (s *step) tallyAttempts() {
	s.last = make(map[int]*corev1.Pod)
	running := make(indexSet)
	for _, pod := range s.active {
		if i, ok := s.index(pod); ok {
			running[i] = true
		}
	}
	for _, pod := range s.pods {
		i, ok := s.index(pod)
		if !ok || !isTracked(pod) || !s.hasFailed(pod) || running[i] || s.completed[i] || s.failed[i] {
			continue
		}
		if before := s.last[i]; before == nil || attempts(before) <= attempts(pod) {
			s.last[i] = pod
		}
	}
}

func attempts(pod *corev1.Pod) int {
	counted, ignored := failures(pod)
	return counted + ignored
}

// tallyPod puts a pod that has ended onto the list, if it counts, and lets it
// lose its finalizer once that is stored.
func (s *step) tallyPod(list *batchv1.UncountedTerminatedPods, pod *corev1.Pod) {
	index, hasIndex := s.index(pod)
	ours := !isIndexed(s.job) || hasIndex // nobody asked for an index beyond the last
	switch {
	case pod.Status.Phase == corev1.PodSucceeded:
		if !isIndexed(s.job) && !slices.Contains(list.Failed, pod.UID) && !s.note(&list.Succeeded, pod) {
			return
		}
	case s.hasFailed(pod):
		if hasIndex && s.last[index] == pod && !s.isEnding() && s.job.DeletionTimestamp == nil {
			s.uncounted++
			return
		}
		if ours && verdictOn(s.job.Spec.PodFailurePolicy, pod).counts() && !s.note(&list.Failed, pod) {
			return
		}
	case pod.DeletionTimestamp == nil || !s.endedByUs():
		return
	}
	s.counted = append(s.counted, pod)
}

// note puts a pod's uid onto a list unless the lists are full.
func (s *step) note(uids *[]types.UID, pod *corev1.Pod) bool {
	if slices.Contains(*uids, pod.UID) {
		return true
	}
	list := s.job.Status.UncountedTerminatedPods
	if len(list.Succeeded)+len(list.Failed) >= maxUncounted {
		s.uncounted++
		return false
	}
	*uids = append(*uids, pod.UID)
	return true
}

// hasFailed says whether a pod counts as failed: it ended so, or it is being
// deleted by somebody, and the policy does not wait for how that ends. When
// the Job itself has failed, nothing waits any more.
func (s *step) hasFailed(pod *corev1.Pod) bool {
	switch {
	case pod.Status.Phase == corev1.PodFailed:
		return true
	case pod.DeletionTimestamp == nil || pod.Status.Phase == corev1.PodSucceeded || s.endedByUs():
		return false
	}
	return !s.replacesOnlyFailed() || s.has(batchv1.JobFailureTarget)
}

// replacesOnlyFailed says whether a pod that is being deleted keeps its place
// until it has ended.
func (s *step) replacesOnlyFailed() bool {
	return ptr.Deref(s.job.Spec.PodReplacementPolicy, batchv1.TerminatingOrFailed) == batchv1.Failed
}

// endedByUs says whether pods are deleted because the Job does not need them,
// and so have not failed.
func (s *step) endedByUs() bool {
	return ptr.Deref(s.job.Spec.Suspend, false) || s.has(batchv1.JobSuccessCriteriaMet)
}

// count sets the numbers of pods there are now.
func (s *step) count() {
	status := &s.job.Status
	status.Active = int32(len(s.active))
	var ready int32
	for _, pod := range s.active {
		if podset.IsReady(pod) {
			ready++
		}
	}
	status.Ready, status.Terminating = &ready, ptr.To(int32(len(s.terminating)))
}

// successes and failedPods count the pods on the list as well.
func (s *step) successes() int32 {
	return s.job.Status.Succeeded + int32(len(s.job.Status.UncountedTerminatedPods.Succeeded))
}

func (s *step) failedPods() int32 {
	n := s.job.Status.Failed + int32(len(s.job.Status.UncountedTerminatedPods.Failed))
	for _, pod := range s.last {
		if verdictOn(s.job.Spec.PodFailurePolicy, pod).counts() {
			n++
		}
	}
	return n
}

// start notes when the Job began to run; a suspended one has not.
func (s *step) start() {
	suspended := ptr.Deref(s.job.Spec.Suspend, false)
	switch {
	case suspended && !s.has(batchv1.JobSuspended):
		s.job.Status.StartTime = nil
		s.set(batchv1.JobSuspended, corev1.ConditionTrue, "JobSuspended", "Job suspended")
		s.events.Event(s.job, corev1.EventTypeNormal, "Suspended", "Job suspended")
	case !suspended && s.has(batchv1.JobSuspended):
		s.set(batchv1.JobSuspended, corev1.ConditionFalse, "JobResumed", "Job resumed")
		s.events.Event(s.job, corev1.EventTypeNormal, "Resumed", "Job resumed")
		s.job.Status.StartTime = nil
	}
	if !suspended && s.job.Status.StartTime == nil {
		s.job.Status.StartTime = ptr.To(metav1.NewTime(s.now))
	}
}
