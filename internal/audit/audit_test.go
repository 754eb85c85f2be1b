package audit

import (
	"bytes"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// full is a disk that takes some bytes at a time.
type full struct {
	bytes.Buffer
	room int
}

func (f *full) Write(b []byte) (int, error) {
	if len(b) > f.room {
		n, _ := f.Buffer.Write(b[:f.room])
		f.room = 0
		return n, errors.New("no space left on device")
	}
	f.room -= len(b)
	return f.Buffer.Write(b)
}

// TestFullDisk: events that do not fit are counted and logged, and what comes
// after a torn line is a line of its own.
func TestFullDisk(t *testing.T) {
	var logged bytes.Buffer
	disk := &full{room: 10}
	s := &sink{log: slog.New(slog.NewTextHandler(&logged, nil)), failed: prometheus.NewCounter(prometheus.CounterOpts{Name: "failed"}), out: disk}
	for _, line := range []string{"first\n", "second\n", "third\n"} {
		s.write(t.Context(), []byte(line))
	}
	disk.room = 100
	s.write(t.Context(), []byte("fourth\n"))
	s.write(t.Context(), []byte("fifth\n"))
	if got, want := disk.String(), "first\nseco\nfourth\nfifth\n"; got != want {
		t.Errorf("the log holds %q, want %q", got, want)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.failed)
	counted, err := registry.Gather()
	if err != nil || counted[0].GetMetric()[0].GetCounter().GetValue() != 2 {
		t.Errorf("the events that count as not written are %v: %v", counted, err)
	}
	if got := strings.Count(logged.String(), "an audit event was not written"); got != 2 {
		t.Errorf("%d errors are logged: %s", got, logged.String())
	}
}

func TestUnwritableLog(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := (Config{LogPath: dir}).open(); err == nil {
		t.Error("a folder can be written to")
	}
	out, closeOut, err := Config{LogPath: filepath.Join(dir, "logs", "audit.log")}.open()
	if err != nil || out == nil {
		t.Fatalf("a log in a new folder: %v", err)
	}
	if err := closeOut(); err != nil {
		t.Error(err)
	}
}

func TestSettings(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		config     Config
	}{
		{"none", "", Config{}},
		{"both files", "", Config{PolicyFile: "p", LogPath: "-"}},
		{"a webhook", "", Config{PolicyFile: "p", Webhook: webhookConfig("w", nil)}},
		{"no log", "one is of no use without the other", Config{PolicyFile: "p"}},
		{"a webhook without a policy", "one is of no use without the other", Config{Webhook: webhookConfig("w", nil)}},
		{"no batches", "audit-webhook-batch-max-size must be positive, but is 0", Config{PolicyFile: "p", Webhook: webhookConfig("w", func(c *WebhookConfig) { c.MaxBatchSize = 0 })}},
		{"no wait", "audit-webhook-initial-backoff must be positive, but is 0s", Config{PolicyFile: "p", Webhook: webhookConfig("w", func(c *WebhookConfig) { c.InitialBackoff = 0 })}},
		{"no rate", "audit-webhook-batch-throttle-qps must be positive, but is -1", Config{PolicyFile: "p", Webhook: webhookConfig("w", func(c *WebhookConfig) { c.QPS = -1 })}},
		{"batches that never fill", "must not be greater than audit-webhook-batch-buffer-size", Config{PolicyFile: "p", Webhook: webhookConfig("w", func(c *WebhookConfig) { c.BufferSize = 10 })}},
		{"no policy", "one is of no use without the other", Config{LogPath: "-"}},
		{"not throttled", "", Config{PolicyFile: "p", Webhook: webhookConfig("w", func(c *WebhookConfig) { c.Throttle, c.QPS = false, 0 })}},
		{"a negative age", "audit-log-maxage must not be negative, but is -1", Config{MaxAge: -1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			switch err := tc.config.Validate(); {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("the error is %v, want %q", err, tc.want)
			}
		})
	}
}

func TestLogBesideAnother(t *testing.T) {
	for path, want := range map[string]string{"/logs/audit.log": "/logs/audit-store.log", "/logs/audit": "/logs/audit-store", "-": "-", "": ""} {
		config := Config{LogPath: path}
		if got := config.Beside("store").LogPath; got != want || config.LogPath != path {
			t.Errorf("beside %q is %q, want %q", path, got, want)
		}
	}
}

func TestObjects(t *testing.T) {
	const managed = `{"metadata":{"name":"x","managedFields":[{}]}}`
	for _, tc := range []struct {
		name, text string
		omit       bool
		want       string
	}{
		{"white space", "{ \"a\": 1.50,\n \"b\": [] }", false, `{"a":1.50,"b":[]}`},
		{"a patch", `[ {"op":"remove","path":"/a"} ]`, true, `[{"op":"remove","path":"/a"}]`},
		{"managed", managed, false, managed},
		{"not managed", managed, true, `{"metadata":{"name":"x"}}`},
		{"numbers", `{"a":12345678901234567890}`, true, `{"a":12345678901234567890}`},
		{"a list", `{"items":[` + managed + `]}`, true, `{"items":[{"metadata":{"name":"x"}}]}`},
		{"a table", `{"rows":[{"object":` + managed + `}]}`, true, `{"rows":[{"object":{"metadata":{"name":"x"}}}]}`},
		{"nothing", " ", false, ""},
		{"half an object", `{"a":`, false, "error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tidied([]byte(tc.text), tc.omit)
			switch {
			case (err != nil) != (tc.want == "error"):
				t.Errorf("the error is %v", err)
			case err == nil && string(got) != tc.want:
				t.Errorf("it is %s, want %s", got, tc.want)
			}
		})
	}
}
