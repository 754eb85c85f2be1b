package podset

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// SortForDeletion orders pods so that the ones whose loss costs least come
// first. In this order of weight: not assigned to a node before assigned;
// Pending before Unknown before Running; not ready before ready; the lower
// controller.kubernetes.io/pod-deletion-cost; more siblings on the same node
// (siblings are all running pods of the workload, pods included); ready for a
// shorter time; more container restarts; younger. Times are compared by their
// magnitude, so that near ones count as equal and the uid decides.
func SortForDeletion(pods, siblings []*corev1.Pod, now time.Time) {
	perNode := make(map[string]int)
	for _, s := range siblings {
		if IsActive(s) {
			perNode[s.Spec.NodeName]++
		}
	}
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(
			falseFirst(a.Spec.NodeName != "", b.Spec.NodeName != ""),
			cmp.Compare(phaseRank(a), phaseRank(b)),
			falseFirst(IsReady(a), IsReady(b)),
			cmp.Compare(deletionCost(a), deletionCost(b)),
			cmp.Compare(perNode[b.Spec.NodeName], perNode[a.Spec.NodeName]),
			youngerFirst(readySince(a), readySince(b), now),
			cmp.Compare(restarts(b), restarts(a)),
			youngerFirst(a.CreationTimestamp.Time, b.CreationTimestamp.Time, now),
			cmp.Compare(a.UID, b.UID),
		)
	})
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case !a:
		return -1
	default:
		return 1
	}
}

func phaseRank(pod *corev1.Pod) int {
	switch pod.Status.Phase {
	case corev1.PodRunning:
		return 2
	case corev1.PodUnknown:
		return 1
	default:
		return 0
	}
}

func deletionCost(pod *corev1.Pod) int64 {
	cost, err := strconv.ParseInt(pod.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0 // as the annotation's documentation says
	}
	return cost
}

func readySince(pod *corev1.Pod) time.Time {
	if c := Condition(pod, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
		return c.LastTransitionTime.Time
	}
	return time.Time{}
}

func restarts(pod *corev1.Pod) (most int32) {
	for _, s := range pod.Status.ContainerStatuses {
		most = max(most, s.RestartCount)
	}
	return most
}

// youngerFirst compares two times by the order of magnitude (base 2) of how
// long ago they were. An unset time counts as the youngest.
func youngerFirst(a, b, now time.Time) int {
	if a.IsZero() || b.IsZero() {
		return falseFirst(!a.IsZero(), !b.IsZero())
	}
	return cmp.Compare(magnitude(now.Sub(a)), magnitude(now.Sub(b)))
}

func magnitude(d time.Duration) (m int) {
	for s := int64(d / time.Second); s > 0; s >>= 1 {
		m++
	}
	return m
}
