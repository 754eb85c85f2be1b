package podworker

import (
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestEvictsWhatTakesTooMuchStorage(t *testing.T) {
	limited := func(limit string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(limit)}
		}
	}
	// Each container is said to have written 5 MiB; the pod's emptyDir has 2 MiB.
	tests := []struct {
		name    string
		with    func(*corev1.Pod)
		message string // "" if it is to stay
	}{
		{name: "volume", message: `Usage of EmptyDir volume "scratch" exceeds the limit "1Mi". `,
			with: func(p *corev1.Pod) { p.Spec.Volumes[0].EmptyDir.SizeLimit = new(resource.MustParse("1Mi")) }},
		{name: "container", with: limited("4Mi"),
			message: `Container main exceeded its local ephemeral storage limit "4Mi". `},
		{name: "pod", with: limited("6Mi"),
			message: `Pod ephemeral local storage usage exceeds the total limit of containers 6Mi. `},
		{name: "within", with: func(p *corev1.Pod) {
			limited("16Mi")(p)
			p.Spec.Volumes[0].EmptyDir.SizeLimit = new(resource.MustParse("16Mi"))
		}},
	}
	b := newBench(t)
	for _, tt := range tests {
		pod := b.pod(tt.name, func(p *corev1.Pod) {
			p.Spec.Containers[0].Name = "main"
			p.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
			tt.with(p)
		})
		if tt.name == "container" {
			continue // it may be over already, and its volume gone
		}
		// It is made here, for the pod to be found with content already.
		writeFile(t, filepath.Join(b.dir, "pods", string(pod.UID), "volumes", "scratch", "data"), string(make([]byte, 2<<20)))
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.message == "" {
				b.until(tt.name, "ready", isReady)
				return
			}
			got := b.until(tt.name, "evicted", phaseIs(corev1.PodFailed))
			if got.Status.Reason != "Evicted" || got.Status.Message != tt.message {
				t.Errorf("reason %q, message %q; want %q", got.Status.Reason, got.Status.Message, tt.message)
			}
			if !b.events.has("Evicted") {
				t.Error("no event says so")
			}
		})
	}
}
