package deployment

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/kinds/podspec"
)

func TestSameTemplate(t *testing.T) {
	template := func(change ...func(*corev1.PodTemplateSpec)) *corev1.PodTemplateSpec {
		p := &corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "web:1"}}},
		}
		for _, f := range change {
			f(p)
		}
		return p
	}
	for _, tt := range []struct {
		name   string
		change func(*corev1.PodTemplateSpec)
		want   bool
	}{
		{"nothing", func(*corev1.PodTemplateSpec) {}, true},
		{"the label that tells versions apart", func(p *corev1.PodTemplateSpec) { p.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = "x" }, true},
		{"defaults that came later", func(p *corev1.PodTemplateSpec) { podspec.SetDefaults(&p.Spec) }, true},
		{"another value than the default", func(p *corev1.PodTemplateSpec) {
			podspec.SetDefaults(&p.Spec)
			p.Spec.DNSPolicy = corev1.DNSDefault
		}, false},
		{"another image", func(p *corev1.PodTemplateSpec) { p.Spec.Containers[0].Image = "web:2" }, false},
		{"a label", func(p *corev1.PodTemplateSpec) { p.Labels["a"] = "b" }, false},
	} {
		if got := sameTemplate(template(), template(tt.change)); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
