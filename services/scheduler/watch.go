package scheduler

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// placed says that the pod takes up room on a node.
func placed(pod *corev1.Pod) bool { return pod.Spec.NodeName != "" && !ended(pod) }

// waits says that the pod is this scheduler's to place.
func (s *Scheduler) waits(pod *corev1.Pod) bool {
	return pod.Spec.NodeName == "" && !ended(pod) && pod.DeletionTimestamp == nil &&
		s.profiles.Of(pod) != nil
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func (s *Scheduler) podAdded(pod *corev1.Pod) {
	switch {
	case placed(pod):
		s.cache.SetPod(pod)
		s.queue.Happened(framework.Event{Resource: framework.AssignedPod, Action: framework.Add, New: pod})
	case s.waits(pod):
		info := s.infos.Of(pod)
		s.nominations.set(info, pod.Status.NominatedNodeName)
		s.enqueue(info)
	}
}

func (s *Scheduler) podUpdated(old, pod *corev1.Pod) {
	switch {
	case placed(pod):
		s.placedPodUpdated(old, pod)
	case placed(old):
		s.cache.RemovePod(pod.UID)
		s.queue.Happened(framework.Event{Resource: framework.AssignedPod, Action: framework.Delete, Old: old})
	case s.waits(pod):
		info := s.infos.Of(pod)
		// An update that does not speak of the nomination may be older than it.
		before := ""
		if now := pod.Status.NominatedNodeName; now != old.Status.NominatedNodeName {
			before = s.nominations.show(info, now)
		}
		s.enqueue(info)
		s.noLongerNominated(info, before, true)
	case s.waits(old):
		node := s.nominations.remove(pod.UID)
		s.queue.Delete(pod.UID)
		s.noLongerNominated(snapshot.NewPodInfo(old), node, false)
	}
}

// noLongerNominated tells the pods that had to leave room for a pod on a node, if it
// was nominated to one. Those of a higher priority could have taken it anyhow. The
// pod itself is told if it does not know: it may have lost the room to another one.
func (s *Scheduler) noLongerNominated(pod *snapshot.PodInfo, node string, itself bool) {
	if node == "" {
		return
	}
	uid, most := pod.Pod.UID, pod.Priority()
	s.queue.Happened(framework.Event{
		Resource: framework.AssignedPod, Action: framework.Delete, Old: pod.Pod,
		Only: func(waiting *snapshot.PodInfo) bool {
			return waiting.Priority() <= most && (itself || waiting.Pod.UID != uid)
		},
	})
}

// enqueue adds a waiting pod, or its new version, to the queue.
func (s *Scheduler) enqueue(info *snapshot.PodInfo) {
	s.queue.Add(info)
	if gates := s.profiles.PreEnqueue(info); !gates.Success() {
		s.conditions.set(info.Pod, corev1.PodReasonSchedulingGated, gatedMessage, "")
	}
}

// placedPodUpdated takes over what bears on scheduling. Most updates are of the
// status and change nothing here.
func (s *Scheduler) placedPodUpdated(old, pod *corev1.Pod) {
	if !placed(old) {
		if node := s.nominations.remove(pod.UID); node != pod.Spec.NodeName {
			s.noLongerNominated(snapshot.NewPodInfo(pod), node, false)
		}
		s.cache.SetPod(pod)
		s.queue.Delete(pod.UID)
		s.queue.Happened(framework.Event{Resource: framework.AssignedPod, Action: framework.Add, New: pod})
		return
	}
	if sameForScheduling(old, pod) {
		return
	}
	s.cache.SetPod(pod)
	if changes := framework.PodChanges(old, pod); changes != 0 {
		s.queue.Happened(framework.Event{Resource: framework.AssignedPod, Action: changes, Old: old, New: pod})
	}
}

func sameForScheduling(old, pod *corev1.Pod) bool {
	if (old.DeletionTimestamp == nil) != (pod.DeletionTimestamp == nil) || !maps.Equal(old.Labels, pod.Labels) ||
		!old.Status.StartTime.Equal(pod.Status.StartTime) {
		return false
	}
	was, is := snapshot.NewPodInfo(old).Requests, snapshot.NewPodInfo(pod).Requests
	return !was.Exceeds(is) && !is.Exceeds(was)
}

func (s *Scheduler) podDeleted(pod *corev1.Pod) {
	nominated := s.nominations.remove(pod.UID)
	s.queue.Delete(pod.UID)
	s.cache.RemovePod(pod.UID)
	s.waiting.Reject(pod.UID, "", "the pod is gone")
	if placed(pod) {
		s.queue.Happened(framework.Event{Resource: framework.AssignedPod, Action: framework.Delete, Old: pod})
		return
	}
	s.noLongerNominated(snapshot.NewPodInfo(pod), nominated, false)
}

func (s *Scheduler) nodeAdded(node *corev1.Node) {
	s.cache.SetNode(node)
	s.queue.Happened(framework.Event{Resource: framework.Node, Action: framework.Add, New: node})
}

// nodeUpdated ignores heartbeats.
func (s *Scheduler) nodeUpdated(old, node *corev1.Node) {
	changes := framework.NodeChanges(old, node)
	if changes == 0 && equality.Semantic.DeepEqual(old.Status.Images, node.Status.Images) {
		return
	}
	s.cache.SetNode(node)
	if changes != 0 {
		s.queue.Happened(framework.Event{Resource: framework.Node, Action: changes, Old: old, New: node})
	}
}

func (s *Scheduler) nodeDeleted(node *corev1.Node) {
	s.cache.RemoveNode(node.Name)
	s.queue.Happened(framework.Event{Resource: framework.Node, Action: framework.Delete, Old: node})
}

func (s *Scheduler) namespaceAdded(namespace *corev1.Namespace) {
	s.queue.Happened(framework.Event{Resource: framework.Namespace, Action: framework.Add, New: namespace})
}

// namespaceLabels returns a namespace's labels.
func (s *Scheduler) namespaceLabels(name string) labels.Set {
	namespace, ok := s.namespaces.GetByKey(name)
	if !ok {
		return nil
	}
	return namespace.Labels
}

func (s *Scheduler) namespaceUpdated(old, namespace *corev1.Namespace) {
	if !maps.Equal(old.Labels, namespace.Labels) {
		s.queue.Happened(framework.Event{Resource: framework.Namespace, Action: framework.UpdateLabels, Old: old, New: namespace})
	}
}
