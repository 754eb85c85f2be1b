package statefulset_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/garbagecollector"
	"navarch.dev/navarch/services/controller/statefulset"
)

func start(t *testing.T) *controllertest.Cluster {
	c := controllertest.New(t)
	c.Start(c.Controller(statefulset.New(c.Deps)), controllertest.Kubelet(c))
	return c
}

func db(replicas int32) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, ServiceName: "db", Selector: controllertest.Selector("db"), Template: controllertest.Template("db", "db:1"),
			PodManagementPolicy: appsv1.OrderedReadyPodManagement,
			UpdateStrategy:      appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
				ObjectMeta: metav1.ObjectMeta{Name: "data"},
				Spec: corev1.PersistentVolumeClaimSpec{
					AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
					Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
				},
			}},
		},
	}
}

func complete(n int32) func([]*appsv1.StatefulSet) bool {
	return func(all []*appsv1.StatefulSet) bool {
		s := all[0].Status
		return s.ObservedGeneration == all[0].Generation && s.Replicas == n && s.ReadyReplicas == n && s.UpdatedReplicas == n && s.CurrentRevision == s.UpdateRevision
	}
}

func TestIdentityAndOrder(t *testing.T) {
	c := start(t)
	set := db(3)
	c.Apply(set)
	controllertest.Await(c, "pods made in order", func(all []*corev1.Pod) bool {
		for i, pod := range all {
			if want := "db-" + string(rune('0'+i)); pod.Name != want {
				t.Fatalf("pod %d is %s", i, pod.Name)
			}
			if i+1 < len(all) && pod.Status.Phase != corev1.PodRunning {
				t.Fatalf("%s was made before %s ran", all[i+1].Name, pod.Name)
			}
		}
		return len(all) == 3
	})
	controllertest.Await(c, "completion", complete(3))
	pod := controllertest.Await(c, "pods", func(all []*corev1.Pod) bool { return len(all) == 3 })[1]
	if pod.Spec.Hostname != "db-1" || pod.Spec.Subdomain != "db" || pod.Labels[appsv1.PodIndexLabel] != "1" || pod.Labels[appsv1.StatefulSetPodNameLabel] != "db-1" {
		t.Errorf("pod %+v", pod.ObjectMeta)
	}
	if v := pod.Spec.Volumes[len(pod.Spec.Volumes)-1]; v.PersistentVolumeClaim == nil && pod.Spec.Volumes[0].PersistentVolumeClaim == nil {
		t.Errorf("volumes %+v", pod.Spec.Volumes)
	}
	controllertest.Change(c, set, "", func(s *appsv1.StatefulSet) { s.Spec.Replicas = ptr.To[int32](1) })
	controllertest.Await(c, "the last pod left", func(all []*corev1.Pod) bool { return len(all) == 1 && all[0].Name == "db-0" })
	controllertest.Await(c, "claims kept", func(all []*corev1.PersistentVolumeClaim) bool { return len(all) == 3 && all[2].Name == "data-db-2" })
}

func TestUpdateStopsAtPartition(t *testing.T) {
	c := start(t)
	set := db(3)
	set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](2)}
	c.Apply(set)
	controllertest.Await(c, "completion", complete(3))
	controllertest.Change(c, set, "", func(s *appsv1.StatefulSet) { s.Spec.Template.Spec.Containers[0].Image = "db:2" })
	images := func(want string) func([]*corev1.Pod) bool {
		return func(all []*corev1.Pod) bool {
			var got []string
			for _, pod := range all {
				if pod.Status.Phase == corev1.PodRunning && pod.DeletionTimestamp == nil {
					got = append(got, strings.TrimPrefix(pod.Spec.Containers[0].Image, "db:"))
				}
			}
			return strings.Join(got, " ") == want
		}
	}
	controllertest.Await(c, "the last pod updated", images("1 1 2"))
	controllertest.Await(c, "two revisions", func(all []*appsv1.StatefulSet) bool {
		s := all[0].Status
		return s.UpdatedReplicas == 1 && s.CurrentReplicas == 2 && s.CurrentRevision != s.UpdateRevision
	})
	pods := controllertest.Await(c, "three pods", images("1 1 2"))
	c.Remove(pods[0], "")
	controllertest.Await(c, "a pod below the partition made as it was", func(all []*corev1.Pod) bool {
		return images("1 1 2")(all) && all[0].UID != pods[0].UID
	})
	controllertest.Change(c, set, "", func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.RollingUpdate.Partition = ptr.To[int32](0) })
	controllertest.Await(c, "all updated", images("2 2 2"))
	controllertest.Await(c, "completion", complete(3))
	controllertest.Await(c, "two revisions kept", func(all []*appsv1.ControllerRevision) bool { return len(all) == 2 })
}

// names joins the names of objects.
func names[T metav1.Object](all []T) string {
	var out []string
	for _, obj := range all {
		out = append(out, obj.GetName())
	}
	return strings.Join(out, " ")
}

func TestClaimRetention(t *testing.T) {
	// A set of 2, scaled to 1, to 2 again, and deleted. What is left of the
	// claims data-db-0 and data-db-1 after each?
	const keep, drop = appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	for name, tt := range map[string]struct {
		deleted, scaled appsv1.PersistentVolumeClaimRetentionPolicyType
		afterScale      string
		afterDelete     string
	}{
		"kept":                            {keep, keep, "data-db-0 data-db-1", "data-db-0 data-db-1"},
		"deleted with the pod":            {keep, drop, "data-db-0", "data-db-0 data-db-1"},
		"deleted with the set":            {drop, keep, "data-db-0 data-db-1", ""},
		"deleted with whichever is first": {drop, drop, "data-db-0", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := controllertest.New(t)
			c.Start(c.Controller(statefulset.New(c.Deps)), controllertest.Kubelet(c), c.Controller(garbagecollector.New(c.Deps, c.Inventory)))
			set := db(2)
			set.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: tt.deleted, WhenScaled: tt.scaled}
			claims := func(want string) {
				t.Helper()
				controllertest.Await(c, "claims "+want, func(all []*corev1.PersistentVolumeClaim) bool { return names(all) == want })
			}
			c.Apply(set)
			controllertest.Await(c, "completion", complete(2))
			controllertest.Change(c, set, "", func(s *appsv1.StatefulSet) { s.Spec.Replicas = ptr.To[int32](1) })
			controllertest.Await(c, "one pod", func(all []*corev1.Pod) bool { return len(all) == 1 })
			claims(tt.afterScale)
			controllertest.Change(c, set, "", func(s *appsv1.StatefulSet) { s.Spec.Replicas = ptr.To[int32](2) })
			controllertest.Await(c, "completion again", complete(2))
			claims("data-db-0 data-db-1")
			c.Remove(set, metav1.DeletePropagationBackground)
			controllertest.Await(c, "no pod", func(all []*corev1.Pod) bool { return len(all) == 0 })
			claims(tt.afterDelete)
		})
	}
}

// However late the controller sees a claim that it made, the claim goes with its pod.
func TestClaimSeenLateGoesWithItsPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := controllertest.New(t)
		c.Start(c.Controller(statefulset.New(c.Deps)), controllertest.Kubelet(c), c.Controller(garbagecollector.New(c.Deps, c.Inventory)))
		pass := func() {
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		release := c.HoldBack("persistentvolumeclaims")
		set := db(1)
		set.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
			WhenDeleted: appsv1.RetainPersistentVolumeClaimRetentionPolicyType, WhenScaled: appsv1.DeletePersistentVolumeClaimRetentionPolicyType,
		}
		c.Apply(set)
		pass()
		controllertest.Await(c, "the pod", func(all []*corev1.Pod) bool { return len(all) == 1 && all[0].Status.Phase == corev1.PodRunning })
		controllertest.Change(c, set, "", func(s *appsv1.StatefulSet) { s.Spec.Replicas = ptr.To[int32](0) })
		pass()
		release()
		pass()
		controllertest.Await(c, "no pod", func(all []*corev1.Pod) bool { return len(all) == 0 })
		controllertest.Await(c, "no claim", func(all []*corev1.PersistentVolumeClaim) bool { return len(all) == 0 })
	})
}

func TestFirstOrdinal(t *testing.T) {
	c := start(t)
	set := db(2)
	set.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 5}
	c.Apply(set)
	controllertest.Await(c, "completion", complete(2))
	controllertest.Await(c, "pods from 5", func(all []*corev1.Pod) bool { return names(all) == "db-5 db-6" })
	controllertest.Change(c, set, "", func(s *appsv1.StatefulSet) { s.Spec.Ordinals.Start = 6 })
	controllertest.Await(c, "pods from 6", func(all []*corev1.Pod) bool { return names(all) == "db-6 db-7" })
}

func TestAtMostMaxUnavailable(t *testing.T) {
	c := start(t)
	set := db(4)
	set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{MaxUnavailable: ptr.To(intstr.FromString("50%"))}
	c.Apply(set)
	controllertest.Await(c, "completion", complete(4))
	controllertest.Change(c, set, "", func(s *appsv1.StatefulSet) { s.Spec.Template.Spec.Containers[0].Image = "db:2" })
	most := 0
	controllertest.Await(c, "all updated", func(all []*corev1.Pod) bool {
		ready, updated := 0, 0
		for _, pod := range all {
			if pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodRunning {
				ready++
				if pod.Spec.Containers[0].Image == "db:2" {
					updated++
				}
			}
		}
		most = max(most, 4-ready)
		return updated == 4
	})
	if most > 2 {
		t.Errorf("%d pods were unavailable at once", most)
	}
}
