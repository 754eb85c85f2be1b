package replicaset_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/replicaset"
)

// start runs the controllers in a cluster that has the first objects already.
func start(t *testing.T, first ...kinds.Object) *controllertest.Cluster {
	c := controllertest.New(t)
	c.Apply(first...)
	c.Start(
		c.Controller(replicaset.New(c.Deps)),
		c.Controller(replicaset.NewReplicationController(c.Deps)),
		controllertest.Kubelet(c),
	)
	return c
}

func web(replicas int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &replicas, Selector: controllertest.Selector("web"), Template: controllertest.Template("web", "web:1"),
		},
	}
}

func available(n int32) func([]*appsv1.ReplicaSet) bool {
	return func(all []*appsv1.ReplicaSet) bool {
		s := all[0].Status
		return s.Replicas == n && s.ReadyReplicas == n && s.AvailableReplicas == n && s.ObservedGeneration == all[0].Generation
	}
}

// owned returns how many pods a set controls.
func owned(all []*corev1.Pod) (n int) {
	for _, pod := range all {
		if ref := metav1.GetControllerOf(pod); ref != nil && ref.Name == "web" {
			n++
		}
	}
	return n
}

func TestScale(t *testing.T) {
	c := start(t)
	rs := web(30)
	c.Apply(rs)
	controllertest.Await(c, "30 available", available(30))
	controllertest.Await(c, "never more than 30 pods", func(all []*corev1.Pod) bool { return len(all) == 30 })
	controllertest.Change(c, rs, "", func(rs *appsv1.ReplicaSet) { *rs.Spec.Replicas = 4 })
	controllertest.Await(c, "4 available", available(4))
	pods := controllertest.Await(c, "4 pods", func(all []*corev1.Pod) bool { return len(all) == 4 })
	c.Remove(pods[0], "")
	controllertest.Await(c, "another pod in its place", func(all []*corev1.Pod) bool {
		for _, pod := range all {
			if pod.UID == pods[0].UID {
				return false
			}
		}
		return len(all) == 4
	})
}

func TestAdoptAndRelease(t *testing.T) {
	template := controllertest.Template("web", "web:1")
	orphan := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "orphan", Labels: template.Labels}, Spec: template.Spec}
	// A controller that does not know of the orphan yet makes two pods of its own.
	c := start(t, orphan)
	c.Apply(web(2))
	controllertest.Await(c, "2 available", available(2))
	controllertest.Await(c, "two pods, the orphan adopted", func(all []*corev1.Pod) bool { return len(all) == 2 && owned(all) == 2 })
	controllertest.Change(c, orphan, "", func(pod *corev1.Pod) { pod.Labels = map[string]string{"app": "debug"} })
	controllertest.Await(c, "it released and another made", func(all []*corev1.Pod) bool { return len(all) == 3 && owned(all) == 2 })
}

func TestFailedPodsAreReplaced(t *testing.T) {
	c := start(t)
	c.Apply(web(1))
	controllertest.Await(c, "1 available", available(1))
	pod := controllertest.Await(c, "a pod", func(all []*corev1.Pod) bool { return len(all) == 1 })[0]
	if err := c.Finish(t.Context(), pod, corev1.PodFailed); err != nil {
		t.Fatal(err)
	}
	controllertest.Await(c, "a second pod", func(all []*corev1.Pod) bool { return len(all) == 2 })
}

func TestReplicationController(t *testing.T) {
	c := start(t)
	n := int32(2)
	template := controllertest.Template("web", "web:1")
	c.Apply(&corev1.ReplicationController{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       corev1.ReplicationControllerSpec{Replicas: &n, Selector: template.Labels, Template: &template},
	})
	rc := controllertest.Await(c, "2 available", func(all []*corev1.ReplicationController) bool { return all[0].Status.AvailableReplicas == 2 })[0]
	pods := controllertest.Await(c, "2 pods", func(all []*corev1.Pod) bool { return len(all) == 2 })
	if ref := metav1.GetControllerOf(pods[0]); ref == nil || ref.Kind != "ReplicationController" || ref.UID != rc.UID {
		t.Errorf("a pod is controlled by %v", ref)
	}
}
