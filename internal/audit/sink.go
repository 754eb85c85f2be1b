package audit

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"gopkg.in/natefinch/lumberjack.v2"
)

// stdout as a path is the process's standard output.
const stdout = "-"

// sink takes the lines of the log. What it cannot write is logged and counted:
// nothing is lost silently.
type sink struct {
	log    *slog.Logger
	failed prometheus.Counter

	mu  sync.Mutex // guards the fields below
	out io.Writer
	// torn says that the last line is not complete.
	torn bool
}

// open returns where the log is written to. The file must be writable now: an
// operator who asks for a log is to hear at once that there will be none.
func (c Config) open() (io.Writer, func() error, error) {
	if c.LogPath == stdout {
		return os.Stdout, func() error { return nil }, nil
	}
	if err := os.MkdirAll(filepath.Dir(c.LogPath), 0o700); err != nil {
		return nil, nil, fmt.Errorf("make the audit log's folder: %w", err)
	}
	file, err := os.OpenFile(c.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open the audit log: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, nil, fmt.Errorf("open the audit log: %w", err)
	}
	rotated := &lumberjack.Logger{Filename: c.LogPath, MaxAge: c.MaxAge, MaxBackups: c.MaxBackup, MaxSize: c.MaxSize}
	return rotated, rotated.Close, nil
}

// write adds a line.
func (s *sink) write(ctx context.Context, line []byte) {
	if err := s.try(line); err != nil {
		s.fail(ctx, err)
	}
}

func (s *sink) try(line []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.torn {
		line = append([]byte{'\n'}, line...)
	}
	n, err := s.out.Write(line)
	if n > 0 {
		s.torn = n < len(line)
	}
	return err
}

// fail counts and logs an event that is not in the log.
func (s *sink) fail(ctx context.Context, err error) {
	s.failed.Inc()
	s.log.ErrorContext(ctx, "an audit event was not written", "error", err)
}
