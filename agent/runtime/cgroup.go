package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// cgroups is the machine's cgroup hierarchy or, with version 1, hierarchies. Below
// it, the same relative path names a cgroup in all of them.
type cgroups struct {
	// unified is the mount point of version 2, if it has the controllers.
	unified string
	// controllers are version 1's mount points by controller.
	controllers map[string]string
	// swap: swap can be limited.
	swap bool
	// hugePages are the sizes of huge pages that can be limited: "2MB".
	hugePages []string
}

// podControllers are those in which the pod itself has limits.
var podControllers = []string{"cpu", "cpuacct", "memory", "pids"}

const cgroupRoot = "/sys/fs/cgroup"

// findCgroups looks at what is mounted.
func findCgroups() (*cgroups, error) {
	var root unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &root); err != nil {
		return nil, fmt.Errorf("look at %s: %w", cgroupRoot, err)
	}
	if root.Type == unix.CGROUP2_SUPER_MAGIC {
		return &cgroups{unified: cgroupRoot, hugePages: hugePages(filepath.Join(cgroupRoot, "cgroup.controllers"))}, nil
	}
	// A version 2 hierarchy may be there as well, without controllers. runc makes
	// cgroups in it, too, so that it has to be known for their removal.
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, fmt.Errorf("find cgroup mounts: %w", err)
	}
	c := &cgroups{controllers: map[string]string{}}
	for _, mount := range mounts {
		if mount.FSType == "cgroup2" {
			c.controllers["unified"] = mount.Mountpoint
			continue
		}
		for option := range strings.SplitSeq(mount.VFSOptions, ",") {
			if _, ok := c.controllers[option]; !ok && isController(option) {
				c.controllers[option] = mount.Mountpoint
			}
		}
	}
	for _, needed := range podControllers {
		if c.controllers[needed] == "" {
			return nil, fmt.Errorf("the cgroup controller %q is not mounted", needed)
		}
	}
	_, err = os.Stat(filepath.Join(c.controllers["memory"], "memory.memsw.usage_in_bytes"))
	c.swap = err == nil
	return c, nil
}

// isController tells a controller from the other options of a cgroup mount.
func isController(option string) bool {
	switch option {
	case "rw", "ro", "xattr", "nsdelegate", "noprefix", "clone_children", "all", "none":
		return false
	}
	return !strings.HasPrefix(option, "release_agent=")
}

// memoryDir is the folder of a cgroup that tells memory events and processes.
func (c *cgroups) memoryDir(path string) string {
	if c.unified != "" {
		return filepath.Join(c.unified, path)
	}
	return filepath.Join(c.controllers["memory"], path)
}

// create makes a cgroup with its limits.
func (c *cgroups) create(path string, r Resources) error {
	if c.unified != "" {
		if err := c.createUnified(path); err != nil {
			return err
		}
	} else {
		for _, controller := range podControllers {
			if err := os.MkdirAll(filepath.Join(c.controllers[controller], path), 0o755); err != nil {
				return fmt.Errorf("make cgroup: %w", err)
			}
		}
	}
	return c.limit(path, r)
}

// createUnified makes a cgroup of version 2. A controller is only there if all
// the cgroups above hand it down.
func (c *cgroups) createUnified(path string) error {
	dir := c.unified
	for _, name := range strings.Split(filepath.Clean(path), "/") {
		if err := handDown(dir); err != nil {
			return err
		}
		dir = filepath.Join(dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make cgroup: %w", err)
		}
	}
	return nil
}

// handDown lets the cgroups in a folder have controllers: those that limits of pods
// need, and what else there is.
func handDown(dir string) error {
	file := filepath.Join(dir, "cgroup.subtree_control")
	// Memory comes first: the others may be handed down beside processes, to threads.
	for _, controller := range []string{"memory", "cpu", "pids"} {
		err := os.WriteFile(file, []byte("+"+controller), 0)
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("%s has processes of its own, so that cgroups in it cannot have limits: does the agent see a part of the machine's cgroups only? %w", dir, err)
		}
		if err != nil {
			return fmt.Errorf("hand the cgroup controller %q down: %w", controller, err)
		}
	}
	for _, controller := range []string{"cpuset", "io", "hugetlb"} {
		_ = os.WriteFile(file, []byte("+"+controller), 0)
	}
	return nil
}

// lookForSwap finds out, by a cgroup that is there, whether swap can be limited.
// The root of version 2 does not say.
func (c *cgroups) lookForSwap(path string) {
	if c.unified != "" {
		_, err := os.Stat(filepath.Join(c.unified, path, "memory.swap.max"))
		c.swap = err == nil
	}
}

// shimsCgroup is the cgroup of all shims and pause processes of the node. They are
// not in their pod's, where its memory limit could kill them.
const shimsCgroup = "shims"

// procsFiles are the files by which a process enters a cgroup.
func (c *cgroups) procsFiles(path string) []string {
	if c.unified != "" {
		return []string{filepath.Join(c.unified, path, "cgroup.procs")}
	}
	var files []string
	for _, controller := range []string{"memory"} {
		files = append(files, filepath.Join(c.controllers[controller], path, "cgroup.procs"))
	}
	return files
}

// setting is one cgroup file and what to write.
type setting struct {
	controller, file, value string
}

// limit sets the limits that r has.
func (c *cgroups) limit(path string, r Resources) error {
	settings := r.settingsV1()
	if c.unified != "" {
		settings = r.settingsV2()
	}
	for _, s := range settings {
		file := filepath.Join(c.unified, path, s.file)
		if c.unified == "" {
			file = filepath.Join(c.controllers[s.controller], path, s.file)
		}
		if err := os.WriteFile(file, []byte(s.value), 0); err != nil {
			return fmt.Errorf("set cgroup limit: %w", err)
		}
	}
	return nil
}

func (r Resources) settingsV1() []setting {
	var s []setting
	if r.CPUShares > 0 {
		s = append(s, setting{"cpu", "cpu.shares", strconv.FormatUint(r.CPUShares, 10)})
	}
	if r.CPUQuota > 0 {
		s = append(s, setting{"cpu", "cpu.cfs_period_us", strconv.FormatUint(r.Period(), 10)},
			setting{"cpu", "cpu.cfs_quota_us", strconv.FormatInt(r.CPUQuota, 10)})
	}
	if r.MemoryLimit > 0 {
		s = append(s, setting{"memory", "memory.limit_in_bytes", strconv.FormatInt(r.MemoryLimit, 10)})
	}
	if r.PidsLimit > 0 {
		s = append(s, setting{"pids", "pids.max", strconv.FormatInt(r.PidsLimit, 10)})
	}
	return s
}

func (r Resources) settingsV2() []setting {
	var s []setting
	if r.CPUShares > 0 {
		s = append(s, setting{file: "cpu.weight", value: strconv.FormatUint(weight(r.CPUShares), 10)})
	}
	if r.CPUQuota > 0 {
		s = append(s, setting{file: "cpu.max", value: fmt.Sprintf("%d %d", r.CPUQuota, r.Period())})
	}
	if r.MemoryLimit > 0 {
		s = append(s, setting{file: "memory.max", value: strconv.FormatInt(r.MemoryLimit, 10)})
	}
	if r.PidsLimit > 0 {
		s = append(s, setting{file: "pids.max", value: strconv.FormatInt(r.PidsLimit, 10)})
	}
	return s
}

// Period returns the period of CPUQuota in microseconds.
func (r Resources) Period() uint64 {
	if r.CPUPeriod > 0 {
		return r.CPUPeriod
	}
	return defaultCPUPeriod
}

// weight maps the shares of version 1 (2 … 262144) onto version 2 (1 … 10000).
func weight(shares uint64) uint64 {
	shares = min(max(shares, 2), 262144)
	return 1 + (shares-2)*9999/262142
}

// remove removes a cgroup and those below it, in all hierarchies. No process may
// be left in it.
func (c *cgroups) remove(path string) error {
	var errs []error
	for _, dir := range c.folders(path) {
		errs = append(errs, removeTree(dir))
	}
	return errors.Join(errs...)
}

// folders are a cgroup's, one in each hierarchy.
func (c *cgroups) folders(path string) []string {
	if c.unified != "" {
		return []string{filepath.Join(c.unified, path)}
	}
	var dirs []string
	for _, mountpoint := range c.controllers {
		dirs = append(dirs, filepath.Join(mountpoint, path))
	}
	return dirs
}

// removeTree removes the folders of a cgroup, deepest first. Its files go by
// themselves.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return removeDir(dir)
}

// removeDir removes one cgroup. A process that was killed leaves its cgroup a
// moment after it was reaped.
func removeDir(dir string) error {
	var err error
	for delay := time.Millisecond; delay < 200*time.Millisecond; delay *= 2 {
		err = unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(delay)
	}
	return fmt.Errorf("remove cgroup %s: %w", dir, err)
}

// RemoveCgroups removes the cgroup at parent, as in Config.CgroupParent, and all
// below it, for when a node is taken away for good. A parent that is not there is
// no error.
func RemoveCgroups(parent string) error {
	c, err := findCgroups()
	if err != nil {
		return err
	}
	return c.remove(parent)
}

// RemoveEmptyCgroups removes the cgroups at paths, in their order, that nothing
// uses any more, and leaves the others.
func RemoveEmptyCgroups(paths ...string) error {
	c, err := findCgroups()
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range paths {
		for _, dir := range c.folders(path) {
			err := unix.Rmdir(dir)
			if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
				errs = append(errs, fmt.Errorf("remove cgroup %s: %w", dir, err))
			}
		}
	}
	return errors.Join(errs...)
}
