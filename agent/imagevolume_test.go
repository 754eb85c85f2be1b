package agent

import (
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/client"
)

// imageVolumes returns the mounts of image volumes on the node.
func (c *cluster) imageVolumes() []string {
	c.t.Helper()
	found, err := filepath.Glob(filepath.Join(c.cfg.imageConfig().Dir, "mounts", "volume-*"))
	if err != nil {
		c.t.Fatal(err)
	}
	return found
}

// A volume that is an image has its files, which nobody can write. It outlives the
// agent, but not the pod.
func TestImageVolumes(t *testing.T) {
	c := newCluster(t)
	pod := c.run("reader", "ls /tool/bin/busybox /only/busybox; touch /tool/new 2>/dev/null || echo kept; "+forever, func(p *corev1.Pod) {
		main := &p.Spec.Containers[0]
		p.Spec.Volumes = []corev1.Volume{{Name: "tool", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: main.Image}}}}
		main.VolumeMounts = []corev1.VolumeMount{{Name: "tool", MountPath: "/tool"}, {Name: "tool", MountPath: "/only", SubPath: "bin"}}
	})
	before := c.until("reader", "ready", ready)
	if got, want := c.logs("reader", 3), "/only/busybox\n/tool/bin/busybox\nkept\n"; got != want {
		t.Errorf("logs = %q, want %q", got, want)
	}
	c.stop()
	c.start()
	after := c.until("reader", "ready", ready)
	if after.Status.ContainerStatuses[0].ContainerID != before.Status.ContainerStatuses[0].ContainerID {
		t.Error("the container was replaced")
	}
	if got := c.imageVolumes(); len(got) != 1 {
		t.Errorf("mounted for volumes after the agent was replaced: %q", got)
	}
	if err := c.client.Delete(t.Context(), pod, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("reader", "gone", gone)
	if got := c.imageVolumes(); len(got) != 0 {
		t.Errorf("mounted for volumes of a pod that is gone: %q", got)
	}
}
