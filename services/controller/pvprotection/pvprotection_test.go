package pvprotection_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/pvprotection"
)

func volume(name string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:               corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			AccessModes:            []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/data"}},
		},
	}
}

func TestVolumeStaysWhileItIsBound(t *testing.T) {
	c := controllertest.New(t)
	c.Apply(volume("bound"), volume("free"))
	controllertest.Change(c, volume("bound"), "status", func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumeBound })
	c.Start(c.Controller(pvprotection.New(c.Deps)))
	controllertest.Await(c, "protection", func(all []*corev1.PersistentVolume) bool {
		return !slices.ContainsFunc(all, func(v *corev1.PersistentVolume) bool {
			return !slices.Contains(v.Finalizers, kinds.VolumeProtectionFinalizer)
		})
	})
	c.Remove(volume("bound"), "")
	c.Remove(volume("free"), "")
	left := controllertest.Await(c, "the free volume's end", func(all []*corev1.PersistentVolume) bool {
		return len(all) == 1 && all[0].DeletionTimestamp != nil
	})
	if left[0].Name != "bound" {
		t.Fatalf("%s outlived the other volume", left[0].Name)
	}
	controllertest.Change(c, volume("bound"), "status", func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumeReleased })
	controllertest.Await(c, "the bound volume's end", func(all []*corev1.PersistentVolume) bool { return len(all) == 0 })
}
