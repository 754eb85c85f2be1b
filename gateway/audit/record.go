package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/audittrail"
)

// truncated is the annotation of events that lack an object which was too large.
const truncated = "audit.k8s.io/truncated"

// patches are the annotations that have a part of an object, which only those
// levels record that have objects.
const patches = "patch.webhook.admission.k8s.io/"

// record is the event of a request as it becomes known.
type record struct {
	log     *Log
	verdict verdict
	// lasts says that the request is one such as a watch, whose answer is recorded
	// when it begins too.
	lasts bool
	// stranger says that the request's credentials are good for nobody.
	stranger bool
	ctx      context.Context //nolint:containedctx // that of the request, for what is logged
	request  *capture        // nil: its body is not kept

	mu    sync.Mutex // guards event, which parts of a trail come to from anywhere
	event Event
}

// take adds what the Store found out. What is known already stays.
func (r *record) take(t audittrail.Trail) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, value := range t.Annotations {
		if r.verdict.records(Request) || !strings.HasPrefix(key, patches) {
			r.annotate(key, value)
		}
	}
	if t.ImpersonatedUser != nil && r.event.ImpersonatedUser == nil {
		r.event.ImpersonatedUser = t.ImpersonatedUser
	}
	if ref := r.event.ObjectRef; ref != nil && t.Object != nil {
		fill(&ref.Namespace, t.Object.Namespace)
		fill(&ref.Name, t.Object.Name)
		fill(&ref.UID, t.Object.UID)
		fill(&ref.ResourceVersion, t.Object.ResourceVersion)
	}
}

func fill(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

// annotate must be called with mu held.
func (r *record) annotate(key, value string) {
	if _, ok := r.event.Annotations[key]; ok {
		return
	}
	if r.event.Annotations == nil {
		r.event.Annotations = make(map[string]string)
	}
	r.event.Annotations[key] = value
}

// begin notes that the answer's head is sent.
func (r *record) begin(code int) {
	r.mu.Lock()
	r.event.ResponseStatus = &metav1.Status{Code: int32(code)}
	r.mu.Unlock()
	if r.lasts {
		r.emit(ResponseStarted)
	}
}

// keepsAnswer returns how much of the answer's body is wanted: for what it holds,
// for why the request failed, or for what a deletion says of its success.
func (r *record) keepsAnswer(code int) int {
	failed := code >= http.StatusBadRequest
	switch {
	case r.lasts && !failed:
		return 0
	case r.recordsAnswer():
		return maxBody
	case failed, r.event.Verb == "delete":
		return maxStatus
	}
	return 0
}

// recordsAnswer says whether the object in the answer is recorded.
func (r *record) recordsAnswer() bool {
	return r.verdict.records(RequestResponse) && r.event.ObjectRef != nil
}

// keepBody keeps a request's body as it is read.
func (r *record) keepBody(req *http.Request) {
	if r.lasts || r.event.ObjectRef == nil || !r.verdict.records(Request) || req.Body == nil || req.Body == http.NoBody {
		return
	}
	r.request = &capture{limit: maxBody}
	req.Body = &keptBody{ReadCloser: req.Body, kept: r.request}
}

// keptBody is a body of which a capture keeps what is read.
type keptBody struct {
	io.ReadCloser
	kept *capture
}

// Read implements io.Reader.
func (b *keptBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.kept.take(p[:n])
	return n, err
}

// complete notes what was asked and answered, and ends the record.
func (r *record) complete(req *http.Request, w *responseWriter) {
	r.mu.Lock()
	if r.event.ResponseStatus == nil {
		r.event.ResponseStatus = &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusOK, Message: "Connection closed early"}
	}
	if r.request != nil {
		r.event.RequestObject = r.object(req.Header.Get("Content-Type"), r.request)
	}
	if w.body != nil && (r.recordsAnswer() || !w.body.more) {
		r.answered(r.object(w.Header().Get("Content-Type"), w.body))
	}
	begun := w.begun
	r.mu.Unlock()
	switch {
	case r.stranger:
		r.emit(ResponseStarted)
		return
	case r.lasts && !begun:
		r.emit(ResponseStarted)
	}
	r.emit(ResponseComplete)
}

// object returns the object of a body that was kept. mu must be held.
func (r *record) object(contentType string, body *capture) json.RawMessage {
	if body.more {
		r.annotate(truncated, "true")
		return nil
	}
	obj, err := document(contentType, body.Bytes(), r.verdict.omitManagedFields)
	if err != nil {
		return nil // it is no object: so the answer says too
	}
	return obj
}

// answered notes an answer, and its status if it is one. mu must be held.
func (r *record) answered(obj json.RawMessage) {
	var status metav1.Status
	if bytes.Contains(obj, []byte(`"kind":"Status"`)) && json.Unmarshal(obj, &status) == nil && status.Kind == "Status" {
		code := r.event.ResponseStatus.Code
		r.event.ResponseStatus = &metav1.Status{Status: status.Status, Message: status.Message, Reason: status.Reason, Details: status.Details, Code: code}
	}
	if r.recordsAnswer() {
		r.event.ResponseObject = obj
	}
}

// panicked ends the record of a request that panicked.
func (r *record) panicked(message string) {
	r.mu.Lock()
	r.event.ResponseStatus = &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError, Message: message,
	}
	r.mu.Unlock()
	r.emit(Panic)
}

// emit writes the event as it is, unless the policy omits the stage.
func (r *record) emit(stage Stage) {
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
