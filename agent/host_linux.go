package agent

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mountRun mounts a tmpfs at dir, unless an agent before this one has. The state
// of what runs ends with a boot, as what runs does; in memory it costs the disk
// no write, and secrets never reach it.
func mountRun(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("make the folder of what runs: %w", err)
	}
	mounted, err := mountinfo.Mounted(dir)
	if err != nil {
		return fmt.Errorf("look for the folder of what runs: %w", err)
	}
	if mounted {
		return nil
	}
	const flags, options = unix.MS_NOSUID | unix.MS_NODEV, "mode=700,size=25%"
	err = unix.Mount("navarch", dir, "tmpfs", flags, options+",noswap")
	if errors.Is(err, unix.EINVAL) { // a kernel before 6.4
		err = unix.Mount("navarch", dir, "tmpfs", flags, options)
	}
	if err != nil {
		return fmt.Errorf("mount the folder of what runs: %w", err)
	}
	return nil
}

// unmountRun takes it away again, with all that is in it.
func unmountRun(dir string) error {
	err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount the folder of what runs: %w", err)
	}
	return nil
}

// closeFolders makes folders of pods' files, and keeps the other users of the node
// from what is in them: Secrets that any user of a pod may read, and programs that
// a pod may have made to run as root.
func closeFolders(dirs ...string) error {
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make a folder of pods' files: %w", err)
		}
		if err := os.Chmod(dir, 0o700); err != nil { // it may be of an earlier version
			return fmt.Errorf("close a folder of pods' files: %w", err)
		}
	}
	return nil
}

// topDirectory is FS_TOPDIR_FL of linux/fs.h, the attribute T of chattr.
const topDirectory = 0x00020000

// spreadPods tells the filesystem that the folders in each of dirs have nothing
// to do with one another, so that it lays them out apart. ext4 would put them side
// by side and, without a journal, look for a free inode past all that were freed
// there in the last minutes: making a pod's folders took longer the more pods had
// come and gone. Filesystems that know no such hint need none.
func spreadPods(dirs ...string) error {
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make a folder of pods' folders: %w", err)
		}
		f, err := os.Open(dir)
		if err != nil {
			return fmt.Errorf("make a folder of pods' folders: %w", err)
		}
		flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
		if err == nil {
			_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags|topDirectory) // a hint
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("make a folder of pods' folders: %w", err)
		}
	}
	return nil
}

// makeWritable makes writable what an agent writes to and a container runtime
// has mounted read-only, control groups and kernel parameters: an agent can run
// in a container that has its capabilities but is not privileged. Where nothing
// is read-only, it does nothing.
func makeWritable() error {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.FSType != "cgroup" && m.FSType != "cgroup2" && m.Mountpoint != "/proc/sys", false
	})
	if err != nil {
		return fmt.Errorf("find read-only mounts: %w", err)
	}
	for _, m := range mounts {
		options := strings.Split(m.Options, ",")
		if !slices.Contains(options, "ro") {
			continue
		}
		if err := unix.Mount("", m.Mountpoint, "", unix.MS_REMOUNT|unix.MS_BIND|keptFlags(options), ""); err != nil {
			return fmt.Errorf("make %s writable: %w", m.Mountpoint, err)
		}
	}
	return nil
}

// setsMountsRecursively says whether the kernel, from 5.12 on, can make a mount
// read-only with all that is mounted below it.
func setsMountsRecursively() bool {
	return !errors.Is(unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{}), unix.ENOSYS)
}

// keptFlags are the flags that a remount would otherwise drop.
func keptFlags(options []string) uintptr {
	var flags uintptr
	for option, flag := range map[string]uintptr{
		"nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
		"noatime": unix.MS_NOATIME, "relatime": unix.MS_RELATIME,
	} {
		if slices.Contains(options, option) {
			flags |= flag
		}
	}
	return flags
}
