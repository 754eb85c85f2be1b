package statefulset

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"

	"navarch.dev/navarch/services/controller/podset"
)

// status counts the pods. When every pod is of the update revision and ready,
// that becomes the current one.
func (ro *rollout) status() appsv1.StatefulSetStatus {
	s := *ro.set.Status.DeepCopy()
	s.ObservedGeneration = ro.set.Generation
	s.Replicas, s.ReadyReplicas, s.AvailableReplicas, s.CurrentReplicas, s.UpdatedReplicas = 0, 0, 0, 0, 0
	s.CurrentRevision, s.UpdateRevision = ro.current.Name, ro.update.Name
	for _, pod := range slices.Concat(ro.slots, ro.surplus) {
		if pod == nil {
			continue
		}
		s.Replicas++
		if podset.IsReady(pod) && pod.DeletionTimestamp == nil {
			s.ReadyReplicas++
		}
		if ro.isHealthy(pod) {
			s.AvailableReplicas++
		}
		if pod.DeletionTimestamp != nil {
			continue
		}
		if isOf(pod, ro.current) {
			s.CurrentReplicas++
		}
		if isOf(pod, ro.update) {
			s.UpdatedReplicas++
		}
	}
	want := int32(len(ro.slots))
	if s.UpdatedReplicas == want && s.Replicas == want && s.ReadyReplicas == want {
		s.CurrentRevision, s.CurrentReplicas = s.UpdateRevision, s.UpdatedReplicas
	}
	return s
}
