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

// quota: no namespace has more pods than it may.
type quota struct{}

func (quota) check(s *state, e event) error {
	pod, ok := e.obj.(*corev1.Pod)
	if !ok || e.old != nil || pod.Namespace != limited {
		return nil
	}
	pods := int64(0)
	for _, obj := range s.objects {
		if other, ok := obj.(*corev1.Pod); ok && other.Namespace == limited && isActive(other) {
			pods++
		}
	}
	for _, obj := range s.objects {
		q, ok := obj.(*corev1.ResourceQuota)
		if !ok || q.Namespace != limited {
			continue
		}
		if hard := q.Spec.Hard[corev1.ResourcePods]; pods > hard.Value() {
			return fmt.Errorf("namespace %s has %d pods, its quota is %s", limited, pods, hard.String())
		}
	}
	return nil
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
