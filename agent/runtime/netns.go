package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// NewNetNS makes a network namespace and pins it to path by a bind mount, so that
// it lives without a process. Its loopback link is down.
func NewNetNS(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return fmt.Errorf("make network namespace: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("make network namespace: %w", err)
	}
	_ = f.Close()
	pinned := make(chan error)
	go func() {
		// Never unlocked, so that the thread ends with the goroutine instead of
		// running others in the wrong namespace.
		runtime.LockOSThread()
		pinned <- pinNewNetNS(path)
	}()
	if err := <-pinned; err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("make network namespace: %w", err)
	}
	return nil
}

func pinNewNetNS(path string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("/proc/thread-self/ns/net", path, "none", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("pin to %s: %w", path, err)
	}
	return nil
}

// DeleteNetNS removes what NewNetNS made. The namespace itself ends with its last
// process. One that is gone is no error.
func DeleteNetNS(path string) error {
	if err := unmount(path); err != nil {
		return fmt.Errorf("delete network namespace: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete network namespace: %w", err)
	}
	return nil
}

// unmount detaches what is mounted at path, if anything is.
func unmount(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}
