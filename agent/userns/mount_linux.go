package userns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Open returns a user namespace that has the range. No process is in it.
func (r Range) Open() (*os.File, error) {
	type result struct {
		namespace *os.File
		err       error
	}
	opened := make(chan result)
	go func() {
		// Only the thread that started a process may trace it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		namespace, err := r.open()
		opened <- result{namespace, err}
	}()
	got := <-opened
	if got.err != nil {
		return nil, fmt.Errorf("make a user namespace: %w", got.err)
	}
	return got.namespace, nil
}

// open starts a process in a new namespace. It is traced, so that it stops before
// its first instruction, and killed when the namespace is open.
func (r Range) open() (namespace *os.File, err error) {
	process, err := os.StartProcess("/proc/self/exe", []string{"userns"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: r.Mappings(), GidMappings: r.Mappings(),
		Ptrace: true, Pdeathsig: unix.SIGKILL,
	}})
	if errors.Is(err, unix.ENOSPC) {
		return nil, fmt.Errorf("the machine allows no further ones (sysctl user.max_user_namespaces): %w", err)
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		kill := process.Kill()
		_, wait := process.Wait()
		err = errors.Join(err, kill, wait)
	}()
	return os.Open("/proc/" + strconv.Itoa(process.Pid) + "/ns/user")
}

// Bind mounts what is at source to target, without what is mounted below it: the
// files of ID n there are those of the pod's ID n here. A filesystem that cannot do
// it is ErrNoMapping.
func (r Range) Bind(source, target string) error {
	tree, err := r.mapped(source)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(tree) }()
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount %s to %s: %w", source, target, err)
	}
	return nil
}

// Probe says why a filesystem cannot be mounted for pods with users of their own;
// nil if it can.
func Probe(dir string) error {
	tree, err := Default(Unit).Share(0, 2, Unit).mapped(dir)
	if err != nil {
		return err
	}
	return unix.Close(tree)
}

// Passable says which folder above a path, or there, keeps the users of pods from it;
// nil if none does. To its root filesystem a container goes as its own root, who is
// nobody on the node.
func Passable(path string) error {
	for dir := path; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("look for a way to %s: %w", path, err)
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("other users may not pass through the folder %s (mode %#o) to %s", dir, info.Mode().Perm(), path)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// mapped returns a mount that is nowhere yet.
func (r Range) mapped(source string) (int, error) {
	namespace, err := r.Open()
	if err != nil {
		return -1, err
	}
	defer func() { _ = namespace.Close() }()
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open %s to be mounted: %w", source, err)
	}
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_IDMAP, Propagation: unix.MS_PRIVATE, Userns_fd: uint64(namespace.Fd()),
	})
	if err == nil {
		return tree, nil
	}
	_ = unix.Close(tree)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		err = ErrNoMapping
	}
	return -1, fmt.Errorf("map the user IDs of %s: %w", source, err)
}
