package podworker

import (
	"encoding/json"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podresource "k8s.io/component-helpers/resource"

	"navarch.dev/navarch/agent/runtime"
)

// setResizeConditions says which resize is not granted, and which is under
// way. A pod that has ended has neither.
func (w *worker) setResizeConditions(s *corev1.PodStatus, now time.Time) {
	ended := s.Phase == corev1.PodSucceeded || s.Phase == corev1.PodFailed
	if r := w.refused; r != nil && !ended {
		setReason(s, corev1.PodCondition{
			Type: corev1.PodResizePending, Reason: r.reason, Message: r.message, ObservedGeneration: r.generation,
		}, now)
	} else {
		removeCondition(s, corev1.PodResizePending)
	}
	if r := w.resizing; r != nil && !ended {
		c := corev1.PodCondition{Type: corev1.PodResizeInProgress, Message: r.problem, ObservedGeneration: r.generation}
		if r.problem != "" {
			c.Reason = corev1.PodReasonError
		}
		setReason(s, c, now)
	} else {
		removeCondition(s, corev1.PodResizeInProgress)
	}
}

// setReason sets a condition that is there or not; its time changes with its
// reason.
func setReason(s *corev1.PodStatus, c corev1.PodCondition, now time.Time) {
	have := findCondition(s, c.Type)
	changed := have == nil || have.Reason != c.Reason
	c.Status = corev1.ConditionTrue
	setCondition(s, c, now)
	if changed {
		findCondition(s, c.Type).LastTransitionTime = metav1.NewTime(now).Rfc3339Copy()
	}
}

func removeCondition(s *corev1.PodStatus, kind corev1.PodConditionType) {
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
}

// setResources says what a container has been given and, if it runs, what it
// has.
func (c *container) setResources(cs *corev1.ContainerStatus) {
	if !c.present && c.last == nil {
		return
	}
	has := &c.spec.Resources
	if c.running() && c.role != roleEphemeral {
		has = &c.has
	}
	cs.Resources = has.DeepCopy()
	cs.AllocatedResources = c.spec.Resources.Requests.DeepCopy()
}

// setPodResources says what the pod as a whole has been given and, once it
// runs, what it has (KEP-5419).
func (w *worker) setPodResources(s *corev1.PodStatus) {
	requests := podresource.PodRequests(w.pod, podresource.PodResourcesOptions{})
	s.AllocatedResources = requests
	r := w.pod.Spec.Resources.DeepCopy()
	if r == nil {
		r = &corev1.ResourceRequirements{}
	}
	if s.Phase != corev1.PodRunning {
		r.Requests, r.Limits = requests.DeepCopy(), podresource.PodLimits(w.pod, podresource.PodResourcesOptions{})
		s.Resources = r
		return
	}
	if r.Requests == nil {
		r.Requests = corev1.ResourceList{}
	}
	if r.Limits == nil {
		r.Limits = corev1.ResourceList{}
	}
	cpu := *requests.Cpu()
	if w.resizing != nil && w.cgroup.CPUShares != runtime.SharesForMilliCPU(cpu.MilliValue()) {
		cpu = *resource.NewMilliQuantity(runtime.MilliCPUForShares(w.cgroup.CPUShares), resource.DecimalSI)
	}
	if !cpu.IsZero() {
		r.Requests[corev1.ResourceCPU] = cpu
	}
	if memory, ok := requests[corev1.ResourceMemory]; ok {
		r.Requests[corev1.ResourceMemory] = memory
	}
	if quota := w.cgroup.CPUQuota; quota > 0 {
		r.Limits[corev1.ResourceCPU] = *resource.NewMilliQuantity(runtime.MilliCPUForQuota(quota), resource.DecimalSI)
	}
	if limit := w.cgroup.MemoryLimit; limit > 0 {
		r.Limits[corev1.ResourceMemory] = *resource.NewQuantity(limit, resource.BinarySI)
	}
	s.Resources = r
}

// resizeSummary is what events about a resize tell of the pod.
type resizeSummary struct {
	InitContainers []containerSummary `json:"initContainers,omitempty"`
	Containers     []containerSummary `json:"containers,omitempty"`
	Generation     int64              `json:"generation"`
	Error          string             `json:"error,omitempty"`
}

type containerSummary struct {
	Name      string                      `json:"name"`
	Resources corev1.ResourceRequirements `json:"resources,omitzero"`
}

// resizeMessage is the text of an event about a resize.
func resizeMessage(what string, pod *corev1.Pod, generation int64, problem string) string {
	list := func(containers []corev1.Container) (out []containerSummary) {
		for i := range containers {
			out = append(out, containerSummary{containers[i].Name, containers[i].Resources})
		}
		return out
	}
	summary, err := json.Marshal(resizeSummary{
		InitContainers: list(pod.Spec.InitContainers), Containers: list(pod.Spec.Containers), Generation: generation, Error: problem,
	})
	if err != nil {
		return what
	}
	return what + ": " + string(summary)
}
