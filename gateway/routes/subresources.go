package routes

import (
	"net/http"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Subresource says how a subresource is used.
type Subresource struct {
	// Verbs are what discovery lists.
	Verbs []string
	// Kind is what it takes and returns. Empty: the parent's own kind.
	Kind schema.GroupVersionKind
	// Stream marks subresources that the node's agent serves.
	Stream bool
}

// Subresources are those that any kind may list, by name.
func Subresources() map[string]Subresource {
	document := []string{"get", "patch", "update"}
	create := []string{"create"}
	connect := []string{"create", "get"}
	options := func(kind string) schema.GroupVersionKind { return schema.GroupVersionKind{Version: "v1", Kind: kind} }
	return map[string]Subresource{
		"status":              {Verbs: document},
		"approval":            {Verbs: document},
		"ephemeralcontainers": {Verbs: document},
		"resize":              {Verbs: document},
		"finalize":            {Verbs: []string{"update"}},
		"scale":               {Verbs: document, Kind: schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}},
		"binding":             {Verbs: create, Kind: schema.GroupVersionKind{Version: "v1", Kind: "Binding"}},
		"eviction":            {Verbs: create, Kind: schema.GroupVersionKind{Group: "policy", Version: "v1", Kind: "Eviction"}},
		"token":               {Verbs: create, Kind: schema.GroupVersionKind{Group: "authentication.k8s.io", Version: "v1", Kind: "TokenRequest"}},
		"log":                 {Verbs: []string{"get"}, Stream: true},
		"exec":                {Verbs: connect, Kind: options("PodExecOptions"), Stream: true},
		"attach":              {Verbs: connect, Kind: options("PodAttachOptions"), Stream: true},
		"proxy":               {Verbs: []string{"create", "delete", "get", "patch", "update"}, Kind: options("PodProxyOptions"), Stream: true},
		"portforward":         {Verbs: connect, Kind: options("PodPortForwardOptions"), Stream: true},
	}
}

// methodOf maps the verbs of a single object to HTTP methods.
var methodOf = map[string]string{
	"get": http.MethodGet, "create": http.MethodPost, "update": http.MethodPut, "patch": http.MethodPatch, "delete": http.MethodDelete,
}

// allows says whether a subresource takes a method.
func (s Subresource) allows(method string) bool {
	for _, v := range s.Verbs {
		if methodOf[v] == method {
			return true
		}
	}
	return false
}
