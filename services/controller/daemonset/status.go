package daemonset

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"

	"navarch.dev/navarch/services/controller/podset"
)

// status counts nodes: on how many a pod should be, is, and should not be.
func (ro *rollout) status() appsv1.DaemonSetStatus {
	s := *ro.set.Status.DeepCopy()
	s.ObservedGeneration = ro.set.Generation
	s.DesiredNumberScheduled, s.CurrentNumberScheduled, s.NumberMisscheduled = 0, 0, 0
	s.NumberReady, s.UpdatedNumberScheduled, s.NumberAvailable, s.NumberUnavailable = 0, 0, 0, 0
	for _, p := range ro.places {
		pods := slices.Concat(p.fresh, p.stale)
		if !p.run {
			if len(pods) > 0 && !p.stay {
				s.NumberMisscheduled++
			}
			continue
		}
		s.DesiredNumberScheduled++
		if len(pods) > 0 {
			s.CurrentNumberScheduled++
		}
		if slices.ContainsFunc(pods, podset.IsReady) {
			s.NumberReady++
		}
		if ro.serves(p) {
			s.NumberAvailable++
		}
		if len(p.fresh) > 0 {
			s.UpdatedNumberScheduled++
		}
	}
	s.NumberUnavailable = s.DesiredNumberScheduled - s.NumberAvailable
	return s
}
