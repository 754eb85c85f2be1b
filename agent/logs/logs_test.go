package logs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"navarch.dev/navarch/agent/logs"
)

// The log of the tests: one rotated file and the live one.
//
//	second  1     2     3     4           5       6
//	stdout  one         three four (in 2 parts)   six
//	stderr        two                     five
const (
	rotated = "2026-01-02T15:04:01.000000000Z stdout F one\n" +
		"2026-01-02T15:04:02.000000000Z stderr F two\n" +
		"2026-01-02T15:04:03.000000000Z stdout F three\n"
	live = "2026-01-02T15:04:04.000000000Z stdout P fo\n" +
		"2026-01-02T15:04:04.500000000Z stdout F ur\n" +
		"2026-01-02T15:04:05.000000000Z stderr F five\n" +
		"2026-01-02T15:04:06.000000000Z stdout F six\n"
)

func writeLog(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "0.log")
	for name, text := range map[string]string{path: live, path + ".20260102-150403.000000000": rotated} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestRead(t *testing.T) {
	at := func(second int) time.Time { return time.Date(2026, 1, 2, 15, 4, second, 0, time.UTC) }
	tests := []struct {
		name string
		opts logs.Options
		want string
	}{
		{"all", logs.Options{}, "one\ntwo\nthree\nfour\nfive\nsix\n"},
		{"stderr", logs.Options{Stream: logs.StreamStderr}, "two\nfive\n"},
		{"since", logs.Options{Since: at(4)}, "four\nfive\nsix\n"},
		{"tail none", logs.Options{TailLines: new(int64(0))}, ""},
		{"tail of the live file", logs.Options{TailLines: new(int64(2))}, "five\nsix\n"},
		{"tail counts a long line once", logs.Options{TailLines: new(int64(3))}, "four\nfive\nsix\n"},
		{"tail into the rotated file", logs.Options{TailLines: new(int64(4))}, "three\nfour\nfive\nsix\n"},
		{"tail of more than there is", logs.Options{TailLines: new(int64(99))}, "one\ntwo\nthree\nfour\nfive\nsix\n"},
		{"tail of one stream", logs.Options{TailLines: new(int64(2)), Stream: logs.StreamStdout}, "four\nsix\n"},
		{"tail since", logs.Options{TailLines: new(int64(5)), Since: at(5)}, "five\nsix\n"},
		{"limit", logs.Options{LimitBytes: new(int64(6))}, "one\ntw"},
		{"limit of nothing", logs.Options{LimitBytes: new(int64(0))}, ""},
		{"timestamps", logs.Options{Timestamps: true, Since: at(4)}, "2026-01-02T15:04:04.000000000Z four\n" +
			"2026-01-02T15:04:05.000000000Z five\n2026-01-02T15:04:06.000000000Z six\n"},
	}
	path := writeLog(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := logs.Read(t.Context(), path, tt.opts, &out); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadMissing(t *testing.T) {
	var out bytes.Buffer
	if err := logs.Read(t.Context(), filepath.Join(t.TempDir(), "none/0.log"), logs.Options{}, &out); err != nil || out.Len() > 0 {
		t.Errorf("read %q, %v", out.String(), err)
	}
}

// TestFollow rotates the log while it is followed, from before it exists.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pod/0.log")
	finished := make(chan struct{})
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- logs.Read(t.Context(), path, logs.Options{Follow: true, Finished: finished}, writer)
		_ = writer.Close()
	}()
	var want strings.Builder
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	for file := range 5 {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range 200 {
			text := fmt.Sprintf("line %d of file %d\n", line, file)
			want.WriteString(text)
			if _, err := fmt.Fprintf(f, "2026-01-02T15:04:04.%09dZ stdout F %s", line, text); err != nil {
				t.Fatal(err)
			}
		}
		_ = f.Close()
		if file < 4 {
			if err := os.Rename(path, fmt.Sprintf("%s.%d", path, file)); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(finished)
	got, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.String(), string(got)); diff != "" {
		t.Error(diff)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestFollowEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
	err := logs.Read(ctx, writeLog(t), logs.Options{Follow: true}, out)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func FuzzParse(f *testing.F) {
	for line := range strings.Lines(rotated + live) {
		f.Add([]byte(line))
	}
	f.Add([]byte("2026-01-02T15:04:04Z stdout P:x:y text"))
	f.Add([]byte(" stdout F "))
	f.Fuzz(func(t *testing.T, raw []byte) {
		line, err := logs.Parse(raw)
		if err != nil {
			return
		}
		if line.Stream != logs.StreamStdout && line.Stream != logs.StreamStderr {
			t.Errorf("stream %q", line.Stream)
		}
		if !bytes.Contains(raw, line.Text) {
			t.Errorf("text %q is not of line %q", line.Text, raw)
		}
	})
}

// FuzzRead reads any file whole and by its tail: the tail is a suffix.
func FuzzRead(f *testing.F) {
	f.Add([]byte(rotated), int64(2))
	f.Add([]byte(live), int64(1))
	f.Add([]byte("garbage\n\n"), int64(3))
	f.Fuzz(func(t *testing.T, data []byte, tail int64) {
		path := filepath.Join(t.TempDir(), "0.log")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var whole, end bytes.Buffer
		if err := logs.Read(t.Context(), path, logs.Options{Stream: logs.StreamStdout}, &whole); err != nil {
			t.Fatal(err)
		}
		opts := logs.Options{Stream: logs.StreamStdout, TailLines: &tail}
		if err := logs.Read(t.Context(), path, opts, &end); err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(whole.Bytes(), end.Bytes()) {
			t.Errorf("tail %q is not the end of %q", end.String(), whole.String())
		}
	})
}
