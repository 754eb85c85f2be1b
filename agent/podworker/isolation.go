package podworker

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// What would keep a pod apart from the node, and the agent cannot give it, is never
// left out: the pod does not run then.

// wantsAppArmor says whether a profile of AppArmor is to confine the pod or one of
// its containers.
func wantsAppArmor(pod *corev1.Pod) bool {
	confines := func(p *corev1.AppArmorProfile) bool {
		return p != nil && p.Type != corev1.AppArmorProfileTypeUnconfined
	}
	if sc := pod.Spec.SecurityContext; sc != nil && confines(sc.AppArmorProfile) {
		return true
	}
	inContainer := func(c corev1.Container) bool {
		return c.SecurityContext != nil && confines(c.SecurityContext.AppArmorProfile)
	}
	if slices.ContainsFunc(pod.Spec.InitContainers, inContainer) || slices.ContainsFunc(pod.Spec.Containers, inContainer) {
		return true
	}
	for name, profile := range pod.Annotations {
		if strings.HasPrefix(name, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) && profile != corev1.DeprecatedAppArmorBetaProfileNameUnconfined {
			return true
		}
	}
	return false
}
