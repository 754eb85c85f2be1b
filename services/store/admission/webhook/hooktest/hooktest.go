// Package hooktest runs webhooks for tests.
package hooktest

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	reviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Answer decides about a request. The server fills in the response's uid.
type Answer func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse

// Server is a webhook on this machine. It ends with the test.
type Server struct {
	*httptest.Server
	// CABundle is the authority of the server's certificate, in PEM.
	CABundle []byte

	mu   sync.Mutex
	seen []*reviewv1.AdmissionRequest
}

// New starts a server that answers with answer.
func New(tb testing.TB, answer Answer) *Server {
	s := &Server{}
	s.start(tb, Handler(func(r *reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		s.note(r)
		return answer(r)
	}))
	return s
}

// Raw starts a server that answers every question with a body of the given
// status, as it is.
func Raw(tb testing.TB, code int, body string) *Server {
	s := &Server{}
	s.start(tb, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if code == http.StatusOK {
			w.Header().Set("Content-Type", "application/json")
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}))
	return s
}

func (s *Server) start(tb testing.TB, handler http.Handler) {
	s.Server = httptest.NewTLSServer(handler)
	tb.Cleanup(s.Close)
	s.CABundle = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func (s *Server) note(r *reviewv1.AdmissionRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, r)
}

// Seen returns the requests so far, in the order in which they came.
func (s *Server) Seen() []*reviewv1.AdmissionRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*reviewv1.AdmissionRequest(nil), s.seen...)
}

// Client returns how to call a path of the server.
func (s *Server) Client(path string) admissionv1.WebhookClientConfig {
	return admissionv1.WebhookClientConfig{URL: ptr.To(s.URL + path), CABundle: s.CABundle}
}

// Handler returns what serves a webhook.
func Handler(answer Answer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review reviewv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(w, "not an AdmissionReview", http.StatusBadRequest)
			return
		}
		response := answer(review.Request)
		response.UID = review.Request.UID
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(&reviewv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: response})
	})
}

// Allow lets a request pass.
func Allow(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
	return &reviewv1.AdmissionResponse{Allowed: true}
}

// Deny refuses requests with a message.
func Deny(message string) Answer {
	return func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		return &reviewv1.AdmissionResponse{Result: &metav1.Status{Message: message}}
	}
}

// Patch lets requests pass with a JSON patch.
func Patch(patch string) Answer {
	return func(*reviewv1.AdmissionRequest) *reviewv1.AdmissionResponse {
		return &reviewv1.AdmissionResponse{Allowed: true, Patch: []byte(patch), PatchType: ptr.To(reviewv1.PatchTypeJSONPatch)}
	}
}
