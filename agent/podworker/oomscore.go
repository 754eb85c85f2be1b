package podworker

import (
	corev1 "k8s.io/api/core/v1"
	podresource "k8s.io/component-helpers/resource"
	"k8s.io/kubectl/pkg/util/qos"
)

const (
	// guaranteedScore is that of containers that are killed last.
	guaranteedScore = -997
	// bestEffortScore is that of containers that are killed first.
	bestEffortScore = 1000
	// nodeCritical is the least priority of pods that a node cannot do without.
	nodeCritical = 2_000_001_000
)

// oomScore says how soon the kernel kills the container when memory is short:
// the sooner, the less of the node's memory it asks for.
func oomScore(pod *corev1.Pod, c *corev1.Container, allocatable corev1.ResourceList) int {
	if pod.Spec.Priority != nil && *pod.Spec.Priority >= nodeCritical {
		return guaranteedScore
	}
	switch qos.ComputePodQOS(pod) {
	case corev1.PodQOSGuaranteed:
		return guaranteedScore
	case corev1.PodQOSBestEffort:
		return bestEffortScore
	}
	capacity := allocatable.Memory().Value()
	if capacity <= 0 {
		return bestEffortScore - 1
	}
	request := c.Resources.Requests.Memory().Value()
	if isSidecar(pod, c.Name) { // it is not killed before what it serves
		request = max(request, leastRequest(pod))
	}
	score := bestEffortScore - bestEffortScore*(request+unassigned(pod))/capacity
	return int(min(max(score, bestEffortScore+guaranteedScore), bestEffortScore-1))
}

func isSidecar(pod *corev1.Pod, name string) bool {
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.Name == name {
			return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		}
	}
	return false
}

// leastRequest is the least memory that one of the pod's main containers asks
// for.
func leastRequest(pod *corev1.Pod) int64 {
	var least int64
	for i := range pod.Spec.Containers {
		if request := pod.Spec.Containers[i].Resources.Requests.Memory().Value(); i == 0 || request < least {
			least = request
		}
	}
	return least
}

// unassigned is each container's share of the memory that the pod asks for as a
// whole, and no container does.
func unassigned(pod *corev1.Pod) int64 {
	if !podresource.IsPodLevelRequestsSet(pod) {
		return 0
	}
	whole := pod.Spec.Resources.Requests.Memory().Value()
	asked := podresource.AggregateContainerRequests(pod, podresource.PodResourcesOptions{})
	return max(whole-asked.Memory().Value(), 0) / int64(len(pod.Spec.Containers)+len(pod.Spec.InitContainers))
}
