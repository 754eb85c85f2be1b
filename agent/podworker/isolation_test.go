package podworker

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestRunsNothingLessIsolated: pods do not run without what is to keep them apart.
func TestRunsNothingLessIsolated(t *testing.T) {
	localhost, unconfined := corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeUnconfined
	profile := func(p corev1.AppArmorProfileType) *corev1.AppArmorProfile {
		out := &corev1.AppArmorProfile{Type: p}
		if p == localhost {
			name := "strict"
			out.LocalhostProfile = &name
		}
		return out
	}
	b := newBench(t)
	for name, change := range map[string]func(*corev1.Pod){
		"pod": func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{AppArmorProfile: profile(corev1.AppArmorProfileTypeRuntimeDefault)}
		},
		"container": func(p *corev1.Pod) {
			p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{AppArmorProfile: profile(localhost)}
		},
		"init": func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "app:1", SecurityContext: &corev1.SecurityContext{AppArmorProfile: profile(localhost)}}}
		},
		"annotation": func(p *corev1.Pod) {
			p.Annotations = map[string]string{corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + "main": "runtime/default"}
		},
	} {
		b.pod(name, change)
		if got := b.until(name, "rejected", phaseIs(corev1.PodFailed)); got.Status.Reason != "AppArmor" {
			t.Errorf("%s: reason = %q", name, got.Status.Reason)
		}
	}
	hostUsers := true
	b.pod("unconfined", func(p *corev1.Pod) {
		p.Spec.HostUsers = &hostUsers
		p.Spec.SecurityContext = &corev1.PodSecurityContext{AppArmorProfile: profile(unconfined)}
		p.Annotations = map[string]string{corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + "main": "unconfined"}
	})
	b.until("unconfined", "ready", isReady)
}
