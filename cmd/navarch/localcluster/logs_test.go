package localcluster

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// filesIn returns what is in a folder's files.
func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(b)
	}
	return files
}

func TestRotateLog(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "up.log")
	if err := rotateLog(path, 3); err != nil {
		t.Fatalf("a log that is not there: %v", err)
	}
	process, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer process.Close()
	for _, tt := range []struct {
		write string
		want  map[string]string
	}{
		{"abc", map[string]string{"up.log": "abc"}},
		{"d", map[string]string{"up.log": "", "up.log.1": "abcd"}},
		{"efgh", map[string]string{"up.log": "", "up.log.1": "efgh", "up.log.2": "abcd"}},
		{"i", map[string]string{"up.log": "i", "up.log.1": "efgh", "up.log.2": "abcd"}},
		{"jkl", map[string]string{"up.log": "", "up.log.1": "ijkl", "up.log.2": "efgh"}},
	} {
		if _, err := process.WriteString(tt.write); err != nil {
			t.Fatal(err)
		}
		if err := rotateLog(path, 3); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, filesIn(t, dir)); diff != "" {
			t.Errorf("after %q (-want +got):\n%s", tt.write, diff)
		}
	}
}

// TestLogThatCannotBeCopied has a folder be where the copy goes.
func TestLogThatCannotBeCopied(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "up.log")
	if err := os.WriteFile(path, []byte("abcd"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(oldLog(path, 2), "in-the-way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(oldLog(path, 1), []byte("older"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rotateLog(path, 3); err == nil || !strings.Contains(err.Error(), "put an older log aside") {
		t.Errorf("error = %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "abcd" {
		t.Errorf("the log is %q, %v", b, err)
	}
}

func TestBoundLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Layout{Dir: t.TempDir()}
		if err := os.MkdirAll(l.path("logs"), 0o700); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), logInterval+1)
		defer cancel()
		go boundLogs(ctx, slog.New(slog.DiscardHandler), l, []string{"up", "agent-n1"})
		synctest.Wait()
		if err := os.WriteFile(l.Log("agent-n1"), make([]byte, maxLogBytes+1), 0o600); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		synctest.Wait()
		for path, want := range map[string]int64{l.Log("agent-n1"): 0, oldLog(l.Log("agent-n1"), 1): maxLogBytes + 1} {
			if info, err := os.Stat(path); err != nil || info.Size() != want {
				t.Errorf("%s: %v, %v", path, info, err)
			}
		}
	})
}
