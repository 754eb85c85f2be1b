package daemonset

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"

	"navarch.dev/navarch/services/controller/podset"
)

// status counts nodes: on how many a pod should be, is, and should not be. As long
// as two are side by side the older one counts: a rollout has come to a node when
// the old pod is gone, or going while the new one serves.
func (ro *rollout) status() appsv1.DaemonSetStatus {
	s := *ro.set.Status.DeepCopy()
	s.ObservedGeneration = ro.set.Generation
	s.DesiredNumberScheduled, s.CurrentNumberScheduled, s.NumberMisscheduled = 0, 0, 0
	s.NumberReady, s.UpdatedNumberScheduled, s.NumberAvailable, s.NumberUnavailable = 0, 0, 0, 0
	for _, p := range ro.places {
		if !p.run {
			if len(p.all) > 0 {
				s.NumberMisscheduled++
			}
			continue
		}
		s.DesiredNumberScheduled++
		if len(p.all) == 0 {
			continue
		}
		oldest := slices.Concat(p.live, p.all)[0]
		s.CurrentNumberScheduled++
		if podset.IsReady(oldest) {
			s.NumberReady++
		}
		if ro.isAvailable(oldest) {
			s.NumberAvailable++
		}
		if oldest.Labels[appsv1.ControllerRevisionHashLabelKey] == ro.hash {
			s.UpdatedNumberScheduled++
		}
	}
	s.NumberUnavailable = s.DesiredNumberScheduled - s.NumberAvailable
	return s
}
