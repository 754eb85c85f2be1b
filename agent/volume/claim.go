package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/localpath"
)

// claimVolume returns what is behind a volume that is a claim: one that
// the pod names, or its own.
func (m *Manager) claimVolume(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (Volume, error) {
	name, readOnly := ephemeral.VolumeClaimName(pod, v), false
	if v.PersistentVolumeClaim != nil {
		name, readOnly = v.PersistentVolumeClaim.ClaimName, v.PersistentVolumeClaim.ReadOnly
	}
	b, err := m.boundVolume(ctx, pod, name, v.Ephemeral != nil)
	if err != nil {
		return Volume{}, fmt.Errorf("error processing PVC %s/%s: %w", pod.Namespace, name, err)
	}
	b.readOnly = readOnly
	pv := b.pv
	m.wants(pod, v.Name, pluginOfClaimed(&pv.Spec.PersistentVolumeSource))
	vol, err := m.found(ctx, pod, v, b)
	if err == nil && pv.Spec.Local != nil && !vol.Device && !readOnly {
		err = m.giveVolume(pod, pv.Name, vol.HostPath)
	}
	if err != nil {
		return Volume{}, &Error{Volume: pv.Name, Err: err}
	}
	vol.ReadOnly = readOnly
	return vol, nil
}

// found returns a volume as the pod's containers can have it: a device or a path.
func (m *Manager) found(ctx context.Context, pod *corev1.Pod, v *corev1.Volume, b bound) (Volume, error) {
	pv := b.pv
	mode := ptr.Deref(pv.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	if err := checkMode(pod, v.Name, mode); err != nil {
		return Volume{}, err
	}
	if mode == corev1.PersistentVolumeBlock {
		path, err := blockDevice(pv)
		return Volume{HostPath: path, Device: true}, err
	}
	path, err := m.pathOf(ctx, pod, v.Name, b)
	return Volume{HostPath: path}, err
}

// bound is a claim with the volume that it has.
type bound struct {
	claim *corev1.PersistentVolumeClaim
	pv    *corev1.PersistentVolume
	// readOnly says that the pod may not write to it.
	readOnly bool
}

// boundVolume returns a claim of the pod's namespace with its volume.
func (m *Manager) boundVolume(ctx context.Context, pod *corev1.Pod, name string, own bool) (bound, error) {
	claim := &corev1.PersistentVolumeClaim{}
	if err := m.client.Get(ctx, pod.Namespace, name, claim); err != nil {
		return bound{}, fmt.Errorf("failed to fetch PVC from API server: %w", err)
	}
	if own {
		if err := ephemeral.VolumeIsForPod(pod, claim); err != nil {
			return bound{}, err
		}
	}
	if claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName == "" {
		return bound{}, errors.New("PVC is not bound")
	}
	pv := &corev1.PersistentVolume{}
	if err := m.client.Get(ctx, "", claim.Spec.VolumeName, pv); err != nil {
		return bound{}, fmt.Errorf("failed to fetch PV %q: %w", claim.Spec.VolumeName, err)
	}
	if r := pv.Spec.ClaimRef; r == nil || r.UID != claim.UID {
		return bound{}, fmt.Errorf("PV %q is not bound to this PVC", pv.Name)
	}
	return bound{claim: claim, pv: pv}, nil
}

// pathOf returns where a volume is on this node. The folder of a volume
// that the node itself keeps is made when it is first used.
func (m *Manager) pathOf(ctx context.Context, pod *corev1.Pod, volume string, b bound) (string, error) {
	pv := b.pv
	switch source := &pv.Spec.PersistentVolumeSource; {
	case source.HostPath != nil:
		return source.HostPath.Path, checkHostPath(source.HostPath)
	case localpath.Provisioned(pv):
		path, err := localpath.Folder(pv, m.cfg.LocalDir)
		if err != nil {
			return "", err
		}
		return path, makeFolder(path)
	case source.Local != nil:
		device, err := isBlockDevice(source.Local.Path)
		if err != nil {
			return "", err
		}
		if device {
			dir, err := m.mountDevice(ctx, pod, volume, source.Local, pv.Spec.MountOptions)
			if err == nil {
				err = m.keepGrowing(ctx, pod, volume, b, dir)
			}
			return dir, err
		}
		return source.Local.Path, nil
	case source.CSI != nil:
		return "", fmt.Errorf("driver name %s not found in the list of registered CSI drivers", source.CSI.Driver)
	case source.NFS != nil:
		return "", nfsProblem("/proc/filesystems")
	}
	return "", errUnsupported
}

var errUnsupported = errors.New("volumes of this type are not supported by this node")

// nfsProblem says why an NFS volume cannot be mounted.
func nfsProblem(filesystems string) error {
	known, err := os.ReadFile(filesystems)
	if err != nil {
		return fmt.Errorf("look for the kernel's NFS client: %w", err)
	}
	for line := range bytes.Lines(known) {
		if name := bytes.TrimSpace(bytes.TrimPrefix(line, []byte("nodev"))); bytes.Equal(name, []byte("nfs")) || bytes.Equal(name, []byte("nfs4")) {
			return errors.New("NFS volumes are not supported by this node: mount the export on the node and use a hostPath or local volume")
		}
	}
	return fmt.Errorf("NFS volumes cannot be mounted: the kernel of this node has no NFS client (there is no nfs in %s)", filesystems)
}

// checkMode refuses a volume that is used as what it is not.
func checkMode(pod *corev1.Pod, name string, mode corev1.PersistentVolumeMode) error {
	mounted, device := false, false
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			mounted = mounted || slices.ContainsFunc(list[i].VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == name })
			device = device || slices.ContainsFunc(list[i].VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == name })
		}
	}
	switch {
	case mode == corev1.PersistentVolumeBlock && mounted:
		return fmt.Errorf("volume %s has volumeMode Block, but is specified in volumeMounts", name)
	case mode != corev1.PersistentVolumeBlock && device:
		return fmt.Errorf("volume %s has volumeMode Filesystem, but is specified in volumeDevices", name)
	}
	return nil
}

// makeFolder makes the folder of a volume, which any user may write to, as with
// an emptyDir.
func makeFolder(path string) error {
	err := os.Mkdir(path, 0o777)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return fmt.Errorf("make the volume's folder: %w", err)
	}
	return os.Chmod(path, 0o777) // whatever the umask
}

// giveVolume makes a volume's files the pod's group's, once for a pod: looking
// at every file may take long.
func (m *Manager) giveVolume(pod *corev1.Pod, volume, path string) error {
	group := fsGroup(pod)
	if group == nil {
		return nil
	}
	m.mu.Lock()
	done := slices.Contains(m.given[string(pod.UID)], volume)
	m.mu.Unlock()
	if done {
		return nil
	}
	path, err := filepath.EvalSymlinks(path) // it may be a link to the folder
	if err != nil {
		return fmt.Errorf("the path of the local volume: %w", err)
	}
	policy := ptr.Deref(pod.Spec.SecurityContext.FSGroupChangePolicy, corev1.FSGroupChangeAlways)
	if policy != corev1.FSGroupChangeOnRootMismatch || !belongsTo(path, *group) {
		if err := giveToGroup(path, group, groupWrites); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.given[string(pod.UID)] = append(m.given[string(pod.UID)], volume)
	return nil
}

// belongsTo says whether a volume's root is as giveToGroup leaves it.
func belongsTo(path string, group int64) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int64(stat.Gid) == group && info.Mode()&fs.ModeSetgid != 0 && info.Mode().Perm()&0o060 == 0o060
}
