// Package rest serves the verbs of the Kubernetes REST API on resources: it
// turns each request into one call of the Store and the answer's bytes into
// the response. It holds no state and never decodes a listed object.
package rest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/gateway/attributes"
	"navarch.dev/navarch/gateway/caller"
	"navarch.dev/navarch/gateway/envelope"
	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/gateway/routes"
	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/rpc"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// Connector serves the subresources that a node's agent answers: log, exec,
// attach and portforward.
type Connector interface {
	Connect(w http.ResponseWriter, r *http.Request, t routes.Target)
}

// Streams calls the Store's methods that answer with a stream, and use with each
// message until it ends or use fails.
type Streams interface {
	List(ctx context.Context, req *storev1.ListRequest, use func(*storev1.ListResponse) error) error
	Watch(ctx context.Context, req *storev1.WatchRequest, use func(*storev1.WatchResponse) error) error
}

// StreamsOf returns the Streams of a connection.
func StreamsOf(conn grpc.ClientConnInterface) Streams { return streams{conn} }

type streams struct{ conn grpc.ClientConnInterface }

func (s streams) List(ctx context.Context, req *storev1.ListRequest, use func(*storev1.ListResponse) error) error {
	return rpc.Receive(ctx, s.conn, storev1.StoreService_List_FullMethodName, req, use)
}

func (s streams) Watch(ctx context.Context, req *storev1.WatchRequest, use func(*storev1.WatchResponse) error) error {
	return rpc.Receive(ctx, s.conn, storev1.StoreService_Watch_FullMethodName, req, use)
}

// Options are what a Handler works with.
type Options struct {
	Store   storev1.StoreServiceClient
	Streams Streams
	Types   *envelope.Types
	Nodes   Connector
	Tracer  trace.Tracer
	Log     *slog.Logger
	// MaxBody is the most bytes of a request's body.
	MaxBody int64
	// Timeout ends requests that are not meant to last.
	Timeout time.Duration
	// Stopping is closed when the server shuts down: watches end then.
	Stopping <-chan struct{}
}

// Handler serves resource requests.
type Handler struct {
	Options
	subresources map[string]routes.Subresource
}

// New returns a Handler.
func New(o Options) *Handler {
	return &Handler{Options: o, subresources: routes.Subresources()}
}

// verbOf returns the Kubernetes verb of a request that is no watch.
func verbOf(method string, t routes.Target) string {
	switch method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		if t.Name == "" {
			return "deletecollection"
		}
		return "delete"
	}
	return "get"
}

// ServeResource answers a request for an existing resource.
func (h *Handler) ServeResource(w http.ResponseWriter, r *http.Request, t routes.Target) {
	ctx, err := caller.Enter(w, r)
	if err != nil {
		reply.Error(w, r, err)
		return
	}
	if warning := t.Kind.Deprecation(); warning != "" {
		reply.Warnings(w, []string{warning})
	}
	if h.subresources[t.Subresource].Stream {
		h.Nodes.Connect(w, r.WithContext(ctx), t)
		return
	}
	if r.Method == http.MethodGet {
		h.read(w, r.WithContext(ctx), t)
		return
	}
	limit, err := Deadline(r.URL.Query(), h.Timeout)
	if err != nil {
		reply.Error(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// A context does not end the reading of a body. Servers that cannot set a
	// deadline are those of tests, which have the whole body.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(limit))
	h.write(w, r.WithContext(ctx), t)
}

// read serves get, list and watch. They make no span of their own: what a
// caller's trace says is passed on.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, t routes.Target) {
	format, ok := negotiate.Select(r.Header, offer(t.Kind))
	if !ok {
		reply.Error(w, r, notAcceptable(r, t))
		return
	}
	q := r.URL.Query()
	watch := t.Watch || t.Subresource == "" && attributes.Flag(q, "watch")
	serve := h.readNow
	if watch {
		serve = h.watch
	}
	if err := serve(w, r, t, format); err != nil {
		reply.Error(w, r, err)
	}
}

// offer is what objects of a kind can be answered in: those of custom kinds have
// no Protobuf message, but their metadata has. What is asked, as an access review,
// is nothing to be tabulated.
func offer(kind *kinds.Kind) negotiate.Offer {
	switch {
	case kind.CreateOnly:
		return negotiate.Plain
	case kind.Custom == nil:
		return negotiate.Objects
	}
	return func(f negotiate.Format) bool {
		return negotiate.Objects(f) && (f.Media != negotiate.Protobuf || f.IsMetadata())
	}
}

// readNow serves get and list, for which a client may set a limit of time.
func (h *Handler) readNow(w http.ResponseWriter, r *http.Request, t routes.Target, f negotiate.Format) error {
	limit, err := Deadline(r.URL.Query(), h.Timeout)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	r = r.WithContext(ctx)
	read := h.get
	if t.Name == "" {
		read = h.list
	}
	if unfit := fits(f, t, r.URL.Query()); unfit != nil {
		// That is told last: of what can be read.
		if err := read(discard{make(http.Header)}, r, t, negotiate.Format{Media: negotiate.JSON}); err != nil {
			return err
		}
		return unfit
	}
	return read(w, r, t, f)
}

// write serves every changing verb in a span, the root of the trace of what
// the change causes.
func (h *Handler) write(w http.ResponseWriter, r *http.Request, t routes.Target) {
	verb := verbOf(r.Method, t)
	name := "gateway." + verb + " " + t.Kind.Resource
	if t.Subresource != "" {
		name += "/" + t.Subresource
	}
	ctx, span := h.Tracer.Start(r.Context(), name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", r.Method),
		attribute.String("url.path", r.URL.Path),
		attribute.String("k8s.namespace.name", t.Namespace),
		attribute.String("navarch.resource", t.Kind.GroupResource().String()),
		attribute.String("navarch.name", t.Name),
		attribute.String("user_agent.original", r.UserAgent()),
	))
	defer span.End()
	r = r.WithContext(ctx)
	format, ok := negotiate.Select(r.Header, offer(t.Kind))
	if !ok {
		reply.Error(w, r, notAcceptable(r, t))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, h.MaxBody)
	if err := h.change(w, r, t, verb, format); err != nil {
		s := apistatus.Of(err)
		span.SetAttributes(attribute.Int("http.response.status_code", int(s.Code)))
		if s.Code >= http.StatusInternalServerError {
			h.Log.ErrorContext(ctx, "request failed", "verb", verb, "path", r.URL.Path, "error", err)
		}
		span.SetStatus(otelcodes.Error, s.Message)
		reply.Error(w, r, err)
	}
}

func (h *Handler) change(w http.ResponseWriter, r *http.Request, t routes.Target, verb string, f negotiate.Format) error {
	switch verb {
	case "create":
		return h.create(w, r, t, f)
	case "update":
		return h.update(w, r, t, f)
	case "patch":
		return h.patch(w, r, t, f)
	case "delete":
		return h.delete(w, r, t, f)
	case "deletecollection":
		return h.deleteCollection(w, r, t, f)
	}
	return routes.NotAllowed()
}

// ServeError answers a request that names nothing that is served.
func (h *Handler) ServeError(w http.ResponseWriter, r *http.Request, err error) {
	if who, cerr := caller.Of(r); cerr != nil {
		err = cerr
	} else if who.Anonymous() {
		err = Anonymous(r)
	}
	reply.Error(w, r, err)
}

// Anonymous is the error of an anonymous request for what needs a user.
func Anonymous(r *http.Request) error { return ForbiddenPath(identity.Anonymous, r) }

// ForbiddenPath is the error of a request for a path that is no resource and
// that the user may not see.
func ForbiddenPath(user string, r *http.Request) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
		Details: &metav1.StatusDetails{},
		Message: fmt.Sprintf("forbidden: User %q cannot %s path %q", user, strings.ToLower(r.Method), r.URL.Path),
	}}
}

// resource returns what the Store calls the target's kind.
func resource(t routes.Target) *storev1.Resource {
	return &storev1.Resource{Group: t.Kind.Group, Version: t.Kind.Version, Resource: t.Kind.Resource}
}
