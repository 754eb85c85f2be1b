package eviction

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	podresource "k8s.io/component-helpers/resource"
)

// systemCritical is the priority from which pods are never evicted.
const systemCritical = 2_000_000_000

// candidates returns the pods whose eviction helps, the first to go first: those
// that have more than they asked for, then those of the least priority, then
// those that have most beyond what they asked for. Unlike Kubernetes, pods that
// would free next to nothing stay: where somebody else has filled the disk, ending
// all pods would help nobody.
func candidates(s Shortage, pods []Pod) []Pod {
	worth := max((s.Threshold-s.Available)/20, s.Threshold/1000, 1)
	pods = slices.DeleteFunc(slices.Clone(pods), func(p Pod) bool {
		return critical(p.Object) || p.Used < worth
	})
	slices.SortStableFunc(pods, func(a, b Pod) int {
		overA, overB := beyond(s, a), beyond(s, b)
		return cmp.Or(
			cmp.Compare(sign(overB), sign(overA)),
			cmp.Compare(priority(a.Object), priority(b.Object)),
			cmp.Compare(overB, overA),
		)
	})
	return pods
}

// beyond is what a pod has beyond what it asked for.
func beyond(s Shortage, pod Pod) int64 {
	return pod.Used - requestOf(s, podresource.PodRequests(pod.Object, podresource.PodResourcesOptions{}))
}

// sign is 1 for a pod that has more than it asked for, otherwise 0.
func sign(n int64) int {
	if n > 0 {
		return 1
	}
	return 0
}

// requestOf is how much of what is short was asked for. Inodes and process IDs
// cannot be.
func requestOf(s Shortage, requests corev1.ResourceList) int64 {
	if s.Signal == Inodes || s.Signal == PIDs {
		return 0
	}
	q := requests[s.resource()]
	return q.Value()
}

func priority(pod *corev1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

// critical says whether a pod stays whatever happens: static pods, and those that
// the cluster cannot do without.
func critical(pod *corev1.Pod) bool {
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return mirror || priority(pod) >= systemCritical
}
