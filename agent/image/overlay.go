package image

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"navarch.dev/navarch/agent/userns"
)

// mountFrom mounts an overlay with options relative to a folder. The working
// directory is a thread's own after unshare; the thread ends with the goroutine.
func mountFrom(dir, target, options string) error {
	return onThread(unix.CLONE_FS, func() error { return mountAt(dir, target, options) })
}

func mountAt(dir, target, options string) error {
	if len(options) >= os.Getpagesize() {
		return errors.New("the image has too many layers")
	}
	if err := unix.Chdir(dir); err != nil {
		return os.NewSyscallError("chdir", err)
	}
	return wrap("mount overlay", unix.Mount("overlay", target, "overlay", 0, options))
}

// mountMapped mounts an overlay for a pod with users of its own, with options
// relative to the folder of short names. The layers are seen by way of a mount that
// translates their owners; what the container writes is its users' on the disk, too,
// because the kernel writes there for the node's root, which such a mount does not
// know.
//
// That mount is needed until the overlay is there. It is made in a mount namespace
// that ends with the thread, so that it is never left over.
func (s *Store) mountMapped(target, options string, users userns.Range) error {
	outside, err := os.Open("/proc/thread-self/ns/mnt")
	if err != nil {
		return err
	}
	defer func() { _ = outside.Close() }()
	return onThread(unix.CLONE_NEWNS, func() error {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		if err := users.Bind(s.path("layers"), s.path("layers")); err != nil {
			return err
		}
		if err := mountAt(s.path("l"), target, options); err != nil {
			return err
		}
		return moveOut(target, outside)
	})
}

// moveOut mounts what the thread's mount namespace has at a path to the same path
// of another one.
func moveOut(path string, outside *os.File) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open the mounted image: %w", err)
	}
	defer func() { _ = unix.Close(tree) }()
	if err := unix.Setns(int(outside.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("leave the mount namespace: %w", err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount the image: %w", err)
	}
	return nil
}

// onThread runs f on a thread that no longer shares something with the others, and
// that ends with f.
func onThread(unshared int, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := unix.Unshare(unshared); err != nil {
			done <- os.NewSyscallError("unshare", err)
			return
		}
		done <- f()
	}()
	return <-done
}
