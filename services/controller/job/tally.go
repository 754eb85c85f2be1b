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
// whose finalizer is off enter the counts; those new go onto the list.
func (s *step) tally() {
	status := &s.job.Status
	list := status.UncountedTerminatedPods
	if list == nil {
		list = &batchv1.UncountedTerminatedPods{}
	}
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
	indexes := parseIndexes(status.CompletedIndexes)
	for _, pod := range s.pods {
		if isTracked(pod) {
			s.tallyPod(list, indexes, pod)
		}
	}
	status.UncountedTerminatedPods = list
	if isIndexed(s.job) {
		status.CompletedIndexes = indexes.String()
		// One index may succeed twice; the count is that of the indexes.
		status.Succeeded = int32(len(indexes)) - int32(len(list.Succeeded))
		status.Succeeded = max(status.Succeeded, 0)
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

// tallyPod puts a pod that has ended onto the list.
func (s *step) tallyPod(list *batchv1.UncountedTerminatedPods, indexes indexSet, pod *corev1.Pod) {
	switch {
	case pod.Status.Phase == corev1.PodSucceeded:
		if isIndexed(s.job) {
			i, ok := indexOf(pod)
			if !ok || int32(i) >= ptr.Deref(s.job.Spec.Completions, 0) || (indexes[i] && !slices.Contains(list.Succeeded, pod.UID)) {
				s.counted = append(s.counted, pod) // nobody asked for it; it counts for nothing
				return
			}
			indexes[i] = true
		}
		list.Succeeded = addUID(list.Succeeded, pod.UID)
	case s.hasFailed(pod):
		list.Failed = addUID(list.Failed, pod.UID)
	case pod.DeletionTimestamp == nil:
		return
	case !s.endedByUs():
		return
	}
	s.counted = append(s.counted, pod)
}

// hasFailed says whether a pod counts as failed: it ended so, or it is being
// deleted by somebody, and the policy does not wait for how that ends.
func (s *step) hasFailed(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodFailed {
		return true
	}
	policy := ptr.Deref(s.job.Spec.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	return pod.DeletionTimestamp != nil && policy == batchv1.TerminatingOrFailed && !s.endedByUs()
}

// endedByUs says whether pods are deleted because the Job does not need them,
// and so have not failed.
func (s *step) endedByUs() bool {
	return ptr.Deref(s.job.Spec.Suspend, false) || s.has(batchv1.JobSuccessCriteriaMet)
}

func addUID(uids []types.UID, uid types.UID) []types.UID {
	if slices.Contains(uids, uid) {
		return uids
	}
	return append(uids, uid)
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

// succeeded and failed count the pods on the list as well.
func (s *step) succeeded() int32 {
	return s.job.Status.Succeeded + int32(len(s.job.Status.UncountedTerminatedPods.Succeeded))
}

func (s *step) failed() int32 {
	return s.job.Status.Failed + int32(len(s.job.Status.UncountedTerminatedPods.Failed))
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
	}
	if !suspended && s.job.Status.StartTime == nil {
		s.job.Status.StartTime = ptr.To(metav1.NewTime(s.now))
	}
}
