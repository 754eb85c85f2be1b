package scheduler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// trimPod leaves out of a placed pod what has no bearing on where others go: how
// far its node has come with it, and by which addresses it is reached. Of a
// hundred thousand pods that is most of what is not the same in all pods of a
// template, and most updates change nothing else.
func trimPod(pod *corev1.Pod) {
	pod.ManagedFields = nil
	if !placed(pod) {
		return
	}
	s := &pod.Status
	s.Phase, s.PodIP, s.PodIPs, s.HostIP, s.HostIPs = "", "", nil, "", nil
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c corev1.PodCondition) bool {
		switch c.Type {
		case corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady, corev1.PodReadyToStartContainers:
			return true
		}
		return false
	})
	s.InitContainerStatuses, s.ContainerStatuses = resourcesOf(s.InitContainerStatuses), resourcesOf(s.ContainerStatuses)
	s.EphemeralContainerStatuses = nil
}

// resourcesOf returns what the statuses say of resources, which count beside
// those that the containers ask for while a resize is under way.
func resourcesOf(statuses []corev1.ContainerStatus) []corev1.ContainerStatus {
	var out []corev1.ContainerStatus
	for i := range statuses {
		if s := &statuses[i]; s.Resources != nil || s.AllocatedResources != nil {
			out = append(out, corev1.ContainerStatus{Name: s.Name, Resources: s.Resources, AllocatedResources: s.AllocatedResources})
		}
	}
	return out
}
