package aggregation

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/streaming/pkg/httpstream"

	"navarch.dev/navarch/gateway/attributes"
	"navarch.dev/navarch/gateway/caller"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/internal/extension"
	"navarch.dev/navarch/internal/identity"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// openapiV3 is before the path of a version's OpenAPI v3 document.
const openapiV3 = "/openapi/v3"

// Handler passes on what other servers serve; next serves all else.
func (a *Aggregator) Handler(next http.Handler) http.Handler {
	merged := a.merging(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, document := strings.CutPrefix(r.URL.Path, openapiV3+"/")
		if document {
			path = "/" + path
		} else {
			path = r.URL.Path
		}
		gv, rest, ok := attributes.Version(path)
		if !ok || document && len(rest) > 0 {
			merged.ServeHTTP(w, r)
			return
		}
		s := a.server(gv)
		if s == nil {
			next.ServeHTTP(w, r)
			return
		}
		ask := attributes.Below(r, gv, rest)
		if document {
			ask = &storev1.AuthorizeRequest{Verb: strings.ToLower(r.Method), Path: r.URL.Path}
		}
		a.pass(w, r, s, ask)
	})
}

// pass authorizes a request and passes it on.
func (a *Aggregator) pass(w http.ResponseWriter, r *http.Request, s *server, ask *storev1.AuthorizeRequest) {
	ctx, err := caller.Enter(w, r)
	if err != nil {
		reply.Error(w, r, err)
		return
	}
	user, err := a.authorize(ctx, ask)
	if err != nil {
		reply.Error(w, r, err)
		return
	}
	switch {
	case !s.available:
		reply.Error(w, r, apierrors.NewServiceUnavailable("service unavailable"))
		return
	case s.broken != nil:
		reply.Error(w, r, s.broken)
		return
	}
	lasting, cancel := a.untilStopped(r.Context())
	defer cancel()
	forwarded := forward(r.WithContext(lasting), user)
	// The path and the query are written anew, so that both servers read in them
	// what was authorized.
	location := &url.URL{Scheme: "https", Host: extension.Host(&s.spec), Path: r.URL.Path, RawQuery: r.URL.Query().Encode()}
	forwarded.URL, forwarded.Host = location, location.Host
	handler := proxy.NewUpgradeAwareHandler(location, s.transport, false, httpstream.IsUpgradeRequest(r), responder{})
	handler.UseLocationHost, handler.RejectForwardingRedirects = true, true
	handler.ServeHTTP(w, forwarded)
}

func (a *Aggregator) authorize(ctx context.Context, ask *storev1.AuthorizeRequest) (identity.Identity, error) {
	resp, err := a.store.Authorize(ctx, ask)
	if err != nil {
		return identity.Identity{}, err
	}
	user := identity.Identity{Name: resp.GetUser(), UID: resp.GetUid(), Groups: resp.GetGroups(), Extra: make(map[string][]string)}
	for key, values := range resp.GetExtra() {
		user.Extra[key] = values.GetValues()
	}
	return user, nil
}

// forward returns the request as the other server gets it: for the user, and
// without what would let that server act as the user.
func forward(r *http.Request, user identity.Identity) *http.Request {
	r = r.Clone(r.Context())
	for name := range r.Header {
		if name == "Authorization" || strings.HasPrefix(name, "Impersonate-") {
			r.Header.Del(name)
		}
	}
	extension.Identify(r, user)
	return r
}

// untilStopped returns a context that ends when the server shuts down.
func (a *Aggregator) untilStopped(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-a.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// responder answers with a Status what went wrong on the way to another server.
type responder struct{}

// Error implements proxy.ErrorResponder.
func (responder) Error(w http.ResponseWriter, r *http.Request, err error) {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		err = apierrors.NewServiceUnavailable("error trying to reach service: " + err.Error())
	}
	reply.Error(w, r, err)
}
