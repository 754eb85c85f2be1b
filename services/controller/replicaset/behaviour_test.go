package replicaset_test

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/garbagecollector"
	"navarch.dev/navarch/services/controller/replicaset"
)

// TestWhatCounts starts with a pod that the selector matches, in a state, and
// asks how many pods a set of one makes beside it.
func TestWhatCounts(t *testing.T) {
	template := controllertest.Template("web", "web:1")
	other := []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "other", UID: "u", Controller: ptr.To(true)}}
	for name, tt := range map[string]struct {
		change func(*corev1.Pod)
		phase  corev1.PodPhase
		more   int
	}{
		"a pod of nobody is adopted":     {nil, corev1.PodRunning, 0},
		"one that does not run yet, too": {nil, corev1.PodPending, 0},
		"an owner that is no controller": {func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "u"}}
		}, corev1.PodRunning, 0},
		"another controller's pod":         {func(p *corev1.Pod) { p.OwnerReferences = other }, corev1.PodRunning, 1},
		"other labels":                     {func(p *corev1.Pod) { p.Labels = map[string]string{"app": "db"} }, corev1.PodRunning, 1},
		"a pod that has failed":            {nil, corev1.PodFailed, 1},
		"a pod that has run to its end":    {nil, corev1.PodSucceeded, 1},
		"another namespace's pod":          {func(p *corev1.Pod) { p.Namespace = "kube-system" }, corev1.PodRunning, 1},
		"more labels than are asked for":   {func(p *corev1.Pod) { p.Labels = map[string]string{"app": "web", "tier": "front"} }, corev1.PodRunning, 0},
		"another image, which is its past": {func(p *corev1.Pod) { p.Spec.Containers[0].Image = "web:0" }, corev1.PodRunning, 0},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "there", Labels: template.Labels}, Spec: *template.Spec.DeepCopy()}
			if tt.change != nil {
				tt.change(pod)
			}
			c := controllertest.New(t)
			c.Apply(pod)
			if tt.phase != corev1.PodPending {
				if err := c.Finish(t.Context(), pod, tt.phase); err != nil {
					t.Fatal(err)
				}
			}
			c.Start(c.Controller(replicaset.New(c.Deps)))
			c.Apply(web(1))
			controllertest.Await(c, "a set of one", func(all []*appsv1.ReplicaSet) bool {
				return all[0].Status.ObservedGeneration == all[0].Generation && all[0].Status.Replicas == 1
			})
			controllertest.Await(c, "the pods", func(all []*corev1.Pod) bool {
				made := 0
				for _, p := range all {
					if p.Name != "there" {
						made++
					}
				}
				return made == tt.more
			})
		})
	}
}

func TestMinReadySeconds(t *testing.T) {
	c := start(t)
	rs := web(2)
	rs.Spec.MinReadySeconds = 3600
	c.Apply(rs)
	got := controllertest.Await(c, "two ready pods", func(all []*appsv1.ReplicaSet) bool { return all[0].Status.ReadyReplicas == 2 })[0]
	if got.Status.AvailableReplicas != 0 {
		t.Errorf("%d pods are available that were ready for a moment", got.Status.AvailableReplicas)
	}
	controllertest.Change(c, rs, "", func(rs *appsv1.ReplicaSet) { rs.Spec.MinReadySeconds = 0 })
	controllertest.Await(c, "2 available", available(2))
}

// TestTheTemplateIsForNewPods changes the template: the pods there are stay.
func TestTheTemplateIsForNewPods(t *testing.T) {
	c := start(t)
	rs := web(1)
	c.Apply(rs)
	controllertest.Await(c, "1 available", available(1))
	controllertest.Change(c, rs, "", func(rs *appsv1.ReplicaSet) {
		rs.Spec.Template.Spec.Containers[0].Image = "web:2"
		*rs.Spec.Replicas = 2
	})
	controllertest.Await(c, "an old and a new pod", func(all []*corev1.Pod) bool {
		images := make(map[string]int)
		for _, pod := range all {
			images[pod.Spec.Containers[0].Image]++
		}
		return len(all) == 2 && images["web:1"] == 1 && images["web:2"] == 1
	})
}

// TestFailureToCreate has pods that the namespace does not admit until it is
// told otherwise.
func TestFailureToCreate(t *testing.T) {
	c := start(t)
	strict := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "strict", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	c.Apply(strict)
	rs := web(1)
	rs.Namespace = "strict"
	c.Apply(rs)
	failed := controllertest.Await(c, "the failure", func(all []*appsv1.ReplicaSet) bool { return len(all[0].Status.Conditions) == 1 })[0]
	if cond := failed.Status.Conditions[0]; cond.Type != appsv1.ReplicaSetReplicaFailure || cond.Reason != "FailedCreate" || !strings.Contains(cond.Message, "violates PodSecurity") {
		t.Errorf("condition %+v", cond)
	}
	if all := strings.Join(c.Events.All(), "\n"); !strings.Contains(all, "Warning FailedCreate web: Error creating: pods \"web-") {
		t.Errorf("events\n%s", all)
	}
	controllertest.Change(c, strict, "", func(ns *corev1.Namespace) { ns.Labels = nil })
	controllertest.Await(c, "1 available, no failure", func(all []*appsv1.ReplicaSet) bool {
		return available(1)(all) && len(all[0].Status.Conditions) == 0
	})
}

func TestDeletion(t *testing.T) {
	for name, tt := range map[string]struct {
		way  metav1.DeletionPropagation
		pods int
	}{
		"its pods go with it":           {metav1.DeletePropagationBackground, 0},
		"its pods go before it":         {metav1.DeletePropagationForeground, 0},
		"or stay, and belong to nobody": {metav1.DeletePropagationOrphan, 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := controllertest.New(t)
			c.Start(c.Controller(replicaset.New(c.Deps)), controllertest.Kubelet(c), c.Controller(garbagecollector.New(c.Deps, c.Inventory)))
			rs := web(2)
			c.Apply(rs)
			controllertest.Await(c, "2 available", available(2))
			c.Remove(rs, tt.way)
			controllertest.Await(c, "no set", func(all []*appsv1.ReplicaSet) bool { return len(all) == 0 })
			controllertest.Await(c, "the pods left", func(all []*corev1.Pod) bool { return len(all) == tt.pods && owned(all) == 0 })
		})
	}
}
