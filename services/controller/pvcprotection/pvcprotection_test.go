package pvcprotection_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/pvcprotection"
)

func claim(name string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
}

func podWith(name, node, claim string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{
			NodeName:   node,
			Containers: []corev1.Container{{Name: "c", Image: "i"}},
			Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
			}}},
		},
	}
}

func TestClaimStaysWhileAPodOnANodeUsesIt(t *testing.T) {
	c := controllertest.New(t)
	c.Apply(claim("used"), claim("idle"), podWith("running", "n1", "used"), podWith("pending", "", "idle"))
	c.Start(c.Controller(pvcprotection.New(c.Deps)))
	controllertest.Await(c, "protection", allProtected)
	c.Remove(claim("used"), "")
	c.Remove(claim("idle"), "")
	left := controllertest.Await(c, "the idle claim's end", func(all []*corev1.PersistentVolumeClaim) bool {
		return len(all) == 1 && all[0].DeletionTimestamp != nil
	})
	if left[0].Name != "used" {
		t.Fatalf("%s outlived the other claim", left[0].Name)
	}
	if err := c.End(t.Context(), podWith("running", "n1", "used")); err != nil {
		t.Fatal(err)
	}
	controllertest.Await(c, "the used claim's end", func(all []*corev1.PersistentVolumeClaim) bool { return len(all) == 0 })
}

func allProtected(all []*corev1.PersistentVolumeClaim) bool {
	return !slices.ContainsFunc(all, func(p *corev1.PersistentVolumeClaim) bool {
		return !slices.Contains(p.Finalizers, kinds.ClaimProtectionFinalizer)
	})
}
