package podworker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/volume"
)

// imageVolumePrefix begins the names of the mounts of a pod's image volumes. They
// are kept beside the root filesystems of containers, whose names begin otherwise.
func imageVolumePrefix(podUID string) string { return "volume-" + podUID + "-" }

// imageVolumesOf returns the image volumes that a container mounts, and begins to
// mount those that are not there. As in Kubernetes, a container waits for these only,
// and tells what is wrong with one of their images as it does of its own.
func (w *worker) imageVolumesOf(c *container) map[string]*future[volume.Volume] {
	var found map[string]*future[volume.Volume]
	for _, m := range c.spec.VolumeMounts {
		i := slices.IndexFunc(w.pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if i < 0 || w.pod.Spec.Volumes[i].Image == nil {
			continue
		}
		if found == nil {
			found = make(map[string]*future[volume.Volume])
		}
		found[m.Name] = w.imageVolume(&w.pod.Spec.Volumes[i])
	}
	return found
}

// imageVolume returns the volume, which all containers share.
func (w *worker) imageVolume(v *corev1.Volume) *future[volume.Volume] {
	if made := w.imageVolumes[v.Name]; !broken(made) {
		return made
	}
	if w.imageVolumes == nil {
		w.imageVolumes = make(map[string]*future[volume.Volume])
	}
	pod, ctx, sandbox := w.pod, w.setupCtx, w.sandbox
	made := begin(func() (volume.Volume, error) {
		return span(ctx, w, "volumes.image", func(ctx context.Context) (volume.Volume, error) {
			return w.mountImageVolume(ctx, pod, v, sandbox)
		})
	})
	w.imageVolumes[v.Name] = made
	return made
}

// withImages adds the image volumes that a container mounts to the pod's others.
func (in launchInput) withImages(ctx context.Context, others volume.Volumes) (volume.Volumes, error) {
	if len(in.images) == 0 {
		return others, nil
	}
	all := make(volume.Volumes, len(others))
	maps.Copy(all, others)
	for name, mounted := range in.images {
		v, err := mounted.wait(ctx)
		if err != nil {
			return nil, err
		}
		all[name] = v
	}
	return all, nil
}

// mountImageVolume mounts the files of an image. One that is mounted stays what it
// is, even if the reference names another image by now.
func (w *worker) mountImageVolume(ctx context.Context, pod *corev1.Pod, v *corev1.Volume, sandbox *future[struct{}]) (volume.Volume, error) {
	// Only the sandbox knows whom the files belong to in a pod with users of its own.
	if _, err := sandbox.wait(ctx); err != nil {
		return volume.Volume{}, errors.Join(errSetup, err)
	}
	users, err := w.m.usersOf(ctx, w.uid)
	if err != nil {
		return volume.Volume{}, err
	}
	id := imageVolumePrefix(w.uid) + v.Name
	imageID, mounted := w.m.deps.Images.Mounted(id)
	if !mounted {
		img, err := w.presentImage(ctx, imageWish{pod: pod, ref: v.Image.Reference, policy: v.Image.PullPolicy})
		if err != nil {
			return volume.Volume{}, err
		}
		imageID = img.ID
	}
	root, err := w.m.deps.Images.Mount(ctx, imageID, id, users)
	if err != nil {
		return volume.Volume{}, fmt.Errorf("mount the image of volume %q: %w", v.Name, err)
	}
	return volume.Volume{HostPath: root.Path, ReadOnly: true, OwnUsers: true}, nil
}

// unmountImageVolumes unmounts the images that are volumes of a pod.
func (m *Manager) unmountImageVolumes(ctx context.Context, podUID string) error {
	ids, err := m.deps.Images.Mounts()
	if err != nil {
		return fmt.Errorf("list the mounted images: %w", err)
	}
	var errs []error
	for _, id := range ids {
		if strings.HasPrefix(id, imageVolumePrefix(podUID)) {
			errs = append(errs, m.deps.Images.Unmount(ctx, id))
		}
	}
	return errors.Join(errs...)
}
