package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

func (n *Network) netnsPath(uid string) string { return filepath.Join(n.cfg.StateDir, "netns", uid) }

// makeNetNS makes a network namespace with its loopback up and binds it to a
// path, where it stays without a process in it.
func makeNetNS(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("make the mount point of a network namespace: %w", err)
	}
	f.Close()
	done := make(chan error, 1)
	go func() {
		// The thread is in the new namespace for good: without an unlock it
		// ends together with the goroutine.
		runtime.LockOSThread()
		done <- unshareTo(path)
	}()
	if err := <-done; err != nil {
		return errors.Join(err, removeNetNS(path))
	}
	return nil
}

func unshareTo(path string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	if err := bindNetNS(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), path); err != nil {
		return err
	}
	return loopbackUp()
}

func bindNetNS(source, path string) error {
	if err := unix.Mount(source, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind a network namespace to %s: %w", path, err)
	}
	return nil
}

// adoptNetNS binds a process's network namespace to a path, with its loopback up.
func adoptNetNS(path string, pid int) error {
	if err := removeNetNS(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("make the mount point of a network namespace: %w", err)
	}
	f.Close()
	err = bindNetNS(fmt.Sprintf("/proc/%d/ns/net", pid), path)
	if err == nil {
		err = InNetNS(path, loopbackUp)
	}
	if err != nil {
		return errors.Join(err, removeNetNS(path))
	}
	return nil
}

// loopbackUp is for the network namespace of the thread.
func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find the loopback link: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set the loopback link up: %w", err)
	}
	return nil
}

// isNetNS says whether a namespace is bound to path.
func isNetNS(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// removeNetNS unbinds a namespace; one that is not there is fine.
func removeNetNS(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH)
		if err == nil {
			continue // it may have been bound more than once
		}
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unbind the network namespace %s: %w", path, err)
		}
		break
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the network namespace's mount point: %w", err)
	}
	return nil
}

// InNetNS runs f on a thread that is in the namespace at path.
func InNetNS(path string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- enter(path, f)
	}()
	return <-done
}

// enter joins the namespace; its thread must not be used for anything else
// afterwards.
func enter(path string, f func() error) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open the network namespace %s: %w", path, err)
	}
	defer ns.Close()
	if err := netns.Set(ns); err != nil {
		return fmt.Errorf("enter the network namespace %s: %w", path, err)
	}
	return f()
}
