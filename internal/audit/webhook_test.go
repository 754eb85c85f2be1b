package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/telemetry"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

func webhookConfig(file string, change func(*WebhookConfig)) WebhookConfig {
	c := DefaultWebhookConfig()
	c.File = file
	if change != nil {
		change(&c)
	}
	return c
}

// server takes batches, or does what answer says.
type server struct {
	mu     sync.Mutex
	start  time.Time
	got    []string // "SECONDS: EVENTS", from the server's start on
	answer func(ctx context.Context, attempt int) error
	asked  int
}

func newServer(answer func(ctx context.Context, attempt int) error) *server {
	return &server{start: time.Now(), answer: answer}
}

func (s *server) send(ctx context.Context, body []byte) error {
	var list struct {
		Kind, APIVersion string
		Items            []int
	}
	if err := json.Unmarshal(body, &list); err != nil || list.Kind != "EventList" || list.APIVersion != "audit.k8s.io/v1" {
		return fmt.Errorf("%s is no list of events: %w", body, err)
	}
	s.mu.Lock()
	s.asked++
	attempt := s.asked
	s.mu.Unlock()
	if s.answer != nil {
		if err := s.answer(ctx, attempt); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, fmt.Sprintf("%v: %v", time.Since(s.start).Truncate(time.Second), list.Items))
	return nil
}

func (s *server) taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.got...)
}

// attempts is how often it was sent something.
func (s *server) attempts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// small sends batches of three events, of which six wait at most.
func small(s *server) *webhook {
	config := webhookConfig("w", func(c *WebhookConfig) { c.BufferSize, c.MaxBatchSize, c.Throttle = 6, 3, false })
	return newWebhook(config, s.send, slog.New(slog.DiscardHandler))
}

func (w *webhook) lost(reason string) int {
	var m dto.Metric
	_ = w.dropped.WithLabelValues(reason).Write(&m) // a counter's never fails
	return int(m.GetCounter().GetValue())
}

// isEmpty says whether nothing waits, and counts so.
func (w *webhook) isEmpty() bool {
	var m dto.Metric
	_ = w.waiting.Write(&m)
	return m.GetGauge().GetValue() == 0 && w.room == maxQueued && len(w.queue) == 0
}

// wide returns an event of so many bytes that is a number.
func wide(number, size int) []byte {
	return append(bytes.Repeat([]byte(" "), size-1), byte('0'+number))
}

// number puts events that are the numbers from the first to the last, as fast
// as they can be taken.
func number(t *testing.T, w *webhook, first, last int) {
	for i := first; i <= last; i++ {
		w.put(t.Context(), fmt.Append(nil, i))
		synctest.Wait()
	}
}

func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(nil)
		w := small(s)
		number(t, w, 1, 4)
		time.Sleep(20 * time.Second)
		number(t, w, 5, 5)
		time.Sleep(time.Minute)
		number(t, w, 6, 6)
		w.close()
		w.put(t.Context(), []byte("7"))
		if diff := cmp.Diff([]string{"0s: [1 2 3]", "30s: [4 5]", "1m20s: [6]"}, s.taken()); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
		if w.lost(queueFull) != 1 || w.lost(notReceived) != 0 || !w.isEmpty() {
			t.Errorf("of the one event after the end %d count as dropped, %d as not received; there is room for %d bytes", w.lost(queueFull), w.lost(notReceived), w.room)
		}
	})
}

// TestLargeEvents has batches end before they are too large.
func TestLargeEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(nil)
		w := small(s)
		for i := range 3 {
			w.put(t.Context(), wide(i, maxBatch/2))
			synctest.Wait()
		}
		w.close()
		if diff := cmp.Diff([]string{"0s: [0 1]", "0s: [2]"}, s.taken()); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
	})
}

// TestTriedAgain has a server that takes a batch at the third time only.
func TestTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(func(_ context.Context, attempt int) error {
			if attempt < 3 {
				return errors.New("not now")
			}
			return nil
		})
		w := small(s)
		number(t, w, 1, 3)
		time.Sleep(24 * time.Second) // 10 s, and then 15
		if got := s.taken(); len(got) > 0 {
			t.Errorf("%v were sent before their time", got)
		}
		time.Sleep(10 * time.Second)
		if s.attempts() != 3 || len(s.taken()) != 1 {
			t.Errorf("asked %d times, %v", s.attempts(), s.taken())
		}
		w.close()
	})
}

// TestDeadServer: what a server does not take is given up at last, and what
// comes when too much waits is dropped. Nobody is held up.
func TestDeadServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(func(context.Context, int) error { return errors.New("no") })
		w := small(s)
		const fit = 3*(maxSending+1) + 6 // on their way, in the batch that is next, and in the queue
		start := time.Now()
		number(t, w, 1, fit+10)
		if w.lost(queueFull) != 10 || time.Since(start) > 0 {
			t.Errorf("%d of 10 too many were dropped, after %v", w.lost(queueFull), time.Since(start))
		}
		time.Sleep(5 * time.Minute)
		if w.lost(notReceived) != fit || s.attempts() != attempts*fit/3 {
			t.Errorf("%d of %d were given up after %d requests", w.lost(notReceived), fit, s.attempts())
		}
		w.close()
		if !w.isEmpty() {
			t.Errorf("something still counts as waiting; there is room for %d bytes", w.room)
		}
	})
}

// TestHugeEvents: what waits is bounded in bytes too.
func TestHugeEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() })
		w := small(s)
		w.room = 100
		w.put(t.Context(), wide(1, 99))
		w.put(t.Context(), wide(2, 2))
		w.put(t.Context(), wide(3, 1))
		if w.lost(queueFull) != 1 {
			t.Errorf("%d events were dropped, want the one that does not fit", w.lost(queueFull))
		}
		w.close()
	})
}

// TestEnd: a server that never answers does not hold up the end for long.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() })
		w := small(s)
		number(t, w, 1, 4)
		start := time.Now()
		w.close()
		if took := time.Since(start); took > closingTime || w.lost(notReceived) != 4 {
			t.Errorf("the end took %v; %d of 4 events count as not received", took, w.lost(notReceived))
		}
	})
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(nil)
		config := webhookConfig("w", func(c *WebhookConfig) { c.MaxBatchSize, c.QPS, c.Burst = 1, 0.5, 2 })
		w := newWebhook(config, s.send, slog.New(slog.DiscardHandler))
		number(t, w, 1, 4)
		time.Sleep(10 * time.Second)
		w.close()
		if diff := cmp.Diff([]string{"0s: [1]", "0s: [2]", "2s: [3]", "4s: [4]"}, s.taken()); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
	})
}

// kubeconfigOf writes the kubeconfig of a server.
func kubeconfigOf(t *testing.T, server string, authority []byte) string {
	t.Helper()
	c := clientcmdapi.NewConfig()
	c.Clusters["audit"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: authority}
	c.AuthInfos["gateway"] = &clientcmdapi.AuthInfo{Token: "secret"}
	c.Contexts["it"] = &clientcmdapi.Context{Cluster: "audit", AuthInfo: "gateway"}
	c.CurrentContext = "it"
	file := filepath.Join(t.TempDir(), "webhook.kubeconfig")
	if err := clientcmd.WriteToFile(*c, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestLogAndWebhook has one request recorded in a file and by a server.
func TestLogAndWebhook(t *testing.T) {
	got := make(chan string, 1)
	s := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- fmt.Sprint(r.Method, " ", r.URL, " ", r.Header.Get("Authorization"), " ", r.Header.Get("Content-Type"), " ", string(body))
	}))
	defer s.Close()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	dir := t.TempDir()
	policy, file := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.log")
	if err := os.WriteFile(policy, []byte(head+"rules:\n- {level: Metadata, omitStages: [RequestReceived]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", file} {
		config := Config{PolicyFile: policy, LogPath: path, Webhook: webhookConfig(kubeconfigOf(t, s.URL+"/events", authority), nil)}
		if err := config.Check(); err != nil {
			t.Fatal(err)
		}
		log, err := New(config, telemetry.Discard("gateway"))
		if err != nil {
			t.Fatal(err)
		}
		record := log.Begin(t.Context(), identity.Identity{Name: "jane"}, &storev1.AuthorizeRequest{Verb: "get", Path: "/teapot"})
		record.Change(func(e *Event) { e.ResponseStatus = &metav1.Status{Code: http.StatusTeapot} })
		record.Emit(ResponseComplete)
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		request := <-got
		list, ok := strings.CutPrefix(request, "POST /events Bearer secret application/json ")
		var events struct{ Items []json.RawMessage }
		if err := json.Unmarshal([]byte(list), &events); err != nil || !ok || len(events.Items) != 1 || !strings.Contains(string(events.Items[0]), `"code":418`) {
			t.Fatalf("the server got %s: %v", request, err)
		}
		if path == "" {
			continue
		}
		if line, err := os.ReadFile(path); err != nil || string(line) != string(events.Items[0])+"\n" {
			t.Errorf("the log has %s, the server got %s: %v", line, events.Items[0], err)
		}
	}
}

func TestReceiverRefuses(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the disk is full", http.StatusInsufficientStorage)
	}))
	defer s.Close()
	send, err := receiver(kubeconfigOf(t, s.URL, nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := send(t.Context(), []byte("{}")); err == nil || !strings.Contains(err.Error(), "507 Insufficient Storage: the disk is full") {
		t.Errorf("the error is %v", err)
	}
}

func TestBadReceivers(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{
		"no file": filepath.Join(t.TempDir(), "none"), "an empty file": empty, "no URL": kubeconfigOf(t, "ftp://192.0.2.1", nil),
		"no certificate": kubeconfigOf(t, "https://192.0.2.1", []byte("none")),
	} {
		c := webhookConfig(file, nil)
		if err := c.check(); err == nil || !strings.HasPrefix(err.Error(), "audit-webhook-config-file: ") || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}

// TestFlagsForAnotherProcess: what one process is told another can be told.
func TestFlagsForAnotherProcess(t *testing.T) {
	parse := func(args []string) Config {
		var c Config
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		c.AddFlags(fs)
		if err := fs.Parse(args); err != nil {
			t.Fatal(err)
		}
		return c
	}
	if c := parse(nil); c.Enabled() || c.Args() != nil || c.Webhook != DefaultWebhookConfig() {
		t.Errorf("without flags it is %+v", c)
	}
	want := parse([]string{
		"--audit-policy-file", "/p", "--audit-webhook-config-file", "/w", "--audit-webhook-batch-throttle-enable=false",
		"--audit-webhook-batch-max-wait", "1s", "--audit-webhook-batch-throttle-qps", "0.1",
	})
	if diff := cmp.Diff(want, parse(want.Args())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
