package scheduler

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/scheduler/snapshot"
)

// running returns a placed pod whose container asks for one CPU and, if its
// status says so, has other resources.
func running(node string, resized bool) *corev1.Pod {
	cpus := func(n string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(n)}
	}
	status := corev1.ContainerStatus{
		Name: "c", ContainerID: "runc://1", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
	}
	if resized {
		status.AllocatedResources, status.Resources = cpus("3"), &corev1.ResourceRequirements{Requests: cpus("4")}
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default", Labels: map[string]string{"app": "p"}},
		Spec: corev1.PodSpec{
			NodeName:   node,
			Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: cpus("1")}}},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.0.0.1", PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}}, StartTime: &metav1.Time{},
			Conditions: []corev1.PodCondition{
				{Type: corev1.PodReady, Status: corev1.ConditionTrue}, {Type: corev1.PodResizePending, Status: corev1.ConditionTrue},
			},
			ContainerStatuses: []corev1.ContainerStatus{status},
		},
	}
}

// What is left of a pod says the same to the scheduler.
func TestTrimmedPodsSayTheSame(t *testing.T) {
	for name, pod := range map[string]*corev1.Pod{
		"placed": running("n", false), "being resized": running("n", true), "waiting": running("", false),
	} {
		full, trimmed := pod.DeepCopy(), pod.DeepCopy()
		trimPod(trimmed)
		if placed(trimmed) != placed(full) || ended(trimmed) != ended(full) || !sameForScheduling(full, trimmed) {
			t.Errorf("%s: the trimmed pod counts as another", name)
		}
		was, is := snapshot.NewPodInfo(full), snapshot.NewPodInfo(trimmed)
		if diff := cmp.Diff(was.Requests, is.Requests); diff != "" {
			t.Errorf("%s: requests (-full +trimmed):\n%s", name, diff)
		}
		if diff := cmp.Diff(was.Load, is.Load); diff != "" {
			t.Errorf("%s: load (-full +trimmed):\n%s", name, diff)
		}
		if pod.Spec.NodeName == "" && !equality.Semantic.DeepEqual(full, trimmed) {
			t.Errorf("%s: trimmed though it is not placed", name)
		}
	}
	ready, other := running("n", false), running("n", false)
	other.Status.PodIP, other.Status.Phase = "", corev1.PodPending
	other.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
	other.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodResizePending, Status: corev1.ConditionTrue}}
	trimPod(ready)
	trimPod(other)
	if !equality.Semantic.DeepEqual(ready, other) {
		t.Errorf("what a node reports shows in what is kept:\n%s", cmp.Diff(ready, other))
	}
	failed := running("n", false)
	failed.Status.Phase = corev1.PodFailed
	trimPod(failed)
	if !ended(failed) {
		t.Error("a pod that has ended does not look so when trimmed")
	}
}
