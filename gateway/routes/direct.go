package routes

import (
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds"
)

// Direct serves the usual resource paths and hands all others to next, which
// must be the mux: that tries one pattern after the other, some of which other
// handlers have, and costs a small request as much as the rest of its way.
func Direct(reg *kinds.Registry, h Handler, next http.Handler) http.Handler {
	rt := newRouter(reg, h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n, ok := rt.parse(r.URL.Path); ok && usual(r.Method) {
			rt.dispatch(w, r, n)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func usual(method string) bool {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return true
	}
	return false
}

// parse takes the path of a served resource apart. It returns false for all
// others, for the old form of watches, and for paths with empty segments.
func (rt *router) parse(path string) (named, bool) {
	var n named
	rest, core := strings.CutPrefix(path, "/api/")
	if !core {
		var ok bool
		if rest, ok = strings.CutPrefix(path, "/apis/"); !ok {
			return n, false
		}
		n.group, rest, _ = strings.Cut(rest, "/")
	}
	n.version, rest, _ = strings.Cut(rest, "/")
	if core == (n.group != "") || !rt.registry.Serves(schema.GroupVersion{Group: n.group, Version: n.version}) {
		return n, false
	}
	var room [6]string // one more than the longest path has
	segments := room[:0]
	for segment := range strings.SplitSeq(rest, "/") {
		if segment == "" || len(segments) == len(room) {
			return n, false
		}
		segments = append(segments, segment)
	}
	if len(segments) >= 3 && segments[0] == "namespaces" {
		n.namespace, segments = segments[1], segments[2:]
	}
	if segments[0] == "watch" || len(segments) > 3 {
		return n, false
	}
	n.resource = segments[0]
	if len(segments) > 1 {
		n.name = segments[1]
	}
	if len(segments) > 2 {
		n.subresource = segments[2]
	}
	return n, true
}
