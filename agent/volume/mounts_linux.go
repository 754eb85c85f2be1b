package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/podenv"
	"navarch.dev/navarch/agent/runtime"
)

// Mounts returns what a container mounts of its pod's volumes. env answers
// for the variables of subPathExpr.
func (m *Manager) Mounts(pod *corev1.Pod, c *corev1.Container, vols Volumes, env func(string) (string, bool)) ([]runtime.Mount, error) {
	mounts := make([]runtime.Mount, 0, len(c.VolumeMounts))
	for i, vm := range c.VolumeMounts {
		v, ok := vols[vm.Name]
		if !ok {
			return nil, fmt.Errorf("container %q mounts the volume %q, which the pod does not have", c.Name, vm.Name)
		}
		source := v.HostPath
		if sub := subPathOf(vm, env); sub != "" {
			at := filepath.Join(m.cfg.Dir, string(pod.UID), "subpaths", c.Name, strconv.Itoa(i))
			if err := bindSubPath(v.HostPath, sub, at); err != nil {
				return nil, fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", vm.Name, c.Name, err)
			}
			source = at
		}
		target := vm.MountPath
		if !filepath.IsAbs(target) {
			target = "/" + target
		}
		mounts = append(mounts, runtime.Mount{
			HostPath: source, ContainerPath: target, ReadOnly: vm.ReadOnly || v.ReadOnly, OwnUsers: v.OwnUsers,
			RecursiveReadOnly: m.RecursiveReadOnly(vm), Propagation: propagation(vm.MountPropagation),
		})
	}
	return mounts, nil
}

func subPathOf(vm corev1.VolumeMount, env func(string) (string, bool)) string {
	if vm.SubPathExpr != "" {
		return podenv.Expand(vm.SubPathExpr, env)
	}
	return vm.SubPath
}

func propagation(mode *corev1.MountPropagationMode) runtime.Propagation {
	if mode == nil {
		return runtime.PropagationPrivate
	}
	switch *mode {
	case corev1.MountPropagationHostToContainer:
		return runtime.PropagationHostToContainer
	case corev1.MountPropagationBidirectional:
		return runtime.PropagationBidirectional
	}
	return runtime.PropagationPrivate
}

var errEscapes = errors.New("the path must stay inside its volume")

// bindSubPath binds what sub names below volume to at, making a folder of
// that name if there is nothing. Links are followed, but never out of the
// volume, whatever is changed below it meanwhile.
func bindSubPath(volume, sub, at string) error {
	if filepath.IsAbs(sub) || strings.Contains("/"+sub+"/", "/../") {
		return errEscapes
	}
	root, err := unix.Open(volume, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the volume: %w", err)
	}
	defer unix.Close(root)
	fd, err := openBeneath(root, sub)
	if errors.Is(err, unix.ENOENT) {
		if err := makeBeneath(volume, sub); err != nil {
			return err
		}
		fd, err = openBeneath(root, sub)
	}
	if errors.Is(err, unix.EXDEV) {
		return errEscapes
	}
	if err != nil {
		return fmt.Errorf("open the subPath %q: %w", sub, err)
	}
	defer unix.Close(fd)
	return bindDescriptor(fd, at)
}

func openBeneath(root int, sub string) (int, error) {
	return unix.Openat2(root, sub, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// makeBeneath makes the folder sub below volume, and those that lead to it, with
// the volume's mode; its group passes on by that. os.Root refuses to leave it.
func makeBeneath(volume, sub string) error {
	root, err := os.OpenRoot(volume)
	if err != nil {
		return fmt.Errorf("open the volume: %w", err)
	}
	defer root.Close()
	info, err := root.Stat(".")
	if err != nil {
		return fmt.Errorf("look at the volume: %w", err)
	}
	mode := info.Mode() & (os.ModePerm | os.ModeSetuid | os.ModeSetgid | os.ModeSticky)
	made := ""
	for part := range strings.SplitSeq(filepath.Clean(sub), "/") {
		made = filepath.Join(made, part)
		switch err := root.Mkdir(made, mode.Perm()); {
		case errors.Is(err, os.ErrExist):
			continue
		case err != nil:
			return fmt.Errorf("make the subPath %q: %w", sub, err)
		}
		if err := root.Chmod(made, mode); err != nil { // whatever the umask
			return fmt.Errorf("make the subPath %q: %w", sub, err)
		}
	}
	return nil
}

// Open opens a regular file of a volume to read it. No link leads out of the volume.
func (v Volumes) Open(name, path string) (*os.File, error) {
	vol, ok := v[name]
	if !ok {
		return nil, fmt.Errorf("the pod has no volume %q", name)
	}
	root, err := os.OpenRoot(vol.HostPath)
	if err != nil {
		return nil, fmt.Errorf("open the volume: %w", err)
	}
	defer root.Close()
	file, err := root.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe would wait for its writer
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s is no regular file", path), err, file.Close())
	}
	return file, nil
}

// bindDescriptor binds what an O_PATH descriptor refers to.
func bindDescriptor(fd int, at string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("look at the subPath: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return fmt.Errorf("make the subPath's mount point: %w", err)
	}
	// A restarted container binds anew: the path may name something else now.
	for unix.Unmount(at, unix.MNT_DETACH) == nil {
	}
	if err := os.RemoveAll(at); err != nil {
		return fmt.Errorf("make the subPath's mount point: %w", err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := os.Mkdir(at, 0o755); err != nil {
			return fmt.Errorf("make the subPath's mount point: %w", err)
		}
	} else if err := os.WriteFile(at, nil, 0o644); err != nil {
		return fmt.Errorf("make the subPath's mount point: %w", err)
	}
	source := fmt.Sprintf("/proc/self/fd/%d", fd)
	if err := unix.Mount(source, at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind the subPath: %w", err)
	}
	return nil
}
