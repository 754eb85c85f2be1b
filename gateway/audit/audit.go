// Package audit writes the audit log: who asked the API for what, when, from
// where, and how it was answered. A policy says what is recorded of which
// requests. Policies, events and their stages are those of kube-apiserver
// (audit.k8s.io/v1), and so the tools that read them apply.
//
// The gateway has all that HTTP tells about a request; what the Store finds out
// (decisions, what policies and webhooks note) comes with its answers, see
// package audittrail. Requests of which nothing is recorded cost the match of
// the policy's rules, and without a policy there is none.
//
// Events are written before the request goes on. One that cannot be written is
// logged and counted, and the request goes on. To a webhook they are sent later,
// in batches.
package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"navarch.dev/navarch/gateway/attributes"
	"navarch.dev/navarch/gateway/caller"
	"navarch.dev/navarch/internal/audittrail"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/telemetry"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

const (
	// headerID is what the client may call the request, and what the answer says
	// that the log calls it.
	headerID = "Audit-Id"
	maxID    = 64
	// maxUserAgent is the most of a client's name for itself that is recorded.
	maxUserAgent = 1024
)

// Log writes events.
type Log struct {
	policy *Policy
	users  *users
	// sink is the log's file, webhook a server: nil is none.
	sink    *sink
	webhook *webhook
	close   func() error
	log     *slog.Logger
	events  *prometheus.CounterVec
	failed  prometheus.Counter
}

// New returns a log as config says, which must be enabled and valid. store
// carries the gateway's own calls. Errors are those of the policy and of the
// file.
func New(config Config, tel telemetry.Set, store storev1.StoreServiceClient) (*Log, error) {
	policy, err := LoadPolicy(config.PolicyFile)
	if err != nil {
		return nil, fmt.Errorf("audit-policy-file: %w", err)
	}
	l := &Log{
		policy: policy, users: newUsers(store), close: func() error { return nil }, log: tel.Log,
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "navarch_audit_events_total", Help: "Audit events made, by level and stage, written or not.",
		}, []string{"level", "stage"}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{Name: "navarch_audit_errors_total", Help: "Audit events that could not be written."}),
	}
	metrics := []prometheus.Collector{l.events, l.failed}
	if config.LogPath != "" {
		out, closeOut, err := config.open()
		if err != nil {
			return nil, fmt.Errorf("audit-log-path %q: %w", config.LogPath, err)
		}
		l.sink, l.close = &sink{log: tel.Log, out: out, failed: l.failed}, closeOut
	}
	if config.Webhook.File != "" {
		send, err := config.Webhook.receiver()
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
		l.webhook = newWebhook(config.Webhook, send, tel.Log)
		metrics = append(metrics, l.webhook.dropped, l.webhook.waiting)
	}
	for _, c := range metrics {
		if err := tel.Metrics.Register(c); err != nil {
			return nil, errors.Join(fmt.Errorf("register the audit log's metrics: %w", err), l.Close())
		}
	}
	return l, nil
}

// Close closes the log's file, and sends what the webhook has not got yet for a
// few seconds.
func (l *Log) Close() error {
	if l.webhook != nil {
		l.webhook.close()
	}
	return l.close()
}

// Handler records the requests that next serves.
func (l *Log) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		record := l.begin(r)
		if record == nil {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set(headerID, record.event.AuditID)
		if !record.stranger {
			record.emit(RequestReceived)
		}
		r = r.WithContext(audittrail.NewContext(r.Context(), record.take))
		record.keepBody(r)
		if record.verdict.records(RequestResponse) && !record.lasts {
			r.Header = r.Header.Clone()
			r.Header.Del("Accept-Encoding") // the answer is to be read here
		}
		watched := &responseWriter{ResponseWriter: w, record: record}
		defer func() {
			if p := recover(); p != nil {
				record.panicked(fmt.Sprintf("the gateway panicked: %v", p))
				panic(p)
			}
			record.complete(r, watched)
		}()
		next.ServeHTTP(watched, r)
	})
}

// begin returns the record of a request, nil if nothing is recorded.
func (l *Log) begin(r *http.Request) *record {
	received := time.Now()
	user, known := l.identify(r)
	asked := attributes.Of(r)
	v := l.policy.judge(user, asked)
	if v.level == None {
		return nil
	}
	rec := &record{log: l, ctx: r.Context(), verdict: v, lasts: lasts(asked), stranger: !known}
	rec.event = Event{
		TypeMeta: metav1.TypeMeta{APIVersion: apiVersion, Kind: "Event"},
		Level:    v.level, AuditID: auditID(r), RequestURI: r.URL.RequestURI(), Verb: asked.GetVerb(), User: audittrail.UserInfo(user),
		UserAgent: userAgent(r), RequestReceivedTimestamp: metav1.NewMicroTime(received),
	}
	for _, ip := range utilnet.SourceIPs(r) {
		rec.event.SourceIPs = append(rec.event.SourceIPs, ip.String())
	}
	if resource := asked.GetResource(); resource != nil {
		rec.event.ObjectRef = &ObjectReference{
			Resource: resource.GetResource(), APIGroup: resource.GetGroup(), APIVersion: resource.GetVersion(),
			Namespace: asked.GetNamespace(), Name: asked.GetName(), Subresource: asked.GetSubresource(),
		}
	}
	return rec
}

// identify returns whose a request is; false if its credentials are good for
// nobody. Where it cannot be found out, rules about users do not match.
func (l *Log) identify(r *http.Request) (identity.Identity, bool) {
	who, err := caller.Of(r)
	if err != nil {
		return identity.Identity{}, false // so the answer says too
	}
	user, ok, err := l.users.of(r.Context(), who)
	if err != nil && !errors.Is(err, context.Canceled) {
		l.log.ErrorContext(r.Context(), "the user of an audited request is not known", "error", err)
	}
	return user, ok || err != nil
}

// lasts says whether a request is for something that goes on.
func lasts(asked *storev1.AuthorizeRequest) bool {
	return asked.GetVerb() == "watch" || asked.GetVerb() == "proxy" ||
		slices.Contains([]string{"attach", "exec", "proxy", "log", "portforward"}, asked.GetSubresource())
}

// auditID returns what the client calls the request, or a new name.
func auditID(r *http.Request) string {
	if id := r.Header.Get(headerID); id != "" {
		return strings.ToValidUTF8(id[:min(len(id), maxID)], "?")
	}
	return uuid.NewString()
}

func userAgent(r *http.Request) string {
	agent := r.UserAgent()
	if len(agent) > maxUserAgent {
		return agent[:maxUserAgent] + "...TRUNCATED"
	}
	return agent
}

// write adds an event to the log, and has it sent.
func (l *Log) write(ctx context.Context, event *Event) {
	l.events.WithLabelValues(string(event.Level), string(event.Stage)).Inc()
	text, err := json.Marshal(event)
	if err != nil {
		l.failed.Inc()
		l.log.ErrorContext(ctx, "an audit event could not be encoded", "error", err)
		return
	}
	if l.webhook != nil {
		l.webhook.put(ctx, text)
	}
	if l.sink != nil {
		l.sink.write(ctx, append(text, '\n'))
	}
}
