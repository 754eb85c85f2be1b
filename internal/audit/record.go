package audit

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/audittrail"
	"navarch.dev/navarch/internal/identity"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

const (
	// Truncated is the annotation of events that lack an object which was too large.
	Truncated = "audit.k8s.io/truncated"
	// MaxObject is the most bytes of an object that an event has.
	MaxObject = 8 << 20
	// maxUserAgent is the most of a client's name for itself that is recorded.
	maxUserAgent = 1024
	// patches are the annotations that have a part of an object, which only those
	// levels record that have objects.
	patches = "patch.webhook.admission.k8s.io/"
)

// Record is the event of a request as it becomes known. Its methods are safe for
// concurrent use.
type Record struct {
	log     *Log
	verdict verdict
	ctx     context.Context //nolint:containedctx // that of the request, for what is logged

	mu    sync.Mutex // guards event, which parts of a trail come to from anywhere
	event Event
}

// Begin returns the record of a user's request, nil if nothing is recorded of it.
func (l *Log) Begin(ctx context.Context, user identity.Identity, asked *storev1.AuthorizeRequest) *Record {
	v := l.policy.judge(user, asked)
	if v.level == None {
		return nil
	}
	r := &Record{log: l, ctx: ctx, verdict: v}
	r.event = Event{
		TypeMeta: metav1.TypeMeta{APIVersion: apiVersion, Kind: "Event"},
		Level:    v.level, AuditID: uuid.NewString(), Verb: asked.GetVerb(), User: audittrail.UserInfo(user),
		RequestReceivedTimestamp: metav1.NewMicroTime(time.Now()),
	}
	if resource := asked.GetResource(); resource != nil {
		r.event.ObjectRef = &ObjectReference{
			Resource: resource.GetResource(), APIGroup: resource.GetGroup(), APIVersion: resource.GetVersion(),
			Namespace: asked.GetNamespace(), Name: asked.GetName(), Subresource: asked.GetSubresource(),
		}
	}
	return r
}

// Records says whether the record's level has what another one adds.
func (r *Record) Records(level Level) bool { return r.verdict.records(level) }

// Change changes the event.
func (r *Record) Change(change func(*Event)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.event)
}

// Event returns the event as it is now. Its object reference, annotations and
// objects are shared.
func (r *Record) Event() Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.event
}

// Take adds what the Store found out. What is known already stays.
func (r *Record) Take(t audittrail.Trail) {
	r.Change(func(e *Event) {
		for key, value := range t.Annotations {
			if r.Records(Request) || !strings.HasPrefix(key, patches) {
				e.Annotate(key, value)
			}
		}
		if t.ImpersonatedUser != nil && e.ImpersonatedUser == nil {
			e.ImpersonatedUser = t.ImpersonatedUser
		}
		if ref := e.ObjectRef; ref != nil && t.Object != nil {
			fill(&ref.Namespace, t.Object.Namespace)
			fill(&ref.Name, t.Object.Name)
			fill(&ref.UID, t.Object.UID)
			fill(&ref.ResourceVersion, t.Object.ResourceVersion)
		}
	})
}

func fill(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

// Object returns an object in JSON as the policy wants it, nil if it is none, and
// annotates the event if it is too large.
func (r *Record) Object(text []byte) []byte {
	if len(text) > MaxObject {
		r.Change(func(e *Event) { e.Annotate(Truncated, "true") })
		return nil
	}
	object, err := tidied(text, r.verdict.omitManagedFields)
	if err != nil {
		return nil // it is no object: so the answer says too
	}
	return object
}

// Panicked ends the record of a request that panicked.
func (r *Record) Panicked(message string) {
	r.Change(func(e *Event) {
		e.ResponseStatus = &metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError, Message: message,
		}
	})
	r.Emit(Panic)
}

// Emit writes the event as it is, unless the policy omits the stage.
func (r *Record) Emit(stage Stage) {
	if r.verdict.omitted(stage) {
		return
	}
	r.mu.Lock()
	event := r.event
	event.Annotations = maps.Clone(r.event.Annotations)
	if r.event.ObjectRef != nil {
		ref := *r.event.ObjectRef
		event.ObjectRef = &ref
	}
	r.mu.Unlock()
	event.Stage, event.StageTimestamp = stage, metav1.NewMicroTime(time.Now())
	r.log.write(r.ctx, &event)
}

// UserAgent returns a client's name for itself as it is recorded.
func UserAgent(name string) string {
	if len(name) > maxUserAgent {
		return name[:maxUserAgent] + "...TRUNCATED"
	}
	return name
}
