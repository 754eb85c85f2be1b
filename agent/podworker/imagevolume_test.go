package podworker

import (
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// The status says how volumes are mounted, also of containers that wait.
func TestStatusOfMounts(t *testing.T) {
	b := newBench(t)
	b.pod("pod", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		c := &p.Spec.Containers[0]
		c.Image, c.VolumeMounts = "absent", []corev1.VolumeMount{
			{Name: "scratch", MountPath: "/a"}, {Name: "scratch", MountPath: "/b", ReadOnly: true},
			{Name: "scratch", MountPath: "/c", ReadOnly: true, RecursiveReadOnly: new(corev1.RecursiveReadOnlyEnabled)},
		}
	})
	want := []corev1.VolumeMountStatus{
		{Name: "scratch", MountPath: "/a"},
		{Name: "scratch", MountPath: "/b", ReadOnly: true, RecursiveReadOnly: new(corev1.RecursiveReadOnlyDisabled)},
		{Name: "scratch", MountPath: "/c", ReadOnly: true, RecursiveReadOnly: new(corev1.RecursiveReadOnlyEnabled)},
	}
	b.until("pod", "told how its volumes are mounted", func(p *corev1.Pod) bool {
		return p != nil && len(p.Status.ContainerStatuses) == 1 && cmp.Equal(p.Status.ContainerStatuses[0].VolumeMounts, want)
	})
}

// pod
//   - reader mounts the volume, whose image is not there at first
//   - other  does not
func TestImageOfVolumeThatIsNotThere(t *testing.T) {
	b := newStoreBench(t)
	images := lateImages{loaded: new(atomic.Bool)}
	b.images = images
	b.start()
	t.Cleanup(func() { b.stop() })
	b.pod("pod", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "files", VolumeSource: corev1.VolumeSource{
			Image: &corev1.ImageVolumeSource{Reference: "absent", PullPolicy: corev1.PullIfNotPresent},
		}}}
		p.Spec.Containers = []corev1.Container{
			{Name: "reader", Image: "app:1", VolumeMounts: []corev1.VolumeMount{{Name: "files", MountPath: "/files"}}},
			{Name: "other", Image: "app:1"},
		}
	})
	for _, reason := range []string{"ErrImagePull", "ImagePullBackOff"} {
		b.until("pod", reason, func(p *corev1.Pod) bool {
			if p == nil || len(p.Status.ContainerStatuses) != 2 {
				return false
			}
			reader, other := p.Status.ContainerStatuses[0].State, p.Status.ContainerStatuses[1].State
			return reader.Waiting != nil && reader.Waiting.Reason == reason && other.Running != nil
		})
	}
	for reason, want := range map[string]string{
		"Failed":      "Error: ErrImagePull",
		"BackOff":     `Back-off pulling image "absent"`,
		"FailedMount": "",
	} {
		if got := b.events.last(reason); got != want {
			t.Errorf("last event %s = %q, want %q", reason, got, want)
		}
	}
	images.loaded.Store(true)
	b.manager.ImagesLoaded()
	b.until("pod", "ready", isReady)
}
