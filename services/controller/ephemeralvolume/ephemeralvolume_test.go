package ephemeralvolume_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/ephemeralvolume"
)

func spec() corev1.PersistentVolumeClaimSpec {
	return corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
		},
	}
}

func pod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c", Image: "i"}},
			Volumes: []corev1.Volume{
				{Name: "plain", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
				{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
					VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{
						ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "x"}}, Spec: spec(),
					},
				}}},
			},
		},
	}
}

func TestClaimOfAPod(t *testing.T) {
	c := controllertest.New(t)
	c.Start(c.Controller(ephemeralvolume.New(c.Deps)))
	p := pod()
	c.Apply(p)
	made := func(all []*corev1.PersistentVolumeClaim) bool {
		return len(all) == 1 && all[0].DeletionTimestamp == nil
	}
	claim := controllertest.Await(c, "the pod's claim", made)[0]
	if claim.Name != "p-scratch" || !metav1.IsControlledBy(claim, p) || claim.Labels["app"] != "x" {
		t.Errorf("claim = %+v", claim.ObjectMeta)
	}
	c.Remove(claim, "")
	again := controllertest.Await(c, "the claim, made again", func(all []*corev1.PersistentVolumeClaim) bool {
		return made(all) && all[0].UID != claim.UID
	})
	if !metav1.IsControlledBy(again[0], p) {
		t.Errorf("claim = %+v", again[0].ObjectMeta)
	}
}

func TestAnothersClaimIsNotTaken(t *testing.T) {
	c := controllertest.New(t)
	c.Apply(&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p-scratch"}, Spec: spec()})
	c.Start(c.Controller(ephemeralvolume.New(c.Deps)))
	c.Apply(pod())
	c.AwaitEvent("Warning FailedBinding p: ephemeral volume scratch: PVC default/p-scratch was not created for pod default/p (pod is not owner)")
}
