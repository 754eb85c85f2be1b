package podspec

import corev1 "k8s.io/api/core/v1"

// QOSClass returns a pod's quality-of-service class: Guaranteed if every
// container's CPU and memory are limited to what they request, BestEffort if
// none asks for anything, Burstable otherwise.
func QOSClass(pod *corev1.Pod) corev1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	return ComputeQOSClass(&pod.Spec)
}

// ComputeQOSClass is QOSClass from the spec alone.
func ComputeQOSClass(spec *corev1.PodSpec) corev1.PodQOSClass {
	if r := spec.Resources; r != nil && (len(r.Requests) > 0 || len(r.Limits) > 0) {
		return classOf([]*corev1.ResourceRequirements{r})
	}
	var all []*corev1.ResourceRequirements
	for c := range eachContainer(spec) {
		all = append(all, &c.Resources)
	}
	return classOf(all)
}

func classOf(all []*corev1.ResourceRequirements) corev1.PodQOSClass {
	bestEffort, guaranteed := true, true
	for _, r := range all {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := r.Requests[name], r.Limits[name]
			if request.Sign() > 0 || limit.Sign() > 0 {
				bestEffort = false
			}
			if limit.Sign() <= 0 || (request.Sign() > 0 && request.Cmp(limit) != 0) {
				guaranteed = false
			}
		}
	}
	switch {
	case bestEffort:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}
