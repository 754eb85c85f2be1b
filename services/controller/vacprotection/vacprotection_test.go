package vacprotection_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/vacprotection"
)

func class(name string) *storagev1.VolumeAttributesClass {
	return &storagev1.VolumeAttributesClass{ObjectMeta: metav1.ObjectMeta{Name: name}, DriverName: "d.example.com", Parameters: map[string]string{"iops": "1"}}
}

func claim(class string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: class},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeAttributesClassName: &class,
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
}

func volume(class string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: class},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeAttributesClassName: &class,
			Capacity:               corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "d.example.com", VolumeHandle: "v"}},
		},
	}
}

// left waits until the classes of these names alone are there.
func left(c *controllertest.Cluster, names ...string) {
	controllertest.Await(c, "the others' end", func(all []*storagev1.VolumeAttributesClass) bool {
		var have []string
		for _, class := range all {
			have = append(have, class.Name)
		}
		slices.Sort(have)
		return slices.Equal(have, names)
	})
}

func TestClassStaysWhileItIsNamed(t *testing.T) {
	c := controllertest.New(t)
	c.Apply(class("asked"), class("free"), class("given"), class("had"), claim("asked"), claim("had"), volume("given"))
	controllertest.Change(c, claim("had"), "status", func(p *corev1.PersistentVolumeClaim) {
		p.Status.Phase, p.Status.CurrentVolumeAttributesClassName = corev1.ClaimBound, p.Spec.VolumeAttributesClassName
	})
	controllertest.Change(c, claim("had"), "", func(p *corev1.PersistentVolumeClaim) { *p.Spec.VolumeAttributesClassName = "other" })
	c.Start(c.Controller(vacprotection.New(c.Deps)))
	controllertest.Await(c, "protection", func(all []*storagev1.VolumeAttributesClass) bool {
		return !slices.ContainsFunc(all, func(class *storagev1.VolumeAttributesClass) bool {
			return !slices.Contains(class.Finalizers, kinds.AttributesClassProtectionFinalizer)
		})
	})
	for _, name := range []string{"asked", "free", "given", "had"} {
		c.Remove(class(name), "")
	}
	left(c, "asked", "given", "had")
	controllertest.Change(c, claim("had"), "status", func(p *corev1.PersistentVolumeClaim) {
		p.Status.CurrentVolumeAttributesClassName = p.Spec.VolumeAttributesClassName
	})
	left(c, "asked", "given")
	c.Remove(volume("given"), "")
	left(c, "asked")
	c.Remove(claim("asked"), "")
	left(c)
}
