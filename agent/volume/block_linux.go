package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/runtime"
)

// defaultFSType is what a device is formatted with whose volume does not say.
const defaultFSType = "ext4"

// Devices returns the devices that a container gets of its pod's volumes.
func (*Manager) Devices(c *corev1.Container, vols Volumes) ([]runtime.Device, error) {
	var devices []runtime.Device
	for _, d := range c.VolumeDevices {
		vol, ok := vols[d.Name]
		if !ok || !vol.Device {
			return nil, fmt.Errorf("container %q uses the device %q, which is none of the pod's volumes with volumeMode Block", c.Name, d.Name)
		}
		permissions := "rwm"
		if vol.ReadOnly {
			permissions = "r"
		}
		devices = append(devices, runtime.Device{HostPath: vol.HostPath, ContainerPath: filepath.Join("/", d.DevicePath), Permissions: permissions})
	}
	return devices, nil
}

// blockDevice returns the device that a volume with volumeMode Block is.
func blockDevice(pv *corev1.PersistentVolume) (string, error) {
	if pv.Spec.Local == nil {
		return "", errors.New("volumes with volumeMode Block are supported by this node only if they are local volumes")
	}
	path := pv.Spec.Local.Path
	switch is, err := isBlockDevice(path); {
	case err != nil:
		return "", err
	case !is:
		return "", fmt.Errorf("the path of the local volume: %s is no block device, as volumeMode Block wants", path)
	}
	return path, nil
}

// isBlockDevice says what a local volume's path is: a device or something else.
func isBlockDevice(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, fmt.Errorf("the path of the local volume: %w", err)
	}
	return hasType(info.Mode(), corev1.HostPathBlockDev), nil
}

// mountDevice mounts the device of a local volume in the pod's folder, made into
// a filesystem if there is nothing on it. Every pod mounts it for itself: the
// kernel gives all of them the same filesystem.
func (m *Manager) mountDevice(ctx context.Context, pod *corev1.Pod, name string, local *corev1.LocalVolumeSource, options []string) (string, error) {
	dir := volumePath(m.cfg.Dir, pod, name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("make the volume's mount point: %w", err)
	}
	switch mounted, err := mountinfo.Mounted(dir); {
	case err != nil:
		return "", fmt.Errorf("look for the volume's mount: %w", err)
	case mounted:
		return dir, nil
	}
	wanted := defaultFSType
	if local.FSType != nil && *local.FSType != "" {
		wanted = *local.FSType
	}
	m.devices.LockKey(local.Path)
	defer func() { _ = m.devices.UnlockKey(local.Path) }() // it is locked
	found, err := filesystemOf(ctx, local.Path)
	if err != nil {
		return "", err
	}
	if found == "" {
		if err := format(ctx, local.Path, wanted); err != nil {
			return "", err
		}
		found = wanted
	}
	if found != wanted && local.FSType != nil {
		return "", fmt.Errorf("the device %s holds a filesystem of type %s, not %s", local.Path, found, wanted)
	}
	if err := run(ctx, "mount", mountArguments(found, options, local.Path, dir)...); err != nil {
		return "", fmt.Errorf("mount the device: %w", err)
	}
	return dir, nil
}

func mountArguments(fsType string, options []string, device, dir string) []string {
	args := []string{"-t", fsType}
	if len(options) > 0 {
		args = append(args, "-o", strings.Join(options, ","))
	}
	return append(args, device, dir)
}

// nothingFound is how blkid ends if a device holds nothing that it knows.
const nothingFound = 2

// filesystemOf returns the type of the filesystem on a device, "" if the device
// is empty. A device that holds something else is an error: nothing on it may be
// overwritten.
func filesystemOf(ctx context.Context, device string) (string, error) {
	out, err := exec.CommandContext(ctx, "blkid", "-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "export", device).Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok && failed.ExitCode() == nothingFound {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for a filesystem on %s: %w", device, err)
	}
	return filesystemIn(device, out)
}

// filesystemIn reads what blkid says.
func filesystemIn(device string, out []byte) (string, error) {
	found := make(map[string]string)
	for line := range bytes.Lines(out) {
		key, value, _ := strings.Cut(string(bytes.TrimSpace(line)), "=")
		found[key] = value
	}
	switch {
	case found["TYPE"] != "":
		return found["TYPE"], nil
	case found["PTTYPE"] != "":
		return "", fmt.Errorf("the device %s has a partition table (%s), not a filesystem", device, found["PTTYPE"])
	}
	return "", fmt.Errorf("it is not known what the device %s holds: %q", device, out)
}

// format makes a filesystem on an empty device.
func format(ctx context.Context, device, fsType string) error {
	args := []string{device}
	if fsType == "ext3" || fsType == defaultFSType {
		args = []string{"-F", "-m0", device} // no question asked, no blocks kept for root
	}
	if err := run(ctx, "mkfs."+fsType, args...); err != nil {
		return fmt.Errorf("format the device: %w", err)
	}
	return nil
}

// run runs a program of the node and tells what it said if it fails.
func run(ctx context.Context, program string, args ...string) error {
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("the node has no program %s", program)
	case err != nil:
		return fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(out))
	}
	return nil
}
