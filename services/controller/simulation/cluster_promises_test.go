package simulation_test

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// ownership: one controller, which is there.
type ownership struct{}

func (ownership) check(s *state, e event) error {
	if e.obj == nil {
		return nil
	}
	controllers := 0
	for _, ref := range e.obj.GetOwnerReferences() {
		if ref.Controller != nil && *ref.Controller {
			controllers++
		}
	}
	if controllers > 1 {
		return fmt.Errorf("%T %s has %d controllers", e.obj, e.obj.GetName(), controllers)
	}
	ref := owner(e.obj)
	if e.old != nil || ref.UID == "" {
		return nil
	}
	gone, wasThere := s.gone[ref.UID]
	if _, is := s.objects[ref.UID]; is || wasThere && s.now.Sub(gone) <= lateness {
		return nil
	}
	return fmt.Errorf("%T %s is made for %s %s, which is not there", e.obj, e.obj.GetName(), ref.Kind, ref.Name)
}

// placement: a pod is bound once, to a node with room for it.
type placement struct{}

func (placement) check(s *state, e event) error {
	pod, ok := e.obj.(*corev1.Pod)
	if !ok || e.old == nil {
		return nil
	}
	before := e.old.(*corev1.Pod).Spec.NodeName
	if before == pod.Spec.NodeName {
		return nil
	}
	if before != "" {
		return fmt.Errorf("pod %s is moved from %s to %s", pod.Name, before, pod.Spec.NodeName)
	}
	var asked resource.Quantity
	for _, obj := range s.objects {
		if other, ok := obj.(*corev1.Pod); ok && other.Spec.NodeName == pod.Spec.NodeName && !isFinished(other) {
			asked.Add(*other.Spec.Containers[0].Resources.Requests.Cpu())
		}
	}
	if room := resource.MustParse(nodeCPU); asked.Cmp(room) > 0 {
		return fmt.Errorf("pods of %s are bound to %s, which has %s", asked.String(), pod.Spec.NodeName, room.String())
	}
	return nil
}
