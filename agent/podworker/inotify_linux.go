package podworker

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// quiet is how long the folder must be quiet before it is read: an editor
// writes a file in several steps.
const quiet = 200 * time.Millisecond

// watchStatic reads the folder of static pods whenever something in it
// changes, until ctx ends.
func (m *Manager) watchStatic(ctx context.Context) {
	changes := make(chan struct{}, 1)
	stop, err := notifyChanges(m.cfg.StaticPodDir, changes)
	if err != nil {
		m.deps.Log.WarnContext(ctx, "changes of the static pods will not be seen", "error", err)
		return
	}
	defer stop()
	m.syncStatic(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(quiet):
		}
		select {
		case <-changes:
		default:
		}
		m.syncStatic(ctx)
	}
}

// notifyChanges sends to changes whenever something in dir changes.
func notifyChanges(dir string, changes chan<- struct{}) (stop func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of static pods: %w", err)
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("begin to watch a folder: %w", err)
	}
	const mask = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE
	if _, err := unix.InotifyAddWatch(fd, dir, mask); err != nil {
		_ = unix.Close(fd) // the error that matters is err
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), "inotify") // non-blocking: reads end with Close
	go func() {
		buf := make([]byte, 4096)
		for {
			if _, err := f.Read(buf); err != nil {
				return
			}
			select {
			case changes <- struct{}{}:
			default:
			}
		}
	}()
	return func() { _ = f.Close() }, nil // nothing was written to it
}
