package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"navarch.dev/navarch/agent/podlimits"
)

// emptyDir makes a pod's scratch folder: on the node's disk, or in memory.
func (m *Manager) emptyDir(pod *corev1.Pod, v *corev1.Volume) (Volume, error) {
	dir := volumePath(m.cfg.Dir, pod, v.Name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return Volume{}, fmt.Errorf("make the volume's folder: %w", err)
	}
	switch err := os.Mkdir(dir, 0o777); {
	case errors.Is(err, os.ErrExist):
		if done, err := mountedOrPlain(dir, v.EmptyDir.Medium); err != nil || done {
			return Volume{HostPath: dir}, err
		}
	case err != nil:
		return Volume{}, fmt.Errorf("make the volume: %w", err)
	}
	mode := fs.FileMode(0o777)
	switch v.EmptyDir.Medium {
	case corev1.StorageMediumDefault:
	case corev1.StorageMediumMemory:
		options := ""
		if size := memorySize(pod, v.EmptyDir.SizeLimit, m.allocatable()); size > 0 {
			options = fmt.Sprintf("size=%d", size)
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
			return Volume{}, fmt.Errorf("mount a tmpfs: %w", err)
		}
		mode |= fs.ModeSticky // as a tmpfs has by itself
	default:
		return Volume{}, fmt.Errorf("the medium %q is not supported", v.EmptyDir.Medium)
	}
	if err := os.Chmod(dir, mode); err != nil { // whatever the umask
		return Volume{}, fmt.Errorf("set the volume's mode: %w", err)
	}
	return Volume{HostPath: dir}, giveToGroup(dir, fsGroup(pod), groupWrites)
}

// memorySize returns how many bytes a volume in memory may hold: what is said of
// it, but no more than the pod may use, or all pods of the node. 0 is as many as
// the kernel likes.
func memorySize(pod *corev1.Pod, limit *resource.Quantity, allocatable corev1.ResourceList) int64 {
	size := allocatable.Memory().Value()
	least := func(bound int64) {
		if bound > 0 && (size == 0 || bound < size) {
			size = bound
		}
	}
	least(podlimits.Of(pod, corev1.ResourceMemory))
	if limit != nil {
		least(limit.Value())
	}
	return size
}

// mountedOrPlain says whether an existing folder is complete: for a volume in
// memory, whether its tmpfs is still mounted.
func mountedOrPlain(dir string, medium corev1.StorageMedium) (bool, error) {
	if medium != corev1.StorageMediumMemory {
		return true, nil
	}
	mounted, err := mountinfo.Mounted(dir)
	if err != nil {
		return false, fmt.Errorf("look for the volume's mount: %w", err)
	}
	return mounted, nil
}

// checkHostPath makes or checks the path, by the volume's type.
func checkHostPath(h *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if h.Type != nil {
		kind = *h.Type
	}
	info, err := os.Stat(h.Path)
	absent := errors.Is(err, os.ErrNotExist)
	if err != nil && !absent {
		return fmt.Errorf("hostPath %s: %w", h.Path, err)
	}
	switch kind {
	case corev1.HostPathUnset:
		if absent {
			return os.MkdirAll(h.Path, 0o755) // as container runtimes do
		}
		return nil
	case corev1.HostPathDirectoryOrCreate:
		if absent {
			return os.MkdirAll(h.Path, 0o755)
		}
		kind = corev1.HostPathDirectory
	case corev1.HostPathFileOrCreate:
		if absent {
			return touch(h.Path)
		}
		kind = corev1.HostPathFile
	}
	if absent || !hasType(info.Mode(), kind) {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", h.Path, kindWord(kind))
	}
	return nil
}

func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("make hostPath %s: %w", path, err)
	}
	return f.Close()
}

func hasType(mode fs.FileMode, kind corev1.HostPathType) bool {
	switch kind {
	case corev1.HostPathDirectory:
		return mode.IsDir()
	case corev1.HostPathFile:
		return mode.IsRegular()
	case corev1.HostPathSocket:
		return mode&fs.ModeSocket != 0
	case corev1.HostPathCharDev:
		return mode&fs.ModeCharDevice != 0
	case corev1.HostPathBlockDev:
		return mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0
	}
	return false
}

func kindWord(kind corev1.HostPathType) string {
	switch kind {
	case corev1.HostPathSocket:
		return "socket file"
	case corev1.HostPathCharDev:
		return "character device"
	case corev1.HostPathBlockDev:
		return "block device"
	}
	return strings.ToLower(string(kind))
}

// What a group may do of what the owner of a volume may.
const (
	groupWrites fs.FileMode = 0o070
	groupReads  fs.FileMode = 0o050
)

// giveToGroup makes everything below dir belong to a group that may do what its
// owner may, as far as that is within may; folders pass the group on. A nil group
// changes nothing.
func giveToGroup(dir string, group *int64, may fs.FileMode) error {
	if group == nil {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := os.Lchown(path, -1, int(*group)); err != nil {
			return fmt.Errorf("give the volume to group %d: %w", *group, err)
		}
		if d.Type()&fs.ModeSymlink != 0 {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := info.Mode() | info.Mode().Perm()>>3&may
		if d.IsDir() {
			mode |= fs.ModeSetgid
		}
		if err := os.Chmod(path, mode); err != nil {
			return fmt.Errorf("let the group into the volume: %w", err)
		}
		return nil
	})
}

// removeTree unmounts everything below dir, deepest first, and removes it. It
// never removes through a mount.
func removeTree(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("list the mounts below %s: %w", dir, err)
	}
	slices.SortFunc(mounts, func(a, b *mountinfo.Info) int { return len(b.Mountpoint) - len(a.Mountpoint) })
	for _, mnt := range mounts {
		if err := unix.Unmount(mnt.Mountpoint, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", mnt.Mountpoint, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}

// Purge unmounts and removes the volumes of all pods.
func Purge(dir string) error { return removeTree(dir) }
