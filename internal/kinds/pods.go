package kinds

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/kinds/podspec"
)

func podStrategy() Strategy {
	s := specStatus(
		func(p *corev1.Pod) *corev1.PodSpec { return &p.Spec },
		func(p *corev1.Pod) *corev1.PodStatus { return &p.Status },
		rules[*corev1.Pod]{
			create: func(p *corev1.Pod) {
				p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: podspec.ComputeQOSClass(&p.Spec)}
				reportGates(p)
			},
			statusUpdate: func(p, old *corev1.Pod) {
				setDefault(&p.Status.QOSClass, old.Status.QOSClass)
			},
			defaults:       podspec.DefaultPod,
			validate:       podspec.ValidatePod,
			validateCreate: podspec.ValidateCreate,
			validateUpdate: podspec.ValidateUpdate,
			parts: map[string]Part{
				"ephemeralcontainers": part(keepEphemeralContainers, podspec.ValidateEphemeralContainersUpdate),
				"resize":              part(podspec.KeepResources, podspec.ValidateResize),
			},
			validateStatus: podspec.ValidateStatusUpdate,
			warnings: func(p *corev1.Pod) []string {
				return append(nameWarnings(p, "this is used in the Pod's hostname"), podspec.Warnings(&p.ObjectMeta, &p.Spec, nil)...)
			},
			statusWarnings: podspec.StatusWarnings,
			grace:          podGracePeriod,
		})
	s.UpdateWarnings = func(Object, Object) []string { return nil } // few authors change pods themselves
	return s
}

func keepEphemeralContainers(to, sent, _ *corev1.Pod) {
	to.Spec.EphemeralContainers = sent.Spec.EphemeralContainers
}

// reportGates says why a gated pod is not scheduled before anyone asks.
func reportGates(p *corev1.Pod) {
	if len(p.Spec.SchedulingGates) == 0 {
		return
	}
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
		Message: "Scheduling is blocked due to non-empty scheduling gates",
	})
}

// podGracePeriod is the time a pod gets to end. A pod that no node has, or
// that has ended, needs none.
func podGracePeriod(p *corev1.Pod) *int64 {
	ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	if p.Spec.NodeName == "" || ended {
		return nil
	}
	return ptr.To(pointerOr[int64](p.Spec.TerminationGracePeriodSeconds, podspec.DefaultTerminationGracePeriodSeconds))
}

func podFieldNames() []string {
	return []string{"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
		"spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName"}
}

func podFields(p *corev1.Pod) map[string]string {
	return map[string]string{
		"spec.nodeName":            p.Spec.NodeName,
		"spec.restartPolicy":       string(p.Spec.RestartPolicy),
		"spec.schedulerName":       p.Spec.SchedulerName,
		"spec.serviceAccountName":  p.Spec.ServiceAccountName,
		"spec.hostNetwork":         strconv.FormatBool(p.Spec.HostNetwork),
		"status.phase":             string(p.Status.Phase),
		"status.podIP":             p.Status.PodIP,
		"status.podIPs":            p.Status.PodIP,
		"status.nominatedNodeName": p.Status.NominatedNodeName,
	}
}
