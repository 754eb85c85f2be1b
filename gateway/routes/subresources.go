package routes

import (
	"net/http"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds"
)

// Subresource says how a subresource is used.
type Subresource struct {
	// Verbs are what discovery lists.
	Verbs []string
	// Kind is what it takes and returns. Empty: the parent's own kind.
	Kind schema.GroupVersionKind
	// Options ends the name of the kind of the options that it is asked with,
	// which begins with the parent's: PodExecOptions. It stands for Kind.
	Options string
	// Stream marks subresources that the node's agent serves.
	Stream bool
}

// Subresources are those that any kind may list, by name.
func Subresources() map[string]Subresource {
	document := []string{"get", "patch", "update"}
	create := []string{"create"}
	connect := []string{"create", "get"}
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
		"exec":                {Verbs: connect, Options: "ExecOptions", Stream: true},
		"attach":              {Verbs: connect, Options: "AttachOptions", Stream: true},
		"proxy":               {Verbs: []string{"create", "delete", "get", "patch", "update"}, Options: "ProxyOptions", Stream: true},
		"portforward":         {Verbs: connect, Options: "PortForwardOptions", Stream: true},
	}
}

// KindFor returns the kind that the subresource of a parent takes and returns.
func (s Subresource) KindFor(parent *kinds.Kind) schema.GroupVersionKind {
	switch {
	case s.Options != "":
		return schema.GroupVersionKind{Group: parent.Group, Version: parent.Version, Kind: parent.Kind + s.Options}
	case s.Kind.Kind != "":
		return s.Kind
	}
	return parent.GVK()
}

// MethodOf returns the HTTP method of a verb of a single object, "" if it is
// none.
func MethodOf(verb string) string {
	switch verb {
	case "get":
		return http.MethodGet
	case "create":
		return http.MethodPost
	case "update":
		return http.MethodPut
	case "patch":
		return http.MethodPatch
	case "delete":
		return http.MethodDelete
	}
	return ""
}

// allows says whether a subresource takes a method.
func (s Subresource) allows(method string) bool {
	for _, v := range s.Verbs {
		if MethodOf(v) == method {
			return true
		}
	}
	return false
}
