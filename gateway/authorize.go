package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/gateway/caller"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/gateway/rest"
	"navarch.dev/navarch/internal/apistatus"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// authorized serves a path that is no resource to those whom the Store lets
// see it.
func (g *Gateway) authorized(serve runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		if err := g.authorize(w, r); err != nil {
			reply.Error(w, r, err)
			return
		}
		serve(w, r, params)
	}
}

// unlessRefused serves a path that everybody may see, as long as the cluster's
// roles are as they were, to those whom the Store does not refuse. Without a Store
// it is served too.
func (g *Gateway) unlessRefused(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := g.ask(w, r); err != nil && apistatus.Of(err).Code < http.StatusInternalServerError {
			reply.Error(w, r, err)
			return
		}
		serve(w, r)
	}
}

// authorize asks the Store, as the caller, whether the caller may see the
// request's path.
func (g *Gateway) authorize(w http.ResponseWriter, r *http.Request) error {
	who, err := caller.Of(r)
	if err != nil {
		return err
	}
	if who.Anonymous() {
		return rest.Anonymous(r)
	}
	return g.ask(w, r)
}

// ask is authorize for anonymous callers too.
func (g *Gateway) ask(w http.ResponseWriter, r *http.Request) error {
	ctx, err := caller.Enter(w, r)
	if err != nil {
		return err
	}
	_, err = g.store.Authorize(ctx, &storev1.AuthorizeRequest{Verb: strings.ToLower(r.Method), Path: r.URL.Path})
	return err
}

// recovered turns a panic of one request into an error of that request.
func (g *Gateway) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p) // the server cuts the stream or the connection
			}
			g.tel.Log.ErrorContext(r.Context(), "request panicked", "method", r.Method, "path", r.URL.Path,
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			reply.Error(w, r, errors.New("this request caused an internal error"))
		}()
		next.ServeHTTP(w, r)
	})
}

// legible refuses paths and queries that are no text: no message between the
// services could carry them.
func legible(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.RawQuery
		if strings.Contains(query, "%") {
			if plain, err := url.QueryUnescape(query); err == nil {
				query = plain
			}
		}
		if !utf8.ValidString(r.URL.Path) || !utf8.ValidString(query) {
			reply.Error(w, r, apierrors.NewBadRequest("the request's path and query must be UTF-8"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// slashless takes a trailing slash off a path: /apis/ is /apis.
func slashless(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path := r.URL.Path; len(path) > 1 && strings.HasSuffix(path, "/") {
			u := *r.URL
			u.Path = "/" + strings.Trim(path, "/")
			u.RawPath = ""
			r2 := *r
			r2.URL = &u
			r = &r2
		}
		next.ServeHTTP(w, r)
	})
}
