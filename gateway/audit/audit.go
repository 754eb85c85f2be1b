// Package audit records the requests that a gateway serves in the audit log.
//
// The gateway has all that HTTP tells about a request; what the Store finds out
// (decisions, what policies and webhooks note) comes with its answers, see
// package audittrail.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"navarch.dev/navarch/gateway/attributes"
	"navarch.dev/navarch/gateway/caller"
	"navarch.dev/navarch/internal/audit"
	"navarch.dev/navarch/internal/audittrail"
	"navarch.dev/navarch/internal/identity"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

const (
	// headerID is what the client may call the request, and what the answer says
	// that the log calls it.
	headerID = "Audit-Id"
	maxID    = 64
)

// Recorder records requests.
type Recorder struct {
	log   *audit.Log
	users *users
	slog  *slog.Logger
}

// New returns what records requests in log. store carries the gateway's own
// calls.
func New(log *audit.Log, store storev1.StoreServiceClient, errors *slog.Logger) *Recorder {
	return &Recorder{log: log, users: newUsers(store), slog: errors}
}

// Handler records the requests that next serves.
func (l *Recorder) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		record := l.begin(r)
		if record == nil {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set(headerID, record.Event().AuditID)
		if !record.stranger {
			record.Emit(audit.RequestReceived)
		}
		r = r.WithContext(audittrail.NewContext(r.Context(), record.Take))
		record.keepBody(r)
		if record.Records(audit.RequestResponse) && !record.lasts {
			r.Header = r.Header.Clone()
			r.Header.Del("Accept-Encoding") // the answer is to be read here
		}
		watched := &responseWriter{ResponseWriter: w, record: record}
		defer func() {
			if p := recover(); p != nil {
				record.Panicked(fmt.Sprintf("the gateway panicked: %v", p))
				panic(p)
			}
			record.complete(r, watched)
		}()
		next.ServeHTTP(watched, r)
	})
}

// begin returns the record of a request, nil if nothing is recorded.
func (l *Recorder) begin(r *http.Request) *record {
	received := time.Now()
	user, known := l.identify(r)
	asked := attributes.Of(r)
	begun := l.log.Begin(r.Context(), user, asked)
	if begun == nil {
		return nil
	}
	begun.Change(func(e *audit.Event) {
		if id := r.Header.Get(headerID); id != "" { // what the client calls it
			e.AuditID = strings.ToValidUTF8(id[:min(len(id), maxID)], "?")
		}
		e.RequestURI, e.UserAgent, e.RequestReceivedTimestamp = r.URL.RequestURI(), audit.UserAgent(r.UserAgent()), metav1.NewMicroTime(received)
		for _, ip := range utilnet.SourceIPs(r) {
			e.SourceIPs = append(e.SourceIPs, ip.String())
		}
	})
	return &record{Record: begun, lasts: lasts(asked), stranger: !known, verb: asked.GetVerb(), resource: asked.GetResource() != nil}
}

// identify returns whose a request is; false if its credentials are good for
// nobody. Where it cannot be found out, rules about users do not match.
func (l *Recorder) identify(r *http.Request) (identity.Identity, bool) {
	who, err := caller.Of(r)
	if err != nil {
		return identity.Identity{}, false // so the answer says too
	}
	user, ok, err := l.users.of(r.Context(), who)
	if err != nil && !errors.Is(err, context.Canceled) {
		l.slog.ErrorContext(r.Context(), "the user of an audited request is not known", "error", err)
	}
	return user, ok || err != nil
}

// lasts says whether a request is for something that goes on.
func lasts(asked *storev1.AuthorizeRequest) bool {
	return asked.GetVerb() == "watch" || asked.GetVerb() == "proxy" ||
		slices.Contains([]string{"attach", "exec", "proxy", "log", "portforward"}, asked.GetSubresource())
}
