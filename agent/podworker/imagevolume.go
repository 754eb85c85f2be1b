package podworker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/volume"
)

// imageVolumePrefix begins the names of the mounts of a pod's image volumes. They
// are kept beside the root filesystems of containers, whose names begin otherwise.
func imageVolumePrefix(podUID string) string { return "volume-" + podUID + "-" }

// setUpVolumes sets up all of a pod's volumes, those that are images included.
func (w *worker) setUpVolumes(ctx context.Context, pod *corev1.Pod, sandbox *future[struct{}]) (volume.Volumes, error) {
	volumes, err := w.m.deps.Volumes.SetUp(ctx, pod)
	if err != nil {
		return nil, err
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Image == nil || v.Image.Reference == "" {
			continue
		}
		path, err := w.mountImageVolume(ctx, pod, v, sandbox)
		if err != nil {
			return nil, &volume.Error{Volume: v.Name, Err: err}
		}
		if volumes == nil {
			volumes = volume.Volumes{}
		}
		volumes[v.Name] = volume.Volume{HostPath: path, ReadOnly: true, OwnUsers: true}
	}
	return volumes, nil
}

// mountImageVolume mounts the files of an image and returns where. One that is
// mounted stays what it is, even if the reference names another image by now.
func (w *worker) mountImageVolume(ctx context.Context, pod *corev1.Pod, v *corev1.Volume, sandbox *future[struct{}]) (string, error) {
	// Only the sandbox knows whom the files belong to in a pod with users of its own.
	if _, err := sandbox.wait(ctx); err != nil {
		return "", err
	}
	users, err := w.m.usersOf(ctx, w.uid)
	if err != nil {
		return "", err
	}
	id := imageVolumePrefix(w.uid) + v.Name
	imageID, mounted := w.m.deps.Images.Mounted(id)
	if !mounted {
		img, err := w.presentImage(ctx, imageWish{pod: pod, ref: v.Image.Reference, policy: v.Image.PullPolicy})
		if err != nil {
			return "", err
		}
		imageID = img.ID
	}
	root, err := w.m.deps.Images.Mount(ctx, imageID, id, users)
	if err != nil {
		return "", fmt.Errorf("mount the image: %w", err)
	}
	return root.Path, nil
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
