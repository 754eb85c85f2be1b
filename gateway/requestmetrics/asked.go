package requestmetrics

import (
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/gateway/attributes"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// asked is what a request is for, in words of the API alone.
type asked struct {
	verb, dryRun                                 string
	group, version, resource, subresource, scope string
	lasts                                        bool
}

// what are the values of the labels that all metrics share, in their order.
func (a asked) what() []string {
	return []string{a.group, a.version, a.resource, a.subresource, a.scope, componentLabel}
}

// streams are the subresources whose requests go on.
var streams = []string{"attach", "exec", "portforward", "proxy"}

// askedBy reads a request. Of one for a path that is no known resource only the
// method is told.
func (m *Metrics) askedBy(r *http.Request) asked {
	out := asked{verb: methodOf(r.Method)}
	if strings.Contains(r.URL.RawQuery, "dryRun") {
		out.dryRun = dryRun(r.URL.Query())
	}
	of := attributes.Of(r)
	res := of.GetResource()
	if res == nil {
		return out
	}
	kind, ok := m.kind(schema.GroupVersionResource{Group: res.GetGroup(), Version: res.GetVersion(), Resource: res.GetResource()})
	if !ok || of.GetSubresource() != "" && !kind.HasSubresource(of.GetSubresource()) {
		return out
	}
	out.group, out.version, out.resource, out.subresource = res.GetGroup(), res.GetVersion(), res.GetResource(), of.GetSubresource()
	out.scope = scopeOf(of)
	switch {
	case of.GetVerb() == "watch":
		out.verb, out.lasts = "WATCH", true
	case slices.Contains(streams, out.subresource), of.GetVerb() == "proxy":
		out.verb, out.lasts = "CONNECT", true
	case of.GetVerb() == "list":
		out.verb = "LIST"
	case of.GetVerb() == "deletecollection":
		out.verb = "DELETECOLLECTION"
	case r.Method == http.MethodPatch && strings.HasPrefix(r.Header.Get("Content-Type"), "application/apply-patch"):
		out.verb = "APPLY"
	case out.subresource == "log" && attributes.Flag(r.URL.Query(), "follow"):
		out.lasts = true
	}
	return out
}

func (m *Metrics) kind(gvr schema.GroupVersionResource) (*kinds.Kind, bool) {
	if kind, ok := m.registry.ForResource(gvr); ok {
		return kind, true
	}
	i := slices.IndexFunc(m.others, func(k *kinds.Kind) bool {
		return k.Resource == gvr.Resource && k.Group == gvr.Group && k.Version == gvr.Version
	})
	if i < 0 {
		return nil, false
	}
	return m.others[i], true
}

// methodOf is the label of a method; others than these ask for nothing.
func methodOf(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

// scopeOf says how much a request is about: one object, a namespace or all there is.
func scopeOf(of *storev1.AuthorizeRequest) string {
	switch {
	case of.GetName() != "":
		return "resource"
	case of.GetNamespace() != "":
		return "namespace"
	}
	return "cluster"
}
