// Package openapi describes the served API as OpenAPI v3 (a document per group
// and version) and v2 (one document). The schemas are made from the Go types:
// their fields and JSON tags, their SwaggerDoc texts, and what go generate has
// collected from their comments.
//
// A document is made when it is first asked for. Only its compressed bytes are
// kept.
package openapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"github.com/klauspost/compress/gzip"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/gateway/routes"
	"navarch.dev/navarch/internal/kinds"
)

const (
	refV2 = "#/definitions/"
	refV3 = "#/components/schemas/"

	// protobufV2 is the media type of the v2 document's Protobuf form. Clients
	// write an @ for the dot before v1.0.
	protobufV2        = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	cacheForeverValue = "public, immutable"
)

// Documents makes and serves the documents of a registry of kinds.
type Documents struct {
	registry *kinds.Registry
	version  string

	mu   sync.Mutex // guards the fields below
	made map[string]document
	// generation is that of the kinds that the documents were made of.
	generation int64
}

// document is one encoded document.
type document struct {
	zipped []byte
	hash   string
}

// New returns the documents of reg. version is the API's, "v1.37.2".
func New(reg *kinds.Registry, version string) *Documents {
	return &Documents{registry: reg, version: version, made: make(map[string]document)}
}

// get returns a document, made now if nobody asked before.
func (d *Documents) get(key string, build func() ([]byte, error)) (document, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := d.registry.Generation(); now != d.generation {
		clear(d.made)
		d.generation = now
	}
	if doc, ok := d.made[key]; ok {
		return doc, nil
	}
	body, err := build()
	if err != nil {
		return document{}, fmt.Errorf("make the OpenAPI document %s: %w", key, err)
	}
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	if _, err := zip.Write(body); err != nil {
		return document{}, fmt.Errorf("compress the OpenAPI document %s: %w", key, err)
	}
	if err := zip.Close(); err != nil {
		return document{}, fmt.Errorf("compress the OpenAPI document %s: %w", key, err)
	}
	sum := sha256.Sum256(body)
	doc := document{zipped: bytes.Clone(zipped.Bytes()), hash: strings.ToUpper(hex.EncodeToString(sum[:]))}
	d.made[key] = doc
	return doc, nil
}

// serve writes a document, or 304 if the client has it.
func serve(w http.ResponseWriter, r *http.Request, contentType string, doc document, err error) {
	if err != nil {
		reply.Error(w, r, err)
		return
	}
	etag := `"` + doc.hash + `"`
	w.Header().Set("ETag", etag)
	w.Header().Add("Vary", "Accept")
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	unzip, err := gzip.NewReader(bytes.NewReader(doc.zipped))
	if err != nil {
		reply.Error(w, r, fmt.Errorf("open a kept document: %w", err))
		return
	}
	w.Header().Set("Content-Type", contentType)
	body := reply.NewStream(w, r, http.StatusOK)
	if _, err := io.Copy(body, unzip); err != nil {
		panic(http.ErrAbortHandler) // a document cut short must not look whole
	}
	_ = body.Close() // the client may have gone
}

// ServeIndex answers /openapi/v3: where each document is. Clients may keep a
// document for ever, as its address holds its hash.
func (d *Documents) ServeIndex(w http.ResponseWriter, r *http.Request) {
	index := make(map[string]object)
	for _, gv := range d.versions() {
		doc, err := d.v3(gv)
		if err != nil {
			reply.Error(w, r, err)
			return
		}
		path := pathOf(gv)
		index[path] = object{"serverRelativeURL": "/openapi/v3/" + path + "?hash=" + doc.hash}
	}
	body, err := json.Marshal(object{"paths": index})
	if err != nil {
		reply.Error(w, r, fmt.Errorf("encode the index of OpenAPI documents: %w", err))
		return
	}
	reply.Bytes(w, r, http.StatusOK, negotiate.JSON, body)
}

func pathOf(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "api/" + gv.Version
	}
	return "apis/" + gv.Group + "/" + gv.Version
}

// versions returns the served groups and versions, in the registry's order.
func (d *Documents) versions() []schema.GroupVersion {
	var out []schema.GroupVersion
	seen := make(map[schema.GroupVersion]bool)
	for _, k := range d.registry.All() {
		if gv := k.GVK().GroupVersion(); !seen[gv] {
			seen[gv] = true
			out = append(out, gv)
		}
	}
	return out
}

// ServeVersion answers /openapi/v3/api/v1 and the like. It returns false if
// that version is not served.
func (d *Documents) ServeVersion(w http.ResponseWriter, r *http.Request, gv schema.GroupVersion) bool {
	known := false
	for _, have := range d.versions() {
		known = known || have == gv
	}
	if !known {
		return false
	}
	doc, err := d.v3(gv)
	if hash := r.URL.Query().Get("hash"); err == nil && hash != "" {
		if hash != doc.hash {
			http.Redirect(w, r, "/openapi/v3/"+pathOf(gv)+"?hash="+doc.hash, http.StatusMovedPermanently)
			return true
		}
		w.Header().Set("Cache-Control", cacheForeverValue)
	}
	serve(w, r, negotiate.JSON, doc, err)
	return true
}

func (d *Documents) v3(gv schema.GroupVersion) (document, error) {
	return d.get(pathOf(gv), func() ([]byte, error) {
		m, ops := d.collect(refV3, true, func(k *kinds.Kind) bool { return k.GVK().GroupVersion() == gv })
		return json.Marshal(object{
			"openapi":    "3.0.0",
			"info":       object{"title": "Kubernetes", "version": d.version},
			"paths":      paths(ops, writeV3),
			"components": object{"schemas": m.named()},
		})
	})
}

// collect makes the models and operations of the kinds that include takes.
func (d *Documents) collect(refs string, oneOf bool, include func(*kinds.Kind) bool) (*models, []operation) {
	m := newModels(refs, oneOf, readMarkers())
	var ops []operation
	for _, k := range d.registry.All() {
		if !include(k) {
			continue
		}
		ops = append(ops, operations(m, k)...)
		if k.Custom != nil {
			continue
		}
		m.kind(k.New(), gvkOf(k.GVK()))
		if !k.CreateOnly {
			m.kind(k.NewList(), gvk{Group: k.Group, Version: k.Version, Kind: k.Kind + "List"})
		}
	}
	for _, s := range routes.Subresources() {
		if s.Kind.Kind != "" {
			m.kindByName(gvkOf(s.Kind))
		}
	}
	m.kind(&metav1.Status{}, gvk{Version: "v1", Kind: "Status"})
	return m, ops
}

// kind says which API kind a model is.
func (m *models) kind(value any, k gvk) {
	s := m.all[m.add(reflect.TypeOf(value).Elem())]
	s.Kinds = append(s.Kinds, k)
}

// kindByName says so of the body of a subresource, if a kind here has it.
func (m *models) kindByName(k gvk) {
	for name, s := range m.all {
		if strings.HasSuffix(name, "."+k.Version+"."+k.Kind) && s.Kinds == nil {
			s.Kinds = []gvk{k}
		}
	}
}

// offerV2 is what /openapi/v2 can answer in.
func offerV2(f negotiate.Format) bool {
	return f.Media == protobufV2 || f.Media == negotiate.JSON
}

// ServeV2 answers /openapi/v2.
func (d *Documents) ServeV2(w http.ResponseWriter, r *http.Request) {
	f, ok := negotiate.Select(r.Header, offerV2)
	switch {
	case !ok:
		reply.Error(w, r, reply.NotAcceptable())
	case f.Media == negotiate.JSON:
		doc, err := d.get("v2", d.v2)
		serve(w, r, negotiate.JSON, doc, err)
	default:
		doc, err := d.get("v2 Protobuf", d.v2Protobuf)
		serve(w, r, protobufV2, doc, err)
	}
}

func (d *Documents) v2() ([]byte, error) {
	m, ops := d.collect(refV2, false, func(*kinds.Kind) bool { return true })
	return json.Marshal(object{
		"swagger":     "2.0",
		"info":        object{"title": "Kubernetes", "version": d.version},
		"paths":       paths(ops, writeV2),
		"definitions": m.named(),
	})
}

func (d *Documents) v2Protobuf() ([]byte, error) {
	body, err := d.v2()
	if err != nil {
		return nil, err
	}
	doc, err := openapi_v2.ParseDocument(body)
	if err != nil {
		return nil, fmt.Errorf("read the JSON form: %w", err)
	}
	return proto.Marshal(doc)
}
