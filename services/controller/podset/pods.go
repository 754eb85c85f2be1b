// Package podset is what the reconcilers that own pods share: making pods from
// a template, creating and deleting many at once, choosing which to delete,
// and knowing whether the informer has caught up with that.
package podset

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
)

// FromTemplate returns a pod of the owner. It has a generated name; callers
// that name their pods overwrite it.
func FromTemplate(template *corev1.PodTemplateSpec, owner metav1.Object, kind schema.GroupVersionKind) *corev1.Pod {
	t := template.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       owner.GetNamespace(),
			GenerateName:    namePrefix(owner.GetName()),
			Labels:          t.Labels,
			Annotations:     t.Annotations,
			Finalizers:      t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, kind)},
		},
		Spec: t.Spec,
	}
}

// namePrefix is the owner's name and a dash; the dash is left out of a name
// that would not be valid with it.
func namePrefix(owner string) string {
	if prefix := owner + "-"; len(validation.IsDNS1123Subdomain(prefix+"x")) == 0 {
		return prefix
	}
	return owner
}

// IsActive says whether a pod runs, or will, and is not being deleted.
func IsActive(pod *corev1.Pod) bool {
	return !IsFinished(pod) && pod.DeletionTimestamp == nil
}

// IsFinished says whether a pod has run to its end.
func IsFinished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Condition returns a pod's condition, nil without one.
func Condition(pod *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == t {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// IsReady says whether a pod's Ready condition is true.
func IsReady(pod *corev1.Pod) bool {
	c := Condition(pod, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// AvailableIn returns how long until a pod has been ready for minReadySeconds
// without a break: 0 if it has, false if it is not ready.
func AvailableIn(pod *corev1.Pod, minReadySeconds int32, now time.Time) (wait time.Duration, ready bool) {
	c := Condition(pod, corev1.PodReady)
	if c == nil || c.Status != corev1.ConditionTrue {
		return 0, false
	}
	if minReadySeconds == 0 {
		return 0, true
	}
	at := c.LastTransitionTime.Add(time.Duration(minReadySeconds) * time.Second)
	return max(at.Sub(now), 0), true
}

// IsAvailable says whether a pod has been ready for minReadySeconds.
func IsAvailable(pod *corev1.Pod, minReadySeconds int32, now time.Time) bool {
	wait, ready := AvailableIn(pod, minReadySeconds, now)
	return ready && wait == 0
}
