package logs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// watcher tells when a log has changed. It watches the log's folder: so it sees
// writes, rotations, and the first file alike.
type watcher struct {
	inotify *os.File
	changed chan struct{}
}

func newWatcher(path string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	w := &watcher{inotify: os.NewFile(uintptr(fd), "inotify"), changed: make(chan struct{}, 1)}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		w.close()
		return nil, fmt.Errorf("watch: %w", err)
	}
	const events = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE_SELF
	if _, err := unix.InotifyAddWatch(fd, dir, events); err != nil {
		w.close()
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	go w.run()
	return w, nil
}

// run turns the kernel's events into one pending change.
func (w *watcher) run() {
	buffer := make([]byte, 4096)
	for {
		if _, err := w.inotify.Read(buffer); err != nil {
			return
		}
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
}

// wait returns when the log may have changed or finished is closed.
func (w *watcher) wait(ctx context.Context, finished <-chan struct{}) error {
	select {
	case <-w.changed:
		return nil
	case <-finished:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *watcher) close() { _ = w.inotify.Close() }
