package audit

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"navarch.dev/navarch/internal/audit"
	"navarch.dev/navarch/internal/audittrail"
)

// recording returns what records requests by rules, and what returns its events.
func recording(t *testing.T, rules string) (*Recorder, func() []audit.Event) {
	t.Helper()
	policy, err := audit.ParsePolicy([]byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n" + rules))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	l := New(audit.NewOn(&out, policy, slog.New(slog.DiscardHandler)), nil, slog.New(slog.DiscardHandler))
	return l, func() []audit.Event {
		t.Helper()
		var events []audit.Event
		for line := range bytes.Lines(out.Bytes()) {
			var e audit.Event
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal(err)
			}
			events = append(events, e)
		}
		return events
	}
}

// TestPanic: a request that makes the gateway panic is recorded, and panics on.
func TestPanic(t *testing.T) {
	log, events := recording(t, "- level: Metadata\n")
	handler := log.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("on purpose") }))
	func() {
		defer func() {
			if p := recover(); p != "on purpose" {
				t.Errorf("it panics with %v", p)
			}
		}()
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/api/v1/pods", nil))
	}()
	got := events()
	if len(got) != 2 || got[0].Stage != audit.RequestReceived || got[1].Stage != audit.Panic || got[1].ResponseStatus.Code != 500 ||
		!strings.Contains(got[1].ResponseStatus.Message, "on purpose") || got[0].AuditID != got[1].AuditID {
		t.Errorf("the events are %+v", got)
	}
}

// TestTooLarge: what is too large for an event is left out, and the event says so.
func TestTooLarge(t *testing.T) {
	log, events := recording(t, "- {level: RequestResponse, omitStages: [RequestReceived]}\n")
	handler := log.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"kind":"ConfigMap"}`)
	}))
	body := `{"data":{"k":"` + strings.Repeat("x", audit.MaxObject) + `"}}`
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/api/v1/namespaces/default/configmaps", strings.NewReader(body)))
	got := events()
	if len(got) != 1 || got[0].RequestObject != nil || got[0].Annotations[audit.Truncated] != "true" || string(got[0].ResponseObject) != `{"kind":"ConfigMap"}` {
		t.Errorf("the events are %+v", got)
	}
}

// TestTrail: what is known first stays, and patches are for levels with objects.
func TestTrail(t *testing.T) {
	const patch = "patch.webhook.admission.k8s.io/round_0_index_0"
	for level, want := range map[string]string{"Metadata": "", "Request": "p"} {
		log, events := recording(t, "- {level: "+level+", omitStages: [RequestReceived]}\n")
		handler := log.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			record := w.(*responseWriter).record
			record.Take(audittrail.Trail{Annotations: map[string]string{"a/b": "first", patch: "p"}, Object: &audittrail.Object{Name: "x", UID: "1"}})
			record.Take(audittrail.Trail{Annotations: map[string]string{"a/b": "second"}, Object: &audittrail.Object{Name: "y"}})
			w.WriteHeader(http.StatusCreated)
		}))
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/apis/apps/v1/namespaces/default/deployments", nil))
		got := events()
		if len(got) != 1 || got[0].Annotations["a/b"] != "first" || got[0].Annotations[patch] != want || got[0].ObjectRef.Name != "x" || got[0].ObjectRef.UID != "1" {
			t.Errorf("at the level %s, the events are %+v", level, got)
		}
	}
}
