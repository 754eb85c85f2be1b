package job_test

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/controllertest"
)

// TestStrays: nobody counts a pod that its Job has lost, or that of a Job that
// is no more, so these lose the finalizer.
func TestStrays(t *testing.T) {
	c := start(t)
	c.Apply(work("run", func(s *batchv1.JobSpec) { s.Parallelism, s.Completions = ptr.To[int32](2), ptr.To[int32](2) }))
	tracked := func(pod *corev1.Pod) bool { return len(pod.Finalizers) > 0 }
	pods := controllertest.Await(c, "two pods that run", func(all []*corev1.Pod) bool {
		return len(all) == 2 && tracked(all[0]) && tracked(all[1])
	})
	lost := pods[0]
	controllertest.Change(c, lost, "", func(p *corev1.Pod) { p.Labels["app"] = "other" })
	orphan := pods[1].DeepCopy()
	orphan.ObjectMeta = metav1.ObjectMeta{Namespace: "default", Name: "of-nobody", Finalizers: []string{batchv1.JobTrackingFinalizer}, OwnerReferences: []metav1.OwnerReference{
		{APIVersion: "batch/v1", Kind: "Job", Name: "gone", UID: "gone", Controller: ptr.To(true)},
	}}
	orphan.Spec.NodeName = ""
	c.Apply(orphan)
	controllertest.Await(c, "the lost pod released and free, and another in its place", func(all []*corev1.Pod) bool {
		running := 0
		for _, pod := range all {
			switch {
			case pod.Name == "of-nobody" && tracked(pod):
				return false
			case pod.Name == lost.Name && (tracked(pod) || metav1.GetControllerOf(pod) != nil):
				return false
			case pod.Labels["app"] == "work" && tracked(pod):
				running++
			}
		}
		return running == 2
	})
}
