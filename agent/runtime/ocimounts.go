package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// mounts are the usual ones, without those that the pod mounts over, and the
// pod's, parents before children.
func (b *specBuilder) mounts() []specs.Mount {
	own := map[string]bool{}
	for _, mount := range b.spec.Mounts {
		own[filepath.Clean(mount.ContainerPath)] = true
	}
	mounts := slices.DeleteFunc(slices.Concat(b.systemMounts(), b.podMounts()), func(m specs.Mount) bool {
		return own[m.Destination]
	})
	for _, mount := range b.spec.Mounts {
		mounts = append(mounts, mount.oci())
	}
	b.mapUsers(mounts)
	slices.SortStableFunc(mounts, func(a, c specs.Mount) int {
		return strings.Count(filepath.Clean(a.Destination), "/") - strings.Count(filepath.Clean(c.Destination), "/")
	})
	return mounts
}

// mapUsers has the kernel translate the owners of what comes from the node: the
// files' IDs are those that the pod sees, unless they are its users' already.
func (b *specBuilder) mapUsers(mounts []specs.Mount) {
	for i := range mounts {
		owned := func(m Mount) bool { return m.OwnUsers && filepath.Clean(m.ContainerPath) == mounts[i].Destination }
		if mounts[i].Type == "bind" && !slices.ContainsFunc(b.spec.Mounts, owned) {
			mounts[i].UIDMappings, mounts[i].GIDMappings = idMappings(b.pod.spec.Users), idMappings(b.pod.spec.Users)
		}
	}
}

func (b *specBuilder) systemMounts() []specs.Mount {
	access := "ro"
	if b.spec.Security.Privileged {
		access = "rw"
	}
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
			Options: []string{"nosuid", "noexec", "nodev", "relatime", access}},
	}
	if !b.pod.spec.HostIPC {
		mounts = append(mounts, specs.Mount{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue",
			Options: []string{"nosuid", "noexec", "nodev"}})
	}
	return mounts
}

// podMounts are the files that the pod's containers share.
func (b *specBuilder) podMounts() []specs.Mount {
	bind := func(source, target string) specs.Mount {
		return specs.Mount{Destination: target, Type: "bind", Source: source, Options: []string{"rbind", "rprivate", "rw"}}
	}
	shm := filepath.Join(b.pod.dir, shmDir)
	if b.pod.spec.HostIPC {
		shm = "/dev/shm"
	}
	mounts := []specs.Mount{bind(shm, "/dev/shm")}
	for _, file := range []struct{ name, target string }{{resolvFile, "/etc/resolv.conf"}, {hostnameFile, "/etc/hostname"}} {
		path := filepath.Join(b.pod.files, file.name)
		if _, err := os.Stat(path); err == nil {
			mounts = append(mounts, bind(path, file.target))
		}
	}
	if b.spec.TerminationMessagePath != "" {
		mounts = append(mounts, bind(b.pod.terminationLog(b.spec.ID), filepath.Join("/", b.spec.TerminationMessagePath)))
	}
	return mounts
}

func (m Mount) oci() specs.Mount {
	options := []string{"rbind"}
	switch m.Propagation {
	case PropagationBidirectional:
		options = append(options, "rshared")
	case PropagationHostToContainer:
		options = append(options, "rslave")
	default:
		options = append(options, "rprivate")
	}
	switch {
	case m.RecursiveReadOnly:
		options = append(options, "rro")
	case m.ReadOnly:
		options = append(options, "ro")
	default:
		options = append(options, "rw")
	}
	return specs.Mount{Destination: filepath.Clean(m.ContainerPath), Type: "bind", Source: m.HostPath, Options: options}
}

// rootPropagation lets mounts pass as far as one of the container's mounts wants.
func rootPropagation(mounts []Mount) string {
	propagation := ""
	for _, mount := range mounts {
		switch mount.Propagation {
		case PropagationBidirectional:
			return "rshared"
		case PropagationHostToContainer:
			propagation = "rslave"
		}
	}
	return propagation
}

// addDevices allows the usual devices, which runc makes, and those asked for; a
// privileged container has all of the host besides.
func (b *specBuilder) addDevices(linux *specs.Linux) error {
	linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: b.spec.Security.Privileged, Access: "rwm"}}
	if b.spec.Security.Privileged {
		devices, err := hostDevices("/dev")
		if err != nil {
			return err
		}
		linux.Devices = devices
	}
	for _, wanted := range b.spec.Devices {
		device, err := hostDevice(wanted.HostPath)
		if err != nil {
			return fmt.Errorf("%w: device %s: %w", ErrInvalid, wanted.HostPath, err)
		}
		device.Path = wanted.ContainerPath
		linux.Devices = append(slices.DeleteFunc(linux.Devices, func(d specs.LinuxDevice) bool { return d.Path == device.Path }), device)
		linux.Resources.Devices = append(linux.Resources.Devices, specs.LinuxDeviceCgroup{
			Allow: true, Type: device.Type, Major: &device.Major, Minor: &device.Minor, Access: wanted.Permissions})
	}
	return nil
}

// hostDevices finds the devices below a folder, except the terminals and those
// that every container gets.
func hostDevices(root string) ([]specs.LinuxDevice, error) {
	var devices []specs.LinuxDevice
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // gone meanwhile
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{"pts", "shm", "fd", "mqueue"}, entry.Name()):
			return filepath.SkipDir
		case entry.Type()&fs.ModeDevice == 0 || entry.Name() == "console":
			return nil
		}
		if device, err := hostDevice(path); err == nil { // else it has gone meanwhile
			devices = append(devices, device)
		}
		return nil
	})
	return devices, err
}

func hostDevice(path string) (specs.LinuxDevice, error) {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return specs.LinuxDevice{}, err
	}
	kind := "c"
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
	case unix.S_IFBLK:
		kind = "b"
	default:
		return specs.LinuxDevice{}, errors.New("not a device")
	}
	mode := fs.FileMode(stat.Mode &^ unix.S_IFMT)
	return specs.LinuxDevice{
		Path: path, Type: kind, Major: int64(unix.Major(stat.Rdev)), Minor: int64(unix.Minor(stat.Rdev)),
		FileMode: &mode, UID: &stat.Uid, GID: &stat.Gid,
	}, nil
}
