// Package podlimits tells what a pod as a whole may use.
package podlimits

import (
	corev1 "k8s.io/api/core/v1"
	podresource "k8s.io/component-helpers/resource"
)

// Of returns the limit of a resource that holds for a pod as a whole: its own, or
// else the sum of its containers', where all of them have one. 0 is none. Of the
// CPU it is in millicores.
func Of(pod *corev1.Pod, name corev1.ResourceName) int64 {
	if !isLimited(pod, name) {
		return 0
	}
	limit := podresource.PodLimits(pod, podresource.PodResourcesOptions{})[name]
	if name == corev1.ResourceCPU {
		return limit.MilliValue()
	}
	return limit.Value()
}

func isLimited(pod *corev1.Pod, name corev1.ResourceName) bool {
	has := func(l corev1.ResourceList) bool { q := l[name]; return !q.IsZero() }
	if own := pod.Spec.Resources; own != nil && has(own.Limits) {
		return true
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if !has(list[i].Resources.Limits) {
				return false
			}
		}
	}
	return true
}
