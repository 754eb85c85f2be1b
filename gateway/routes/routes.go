// Package routes is the Kubernetes URL space: it registers the generic
// patterns of resource paths with grpc-gateway's mux and finds the kind that a
// path names.
//
// A path is one of
//
//	/api/v1/…                     the core group
//	/apis/{group}/{version}/…     every other group
//
// followed by
//
//	{resource}[/{name}[/{subresource}]]
//	namespaces/{namespace}/{resource}[/{name}[/{subresource}]]
//
// with "watch/" before it for the old form of watches.
package routes

import (
	"fmt"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds"
)

// Target is what a resource path names.
type Target struct {
	Kind        *kinds.Kind
	Namespace   string
	Name        string
	Subresource string
	// Watch marks the old form of a watch.
	Watch bool
}

// Handler serves the requests of resource paths.
type Handler interface {
	// ServeResource answers a request for an existing resource.
	ServeResource(w http.ResponseWriter, r *http.Request, t Target)
	// ServeError answers a request that names nothing that is served.
	ServeError(w http.ResponseWriter, r *http.Request, err error)
	// ServeUnknown answers a request outside every served group and version.
	ServeUnknown(w http.ResponseWriter, r *http.Request)
	// Refresh makes sure that kinds which have just been defined are known.
	Refresh(r *http.Request)
}

// Register adds every resource path to mux.
func Register(mux *runtime.ServeMux, reg *kinds.Registry, h Handler) error {
	rt := newRouter(reg, h)
	methods := []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	for _, root := range []string{"/api/{version}", "/apis/{group}/{version}"} {
		// The mux tries what was registered last first.
		for _, pattern := range []string{
			"/{resource}", "/{resource}/{name}", "/{resource}/{name}/{subresource}",
			"/namespaces/{namespace}/{resource}", "/namespaces/{namespace}/{resource}/{name}",
			"/namespaces/{namespace}/{resource}/{name}/{subresource}",
		} {
			for _, method := range methods {
				if err := mux.HandlePath(method, root+pattern, rt.serve(false)); err != nil {
					return fmt.Errorf("register %s %s: %w", method, root+pattern, err)
				}
			}
		}
		for _, pattern := range []string{
			"/watch/{resource}", "/watch/{resource}/{name}",
			"/watch/namespaces/{namespace}/{resource}", "/watch/namespaces/{namespace}/{resource}/{name}",
		} {
			if err := mux.HandlePath(http.MethodGet, root+pattern, rt.serve(true)); err != nil {
				return fmt.Errorf("register %s: %w", root+pattern, err)
			}
		}
	}
	return nil
}

type router struct {
	registry     *kinds.Registry
	handler      Handler
	subresources map[string]Subresource
}

func newRouter(reg *kinds.Registry, h Handler) *router {
	return &router{registry: reg, handler: h, subresources: Subresources()}
}

func (rt *router) serve(watch bool) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		rt.dispatch(w, r, named{
			group: params["group"], version: params["version"], namespace: params["namespace"],
			resource: params["resource"], name: params["name"], subresource: params["subresource"], watch: watch,
		})
	}
}

// named is what a resource path says.
type named struct {
	group, version, namespace, resource, name, subresource string

	watch bool
}

func (rt *router) dispatch(w http.ResponseWriter, r *http.Request, n named) {
	gv := schema.GroupVersion{Group: n.group, Version: n.version}
	if !rt.registry.Serves(gv) {
		rt.handler.Refresh(r)
	}
	if !rt.registry.Serves(gv) {
		rt.handler.ServeUnknown(w, r)
		return
	}
	t, err := rt.target(gv, n)
	if t.Kind == nil {
		rt.handler.Refresh(r)
		t, err = rt.target(gv, n)
	}
	if err == nil {
		t.Watch = n.watch
		err = rt.check(t, r.Method)
	}
	if err != nil {
		rt.handler.ServeError(w, r, err)
		return
	}
	rt.handler.ServeResource(w, r, t)
}

// target finds the kind that a path names.
func (rt *router) target(gv schema.GroupVersion, n named) (Target, error) {
	t := Target{Namespace: n.namespace, Name: n.name, Subresource: n.subresource}
	resource := n.resource
	if t.Namespace != "" && t.Name == "" && (resource == "status" || resource == "finalize") && gv == (schema.GroupVersion{Version: "v1"}) {
		// namespaces/{name}/status is a Namespace's own subresource.
		t = Target{Name: t.Namespace, Subresource: resource}
		resource = "namespaces"
	}
	kind, ok := rt.registry.ForResource(gv.WithResource(resource))
	if !ok {
		return t, notFound()
	}
	t.Kind = kind
	return t, nil
}

// check refuses paths and methods that the kind does not have.
func (rt *router) check(t Target, method string) error {
	namespacePath := t.Namespace != ""
	switch {
	case namespacePath && !t.Kind.Namespaced,
		!namespacePath && t.Kind.Namespaced && t.Name != "":
		return notFound()
	case t.Subresource != "":
		s, known := rt.subresources[t.Subresource]
		if !known || !t.Kind.HasSubresource(t.Subresource) {
			return notFound()
		}
		if !s.allows(method) {
			return NotAllowed()
		}
	case t.Kind.CreateOnly:
		if t.Name != "" {
			return notFound()
		}
		if method != http.MethodPost {
			return NotAllowed()
		}
	case t.Kind.ReadOnly && t.Watch:
		return notFound()
	case t.Kind.ReadOnly && method != http.MethodGet:
		return NotAllowed()
	case t.Name == "" && (method == http.MethodPut || method == http.MethodPatch),
		t.Name != "" && method == http.MethodPost:
		return NotAllowed()
	case method == http.MethodPost && t.Kind.Namespaced && !namespacePath,
		method == http.MethodDelete && t.Name == "" && t.Kind.Namespaced && !namespacePath,
		method == http.MethodDelete && t.Name == "" && !HasDeleteCollection(t.Kind):
		return NotAllowed()
	}
	return nil
}

// HasDeleteCollection says whether all objects of a kind can be deleted by one
// request. Namespaces cannot.
func HasDeleteCollection(k *kinds.Kind) bool {
	return k.Group != "" || k.Resource != "namespaces"
}

func notFound() error {
	return apierrors.NewGenericServerResponse(http.StatusNotFound, "", schema.GroupResource{}, "", "", 0, false)
}

// NotAllowed is the error of a method that a path does not have.
func NotAllowed() error {
	return apierrors.NewGenericServerResponse(http.StatusMethodNotAllowed, "", schema.GroupResource{}, "", "", 0, false)
}
