//go:build linux

package proxy

import (
	"fmt"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// namespace is the network namespace that a proxy routes in.
type namespace struct {
	// handle is closed (-1) where it is the process's own.
	handle netns.NsHandle
	kernel *netlink.Handle
}

func openNamespace(path string) (*namespace, error) {
	n := &namespace{handle: netns.None()}
	var err error
	if path == "" {
		n.kernel, err = netlink.NewHandle()
	} else {
		if n.handle, err = netns.GetFromPath(path); err != nil {
			return nil, fmt.Errorf("open network namespace %s: %w", path, err)
		}
		n.kernel, err = netlink.NewHandleAt(n.handle)
	}
	if err != nil {
		return nil, fmt.Errorf("open netlink in network namespace %q: %w", path, err)
	}
	return n, nil
}

// fd is the descriptor that libraries take; 0 is the process's own namespace.
func (n *namespace) fd() int {
	if !n.handle.IsOpen() {
		return 0
	}
	return int(n.handle)
}

// do runs f in the namespace. Sockets that f opens stay there.
func (n *namespace) do(f func() error) error {
	if !n.handle.IsOpen() {
		return f()
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := netns.Set(n.handle); err != nil {
			result <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		result <- f()
	}()
	return <-result
}

func (n *namespace) close() {
	n.kernel.Close()
	if n.handle.IsOpen() {
		_ = n.handle.Close() // nothing was written
	}
}
