package podworker

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/kinds/podspec"
)

// verdict is a condition without its times.
type verdict struct {
	ok              bool
	reason, message string
}

// setConditions sets the conditions that the agent owns; those of others stay.
func (w *worker) setConditions(s *corev1.PodStatus, now time.Time) {
	sandboxUp := len(w.podIPs()) > 0 && w.sandbox != nil && w.sandbox.finished() && w.sandbox.err == nil
	set := func(kind corev1.PodConditionType, v verdict) {
		setCondition(s, corev1.PodCondition{
			Type: kind, Status: boolStatus(v.ok), Reason: v.reason, Message: v.message,
			ObservedGeneration: w.base().Generation,
		}, now)
	}
	set(corev1.PodReadyToStartContainers, verdict{ok: sandboxUp})
	set(corev1.PodInitialized, w.judgeInitialized(s))
	containers := w.judgeContainers(s)
	set(corev1.ContainersReady, containers)
	set(corev1.PodReady, w.judgeReady(s, containers))
	set(corev1.PodScheduled, verdict{ok: true})
	if podspec.CanRestartAll(&w.pod.Spec) {
		set(corev1.AllContainersRestarting, w.judgeRestartingAll(s))
	}
	if w.disrupted {
		set(corev1.DisruptionTarget, verdict{ok: true, reason: corev1.PodReasonTerminationByKubelet, message: w.rejected.Message})
	}
}

func (w *worker) judgeInitialized(s *corev1.PodStatus) verdict {
	if s.Phase == corev1.PodSucceeded {
		return verdict{ok: true, reason: "PodCompleted"}
	}
	if c := findCondition(s, corev1.PodInitialized); c != nil && c.Status == corev1.ConditionTrue {
		return verdict{ok: true} // a pod stays so when its init containers run again
	}
	var waiting []string
	if !w.initialized {
		for _, c := range w.containers {
			if (c.role == roleInit || c.role == roleSidecar) && !w.passed(c) {
				waiting = append(waiting, c.spec.Name)
			}
		}
	}
	if len(waiting) > 0 {
		return verdict{reason: "ContainersNotInitialized", message: fmt.Sprintf("containers with incomplete status: %v", waiting)}
	}
	return verdict{ok: true}
}

func (w *worker) judgeContainers(s *corev1.PodStatus) verdict {
	switch s.Phase {
	case corev1.PodSucceeded:
		return verdict{reason: "PodCompleted"}
	case corev1.PodFailed:
		return verdict{reason: "PodFailed"}
	}
	var unready []string
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses} {
		for _, cs := range list {
			c := w.find(cs.Name)
			if c != nil && (c.role == roleMain || c.role == roleSidecar) && !cs.Ready {
				unready = append(unready, cs.Name)
			}
		}
	}
	if len(unready) > 0 {
		return verdict{reason: "ContainersNotReady", message: fmt.Sprintf("containers with unready status: %v", unready)}
	}
	return verdict{ok: true}
}

func (w *worker) judgeReady(s *corev1.PodStatus, containers verdict) verdict {
	if !containers.ok {
		return containers
	}
	var missing []string
	for _, g := range w.pod.Spec.ReadinessGates {
		c := findCondition(s, g.ConditionType)
		if c == nil {
			missing = append(missing, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", g.ConditionType))
		} else if c.Status != corev1.ConditionTrue {
			missing = append(missing, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", g.ConditionType, c.Status))
		}
	}
	if len(missing) > 0 {
		return verdict{reason: "ReadinessGatesNotReady", message: strings.Join(missing, ", ")}
	}
	return verdict{ok: true}
}

func findCondition(s *corev1.PodStatus, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == kind {
			return &s.Conditions[i]
		}
	}
	return nil
}

// setCondition puts a condition in; its transition time changes with its
// status only.
func setCondition(s *corev1.PodStatus, c corev1.PodCondition, now time.Time) {
	have := findCondition(s, c.Type)
	if have == nil {
		c.LastTransitionTime = metav1.NewTime(now).Rfc3339Copy()
		s.Conditions = append(s.Conditions, c)
		return
	}
	c.LastProbeTime, c.LastTransitionTime = have.LastProbeTime, have.LastTransitionTime
	if have.Status != c.Status {
		c.LastTransitionTime = metav1.NewTime(now).Rfc3339Copy()
	}
	*have = c
}

func boolStatus(ok bool) corev1.ConditionStatus {
	if ok {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}
