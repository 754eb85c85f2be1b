package audit

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/audit"
)

// record is the record of a REST request.
type record struct {
	*audit.Record

	verb string
	// resource says that the request is about one.
	resource bool
	// lasts says that the request is one such as a watch, whose answer is recorded
	// when it begins too.
	lasts bool
	// stranger says that the request's credentials are good for nobody.
	stranger bool
	request  *capture // nil: its body is not kept
}

// begin notes that the answer's head is sent.
func (r *record) begin(code int) {
	r.Change(func(e *audit.Event) { e.ResponseStatus = &metav1.Status{Code: int32(code)} })
	if r.lasts {
		r.Emit(audit.ResponseStarted)
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
		return audit.MaxObject
	case failed, r.verb == "delete":
		return maxStatus
	}
	return 0
}

// recordsAnswer says whether the object in the answer is recorded.
func (r *record) recordsAnswer() bool { return r.Records(audit.RequestResponse) && r.resource }

// keepBody keeps a request's body as it is read.
func (r *record) keepBody(req *http.Request) {
	if r.lasts || !r.resource || !r.Records(audit.Request) || req.Body == nil || req.Body == http.NoBody {
		return
	}
	r.request = &capture{limit: audit.MaxObject}
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
	var asked, answered json.RawMessage
	if r.request != nil {
		asked = r.object(req.Header.Get("Content-Type"), r.request)
	}
	if w.body != nil && (r.recordsAnswer() || !w.body.more) {
		answered = r.object(w.Header().Get("Content-Type"), w.body)
	}
	r.Change(func(e *audit.Event) {
		if e.ResponseStatus == nil {
			e.ResponseStatus = &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusOK, Message: "Connection closed early"}
		}
		e.RequestObject = asked
		r.answered(e, answered)
	})
	switch {
	case r.stranger:
		r.Emit(audit.ResponseStarted)
		return
	case r.lasts && !w.begun:
		r.Emit(audit.ResponseStarted)
	}
	r.Emit(audit.ResponseComplete)
}

// object returns the object of a body that was kept, nil if it is none.
func (r *record) object(contentType string, body *capture) json.RawMessage {
	if body.more {
		r.Change(func(e *audit.Event) { e.Annotate(audit.Truncated, "true") })
		return nil
	}
	if len(bytes.TrimSpace(body.Bytes())) == 0 {
		return nil
	}
	text, err := inJSON(contentType, body.Bytes())
	if err != nil {
		return nil // it is no object: so the answer says too
	}
	return r.Object(text)
}

// answered notes an answer, and its status if it is one.
func (r *record) answered(e *audit.Event, obj json.RawMessage) {
	var status metav1.Status
	if bytes.Contains(obj, []byte(`"kind":"Status"`)) && json.Unmarshal(obj, &status) == nil && status.Kind == "Status" {
		code := e.ResponseStatus.Code
		e.ResponseStatus = &metav1.Status{Status: status.Status, Message: status.Message, Reason: status.Reason, Details: status.Details, Code: code}
	}
	if r.recordsAnswer() {
		e.ResponseObject = obj
	}
}
