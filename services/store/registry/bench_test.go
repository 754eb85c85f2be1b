package registry

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/kinds"
)

// BenchmarkTracking compares what a write costs whose like was seen with what it
// costs to find out whose the fields are.
func BenchmarkTracking(b *testing.B) {
	for _, obj := range []kinds.Object{
		&corev1.ConfigMap{Data: map[string]string{"data": strings.Repeat("x", 1000)}},
		&corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "i:1", Env: []corev1.EnvVar{{Name: "A", Value: "b"}}}}}},
		&appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "i:1"}}}}}},
	} {
		kind, err := kinds.Default().ForObject(obj)
		if err != nil {
			b.Fatal(err)
		}
		obj.SetLabels(map[string]string{"app": "a"})
		w := Write{Kind: kind, Manager: "m", FromUser: true}
		t := newTracker(kinds.Default())
		live := obj.DeepCopyObject().(kinds.Object)
		if err := t.trackNew(w, live); err != nil {
			b.Fatal(err)
		}
		for name, track := range map[string]func(Write, kinds.Object, kinds.Object) error{"found out": t.update, "seen before": t.updateAlike} {
			b.Run(fmt.Sprintf("%s/create/%s", kind.GVK().Kind, name), func(b *testing.B) {
				for b.Loop() {
					obj.SetManagedFields(nil)
					if err := track(w, obj, t.empty(kind)); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(fmt.Sprintf("%s/label/%s", kind.GVK().Kind, name), func(b *testing.B) {
				next := live.DeepCopyObject().(kinds.Object)
				next.SetLabels(map[string]string{"app": "b"})
				for b.Loop() {
					next.SetManagedFields(nil)
					changed, before := differing(next, live)
					if err := track(w, changed, before); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
