package agent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

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
