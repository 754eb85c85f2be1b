package gateway

import (
	"net/http"
	"strings"

	"navarch.dev/navarch/gateway/caller"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/gateway/rest"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// document serves what the Store publishes under the request's path, to those
// whom the Store lets see it. Verifiers of tokens may keep it for an hour.
func (g *Gateway) document(w http.ResponseWriter, r *http.Request) {
	who, err := caller.Of(r)
	if err == nil && who.Anonymous() {
		err = rest.Anonymous(r)
	}
	if err != nil {
		reply.Error(w, r, err)
		return
	}
	path := "/" + strings.Trim(r.URL.Path, "/")
	resp, err := g.store.GetDocument(who.NewContext(r.Context()), &storev1.GetDocumentRequest{Path: path})
	if err != nil {
		reply.Error(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=3600")
	reply.Bytes(w, r, http.StatusOK, resp.GetContentType(), resp.GetContent())
}
