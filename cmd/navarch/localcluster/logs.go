package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"time"
)

const (
	// maxLogBytes is the size beyond which a process's log is put aside, oldLogs how
	// many such files of a process are kept, and logInterval how often one looks.
	maxLogBytes = 10 << 20
	oldLogs     = 2
	logInterval = time.Minute
)

// boundLogs keeps the logs of processes from growing for ever, until ctx ends. The
// processes write into the files themselves, so that no log is lost with the
// supervisor, and do not know of it.
func boundLogs(ctx context.Context, log *slog.Logger, l Layout, processes []string) {
	tick := time.NewTicker(logInterval)
	defer tick.Stop()
	for {
		for _, process := range processes {
			if err := rotateLog(l.Log(process), maxLogBytes); err != nil {
				log.WarnContext(ctx, "a log is not rotated", "process", process, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// rotateLog puts what is in a log aside if it is larger than so many bytes: as
// NAME.1, what that was as NAME.2, and so on. The file stays and is emptied, for
// its process, which appends, has it open. What is written between the last read
// and that is lost: a few lines at most.
func rotateLog(path string, maxBytes int64) error {
	from, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // a name of ours
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer func() { _ = from.Close() }()
	info, err := from.Stat()
	if err != nil {
		return fmt.Errorf("measure the log: %w", err)
	}
	if info.Size() <= maxBytes {
		return nil
	}
	for n := oldLogs - 1; n > 0; n-- {
		if err := os.Rename(oldLog(path, n), oldLog(path, n+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("put an older log aside: %w", err)
		}
	}
	if err := copyLog(from, oldLog(path, 1)); err != nil {
		return err
	}
	if err := from.Truncate(0); err != nil {
		return fmt.Errorf("empty the log: %w", err)
	}
	return nil
}

// copyLog copies a log into a new file. Half a copy, which a full disk leaves, is
// removed.
func copyLog(from io.Reader, path string) error {
	to, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) //nolint:gosec // a name of ours
	if err != nil {
		return fmt.Errorf("put the log aside: %w", err)
	}
	_, err = io.Copy(to, from)
	if err = errors.Join(err, to.Close()); err != nil {
		return errors.Join(fmt.Errorf("put the log aside: %w", err), os.Remove(path))
	}
	return nil
}

func oldLog(path string, n int) string { return path + "." + strconv.Itoa(n) }
