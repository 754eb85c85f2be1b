package metrics

import (
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/runtime"
	"navarch.dev/navarch/agent/volume"
)

// tellCounts tells how many volumes pods are to have, and how many are set up.
func tellCounts(t gauges, counts []volume.Count) {
	for _, c := range counts {
		for state, n := range map[string]int{"desired_state_of_world": c.Wanted, "actual_state_of_world": c.Mounted} {
			t.tell("volume_manager_total_volumes", "Number of volumes in Volume Manager", float64(n), "plugin_name", c.Plugin, "state", state)
		}
	}
}

// tellVolumes tells the space of the filesystems that claimed volumes are in, as
// far as running containers have them mounted. Of a volume that shares its
// filesystem with others, as local ones may, that is the space of all.
func tellVolumes(t gauges, pods []*corev1.Pod, containers []runtime.ContainerStatus) {
	mounts := make(map[string][]runtime.ContainerStatus) // by pod
	for i := range containers {
		if containers[i].State == runtime.StateRunning {
			mounts[containers[i].PodUID] = append(mounts[containers[i].PodUID], containers[i])
		}
	}
	told := map[[2]string]bool{} // by namespace and claim, of which several pods may have one
	for _, pod := range pods {
		for claim, path := range claimPaths(pod, mounts[runtimeUID(pod)]) {
			key := [2]string{pod.Namespace, claim}
			var fs unix.Statfs_t
			if told[key] || unix.Statfs(path, &fs) != nil {
				continue
			}
			told[key] = true
			block := float64(fs.Bsize)
			for _, m := range []struct {
				name, help string
				value      float64
			}{
				{"capacity_bytes", "Capacity in bytes of the volume", float64(fs.Blocks) * block},
				{"available_bytes", "Number of available bytes in the volume", float64(fs.Bavail) * block},
				{"used_bytes", "Number of used bytes in the volume", float64(fs.Blocks-fs.Bfree) * block},
				{"inodes", "Maximum number of inodes in the volume", float64(fs.Files)},
				{"inodes_free", "Number of free inodes in the volume", float64(fs.Ffree)},
				{"inodes_used", "Number of used inodes in the volume", float64(fs.Files - fs.Ffree)},
			} {
				t.tell(kubelet+"_volume_stats_"+m.name, m.help, m.value, "namespace", pod.Namespace, "persistentvolumeclaim", claim)
			}
		}
	}
}

// runtimeUID is the UID by which the runtime knows a pod: of a static one that of
// its file.
func runtimeUID(pod *corev1.Pod) string {
	if source := pod.Annotations[corev1.MirrorPodAnnotationKey]; source != "" {
		return source
	}
	return string(pod.UID)
}

// claimPaths returns where the node has the pod's claims, by their names.
func claimPaths(pod *corev1.Pod, containers []runtime.ContainerStatus) map[string]string {
	claims := map[string]string{} // by volume
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		switch {
		case v.PersistentVolumeClaim != nil:
			claims[v.Name] = v.PersistentVolumeClaim.ClaimName
		case v.Ephemeral != nil:
			claims[v.Name] = pod.Name + "-" + v.Name
		}
	}
	paths := map[string]string{}
	if len(claims) == 0 {
		return paths
	}
	for _, c := range pod.Spec.Containers {
		for _, status := range containers {
			if status.Spec.Name != c.Name {
				continue
			}
			for _, mount := range c.VolumeMounts {
				claim, ok := claims[mount.Name]
				if !ok {
					continue
				}
				for _, m := range status.Spec.Mounts {
					if m.ContainerPath == mount.MountPath {
						paths[claim] = m.HostPath
					}
				}
			}
		}
	}
	return paths
}
