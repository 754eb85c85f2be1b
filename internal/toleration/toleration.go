// Package toleration says how long a pod may stay on a node with a taint that
// evicts. The controller that evicts and the agent that fences must agree on it.
package toleration

import (
	corev1 "k8s.io/api/core/v1"
)

// For returns how many seconds a pod tolerates a taint: the least of its
// tolerations that match; not bounded if one has no limit and none has less.
func For(pod *corev1.Pod, taint corev1.Taint) (seconds int64, bounded bool) {
	matched := false
	for _, t := range pod.Spec.Tolerations {
		if !matches(t, taint) {
			continue
		}
		matched = true
		if t.TolerationSeconds != nil {
			s := max(*t.TolerationSeconds, 0)
			if !bounded || s < seconds {
				seconds, bounded = s, true
			}
		}
	}
	return seconds, bounded || !matched
}

// matches follows the documented rules of tolerations: an empty effect matches
// all effects, an empty key with Exists all keys.
func matches(t corev1.Toleration, taint corev1.Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect {
		return false
	}
	if t.Key != "" && t.Key != taint.Key {
		return false
	}
	switch t.Operator {
	case corev1.TolerationOpExists:
		return true
	case "", corev1.TolerationOpEqual:
		return t.Key != "" && t.Value == taint.Value
	default:
		return false
	}
}
