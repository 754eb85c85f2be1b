// Package attributes reads from a request what it asks for, as authorization and
// audit policies see it, whether its resource is known or not.
package attributes

import (
	"net/http"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// Version returns the version of an API that a path is in, and the segments
// after it.
func Version(path string) (gv schema.GroupVersion, rest []string, ok bool) {
	segments := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(segments) >= 2 && segments[0] == "api":
		return schema.GroupVersion{Version: segments[1]}, segments[2:], true
	case len(segments) >= 3 && segments[0] == "apis":
		return schema.GroupVersion{Group: segments[1], Version: segments[2]}, segments[3:], true
	}
	return gv, nil, false
}

// Of returns what a request asks for: a resource, or a path that is none.
func Of(r *http.Request) *storev1.AuthorizeRequest {
	gv, rest, ok := Version(r.URL.Path)
	if !ok {
		return ofPath(r)
	}
	return Below(r, gv, rest)
}

func ofPath(r *http.Request) *storev1.AuthorizeRequest {
	return &storev1.AuthorizeRequest{Verb: strings.ToLower(r.Method), Path: r.URL.Path}
}

// Below returns what a request below a version asks for. rest is the path after
// the version.
func Below(r *http.Request, gv schema.GroupVersion, rest []string) *storev1.AuthorizeRequest {
	if len(rest) == 0 {
		return ofPath(r)
	}
	a := &storev1.AuthorizeRequest{Verb: VerbOf(r.Method)}
	// The old forms of watches and proxies have the verb in the path.
	if (rest[0] == "watch" || rest[0] == "proxy") && len(rest) > 1 {
		a.Verb, rest = rest[0], rest[1:]
	}
	if rest[0] == "namespaces" && len(rest) > 1 {
		a.Namespace = rest[1]
		if len(rest) > 2 && rest[2] != "status" && rest[2] != "finalize" {
			rest = rest[2:]
		}
	}
	a.Resource = &storev1.Resource{Group: gv.Group, Version: gv.Version, Resource: rest[0]}
	if len(rest) > 1 {
		a.Name = rest[1]
	}
	if len(rest) > 2 && a.Verb != "proxy" {
		a.Subresource = rest[2]
	}
	if a.Name == "" || a.Verb == "watch" {
		ofCollection(a, r.URL.Query())
	}
	return a
}

// ofCollection completes what a request for several objects asks for.
func ofCollection(a *storev1.AuthorizeRequest, query url.Values) {
	switch a.Verb {
	case "get":
		a.Verb = "list"
		if Flag(query, "watch") {
			a.Verb = "watch"
		}
	case "delete":
		a.Verb = "deletecollection"
	case "watch":
	default:
		return
	}
	a.LabelSelector, a.FieldSelector = query.Get("labelSelector"), query.Get("fieldSelector")
	// Whoever may see only certain objects can list and watch each of them.
	if selector, err := fields.ParseSelector(a.FieldSelector); err == nil && a.Name == "" {
		if name, ok := selector.RequiresExactMatch("metadata.name"); ok && len(content.IsPathSegmentName(name)) == 0 {
			a.Name = name
		}
	}
}

// Flag reads a boolean parameter of a query as the Kubernetes API does: it is set
// if it is there, unless it says "false" or "0".
func Flag(query url.Values, name string) bool {
	values := query[name]
	return len(values) > 0 && values[0] != "0" && !strings.EqualFold(values[0], "false")
}

// VerbOf is the verb by which RBAC knows a method, of a request for one object or
// one that is passed on.
func VerbOf(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead:
		return "get"
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	}
	return strings.ToLower(method)
}
