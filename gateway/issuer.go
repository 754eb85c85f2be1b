package gateway

import (
	"bytes"
	"net/http"
	"strings"

	"navarch.dev/navarch/gateway/caller"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/gateway/rest"
	"navarch.dev/navarch/internal/flowheader"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// document serves what the Store publishes under the request's path, to those
// whom the Store lets see it.
func (g *Gateway) document(w http.ResponseWriter, r *http.Request) { g.documentAnd(w, r, nil) }

// documentAnd serves a document and what more writes after it, in the form of its
// content type.
func (g *Gateway) documentAnd(w http.ResponseWriter, r *http.Request, more func(contentType string, content *bytes.Buffer) error) {
	who, err := caller.Of(r)
	if err == nil && who.Anonymous() {
		err = rest.Anonymous(r)
	}
	if err != nil {
		reply.Error(w, r, err)
		return
	}
	path := "/" + strings.Trim(r.URL.Path, "/")
	ctx := flowheader.Pass(who.NewContext(r.Context()), w.Header())
	resp, err := g.store.GetDocument(ctx, &storev1.GetDocumentRequest{Path: path, Accept: strings.Join(r.Header.Values("Accept"), ",")})
	content := bytes.NewBuffer(resp.GetContent())
	if err == nil && more != nil {
		err = more(resp.GetContentType(), content)
	}
	if err != nil {
		w.Header().Del("Cache-Control")
		reply.Error(w, r, err)
		return
	}
	reply.Bytes(w, r, http.StatusOK, resp.GetContentType(), content.Bytes())
}

// keptDocument is document for what verifiers of tokens may keep for an hour.
func (g *Gateway) keptDocument(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=3600")
	g.document(w, r)
}
