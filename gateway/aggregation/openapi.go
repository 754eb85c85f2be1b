package aggregation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"

	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/internal/extension"
)

// The media type of the v2 document's Protobuf form.
const protobufV2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

// merging serves the documents that tell of the whole API; next serves all
// else, and everything as long as no other server serves a part.
func (a *Aggregator) merging(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(*a.servers.Load()) == 0 || r.Method != http.MethodGet {
			next.ServeHTTP(w, r)
			return
		}
		path := strings.TrimSuffix(r.URL.Path, "/")
		group, inGroup := strings.CutPrefix(path, "/apis/")
		switch {
		case path == "/apis":
			a.serveDiscovery(w, r, next)
		case inGroup && a.hasGroup(group):
			a.serveGroup(w, r, next, group)
		case path == openapiV3:
			a.serveV3(w, r, next)
		case path == "/openapi/v2":
			a.serveV2(w, r, next)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// recorder keeps a response.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(code int) {
	if r.code == 0 {
		r.code = code
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}

// record has next answer a request in a form, and returns the body. Other
// answers than success are written to w, and false is returned.
func record(w http.ResponseWriter, r *http.Request, next http.Handler, accept string) ([]byte, bool) {
	plain := r.Clone(r.Context())
	plain.Header.Set("Accept", accept)
	for _, name := range []string{"Accept-Encoding", "If-None-Match"} {
		plain.Header.Del(name)
	}
	rec := &recorder{header: make(http.Header)}
	next.ServeHTTP(rec, plain)
	if rec.code == http.StatusOK {
		return rec.body.Bytes(), true
	}
	maps.Copy(w.Header(), rec.header)
	w.WriteHeader(rec.code)
	_, _ = w.Write(rec.body.Bytes()) // the client may have gone
	return nil, false
}

// index is the document /openapi/v3.
type index struct {
	Paths map[string]place `json:"paths"`
}

type place struct {
	ServerRelativeURL string `json:"serverRelativeURL"`
}

// askV3 returns where a server has its version's v3 document, "" if nowhere.
func (s *server) askV3(ctx context.Context) (string, error) {
	body, _, err := s.fetch(ctx, openapiV3, negotiate.JSON)
	if errors.Is(err, errNotServed) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var found index
	if err := json.Unmarshal(body, &found); err != nil {
		return "", fmt.Errorf("read where %s is described: %w", s.gv, err)
	}
	return found.Paths[strings.TrimPrefix(extension.Path(s.gv), "/")].ServerRelativeURL, nil
}

// serveV3 answers /openapi/v3.
func (a *Aggregator) serveV3(w http.ResponseWriter, r *http.Request, next http.Handler) {
	own, passed := record(w, r, next, negotiate.JSON)
	if !passed {
		return
	}
	var all index
	if err := json.Unmarshal(own, &all); err != nil || all.Paths == nil {
		reply.Error(w, r, fmt.Errorf("read the own index of OpenAPI documents: %w", err))
		return
	}
	for gv, s := range *a.servers.Load() {
		path := strings.TrimPrefix(extension.Path(gv), "/")
		delete(all.Paths, path)
		at, err := s.v3.get(r.Context(), s.askV3)
		if err != nil {
			a.log.DebugContext(r.Context(), "another API server does not say where it is described", "api", gv.String(), "error", err)
		}
		// Only a path of its own: what a server says must not lead elsewhere.
		if want := openapiV3 + "/" + path; at == want || strings.HasPrefix(at, want+"?") {
			all.Paths[path] = place{at}
		}
	}
	body, err := json.Marshal(all)
	if err != nil {
		reply.Error(w, r, fmt.Errorf("encode the index of OpenAPI documents: %w", err))
		return
	}
	reply.Bytes(w, r, http.StatusOK, negotiate.JSON, body)
}

// askV2 returns a server's v2 document; nil if it has none.
func (s *server) askV2(ctx context.Context) (map[string]any, error) {
	body, _, err := s.fetch(ctx, "/openapi/v2", negotiate.JSON)
	if errors.Is(err, errNotServed) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var document map[string]any
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, fmt.Errorf("read how %s is described: %w", s.gv, err)
	}
	return document, nil
}

// serveV2 answers /openapi/v2.
func (a *Aggregator) serveV2(w http.ResponseWriter, r *http.Request, next http.Handler) {
	f, ok := negotiate.Select(r.Header, func(f negotiate.Format) bool { return f.Media == protobufV2 || f.Media == negotiate.JSON })
	own, passed := record(w, r, next, negotiate.JSON)
	if !passed {
		return
	}
	if !ok {
		reply.Error(w, r, reply.NotAcceptable())
		return
	}
	body, err := a.mergeV2(r.Context(), own)
	if err == nil && f.Media == protobufV2 {
		body, err = protobufOf(body)
	}
	if err != nil {
		reply.Error(w, r, err)
		return
	}
	sum := sha256.Sum256(body)
	etag := `"` + strings.ToUpper(hex.EncodeToString(sum[:])) + `"`
	w.Header().Set("ETag", etag)
	w.Header().Add("Vary", "Accept")
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	reply.Bytes(w, r, http.StatusOK, f.Media, body)
}

func protobufOf(body []byte) ([]byte, error) {
	document, err := openapi_v2.ParseDocument(body)
	if err != nil {
		return nil, fmt.Errorf("read the merged OpenAPI document: %w", err)
	}
	return proto.Marshal(document)
}

// mergeV2 adds the paths of other servers, and the definitions that they use, to
// the own document.
func (a *Aggregator) mergeV2(ctx context.Context, own []byte) ([]byte, error) {
	var all map[string]any
	if err := json.Unmarshal(own, &all); err != nil {
		return nil, fmt.Errorf("read the own OpenAPI document: %w", err)
	}
	servers := *a.servers.Load()
	for _, gv := range slices.SortedFunc(maps.Keys(servers), byName) {
		document, err := servers[gv].v2.get(ctx, servers[gv].askV2)
		if err != nil {
			a.log.DebugContext(ctx, "another API server does not say how it is described", "api", gv.String(), "error", err)
		}
		mergeDocument(all, document, extension.Path(gv))
	}
	body, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("encode the merged OpenAPI document: %w", err)
	}
	return body, nil
}

const definitionsPrefix = "#/definitions/"

// mergeDocument replaces what one document has below a path by what another has
// there. Definitions that differ from those of the same name get another name.
func mergeDocument(into, from map[string]any, below string) {
	paths, _ := into["paths"].(map[string]any)
	definitions, _ := into["definitions"].(map[string]any)
	if paths == nil || definitions == nil {
		return
	}
	within := func(path string) bool { return path == below || strings.HasPrefix(path, below+"/") }
	maps.DeleteFunc(paths, func(path string, _ any) bool { return within(path) })
	theirPaths, _ := from["paths"].(map[string]any)
	theirDefinitions, _ := from["definitions"].(map[string]any)
	m := merger{into: definitions, from: theirDefinitions, names: make(map[string]string)}
	for _, path := range slices.Sorted(maps.Keys(theirPaths)) {
		if within(path) {
			paths[path] = m.renamed(theirPaths[path])
		}
	}
}

// merger takes over definitions that are referred to.
type merger struct {
	into, from map[string]any
	// names are the new names of those that were taken over.
	names map[string]string
}

// renamed returns a copy of a value whose references have the new names.
func (m *merger) renamed(value any) any {
	switch v := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, inner := range v {
			if ref, ok := inner.(string); ok && key == "$ref" && strings.HasPrefix(ref, definitionsPrefix) {
				out[key] = definitionsPrefix + m.take(strings.TrimPrefix(ref, definitionsPrefix))
				continue
			}
			out[key] = m.renamed(inner)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = m.renamed(v[i])
		}
		return out
	}
	return value
}

// take takes over a definition and returns its new name.
func (m *merger) take(name string) string {
	if known, ok := m.names[name]; ok {
		return known
	}
	theirs, ok := m.from[name]
	if !ok {
		return name
	}
	for number := 1; ; number++ {
		as := name
		if number > 1 {
			as = fmt.Sprintf("%s_v%d", name, number)
		}
		mine, taken := m.into[as]
		if taken && !reflect.DeepEqual(mine, theirs) {
			continue
		}
		m.names[name] = as
		if !taken {
			m.into[as] = nil // the name is taken; definitions may refer to themselves
			m.into[as] = m.renamed(theirs)
		}
		return as
	}
}
