// Package widgets is a small API server for tests: it serves
// widgets.example.com/v1, as a program beside the cluster would.
package widgets

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The API's group, and its group and version.
const (
	Group        = "widgets.example.com"
	GroupVersion = Group + "/v1"
)

// Widget is the kind that is served.
type Widget struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Size              int `json:"size"`
}

// Server keeps widgets in memory.
type Server struct {
	mux *http.ServeMux

	mu      sync.Mutex // guards what follows
	widgets []Widget
	changed chan struct{} // closed and replaced with each change
}

// New returns a server. aggregated says whether it knows the aggregated form of
// discovery.
func New(aggregated bool) *Server {
	s := &Server{mux: http.NewServeMux(), changed: make(chan struct{})}
	const base = "/apis/" + GroupVersion
	s.mux.HandleFunc("GET /apis", func(w http.ResponseWriter, r *http.Request) { discover(w, r, aggregated) })
	s.mux.HandleFunc("GET "+base, resources)
	s.mux.HandleFunc("GET "+base+"/widgets", s.list)
	s.mux.HandleFunc("GET "+base+"/namespaces/{namespace}/widgets", s.list)
	s.mux.HandleFunc("POST "+base+"/namespaces/{namespace}/widgets", s.create)
	s.mux.HandleFunc("GET "+base+"/namespaces/{namespace}/widgets/{name}", s.get)
	s.mux.HandleFunc("DELETE "+base+"/namespaces/{namespace}/widgets/{name}", s.delete)
	s.mux.HandleFunc("POST "+base+"/namespaces/{namespace}/widgets/{name}/upload", upload)
	s.mux.HandleFunc("GET "+base+"/namespaces/{namespace}/widgets/{name}/tunnel", tunnel)
	s.mux.HandleFunc("GET "+base+"/namespaces/{namespace}/widgets/{name}/caller", callerOf)
	s.mux.HandleFunc("GET "+base+"/namespaces/{namespace}/widgets/{name}/elsewhere", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://elsewhere.example.com/", http.StatusFound)
	})
	s.mux.HandleFunc("GET /openapi/v2", openapiV2)
	s.mux.HandleFunc("GET /openapi/v3", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"paths": {"apis/`+GroupVersion+`": {"serverRelativeURL": "/openapi/v3/apis/`+GroupVersion+`?hash=1"}}}`)
	})
	s.mux.HandleFunc("GET /openapi/v3/apis/"+GroupVersion, openapiV3)
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Add makes a widget.
func (s *Server) Add(w Widget) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.TypeMeta = metav1.TypeMeta{APIVersion: GroupVersion, Kind: "Widget"}
	w.ResourceVersion = fmt.Sprint(len(s.widgets) + 1)
	s.widgets = append(s.widgets, w)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Server) state(namespace string) ([]Widget, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Clone(s.widgets)
	return slices.DeleteFunc(all, func(w Widget) bool { return namespace != "" && w.Namespace != namespace }), s.changed
}

func write(w http.ResponseWriter, code int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(value) // the client may have gone
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("watch") != "" {
		s.watch(w, r)
		return
	}
	all, _ := s.state(r.PathValue("namespace"))
	if strings.Contains(r.Header.Get("Accept"), "as=Table") {
		write(w, http.StatusOK, table(all))
		return
	}
	write(w, http.StatusOK, map[string]any{
		"apiVersion": GroupVersion, "kind": "WidgetList", "metadata": map[string]any{"resourceVersion": "1"}, "items": all,
	})
}

func table(all []Widget) metav1.Table {
	t := metav1.Table{
		TypeMeta:          metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "Table"},
		ColumnDefinitions: []metav1.TableColumnDefinition{{Name: "Name", Type: "string", Format: "name"}, {Name: "Inches", Type: "integer"}},
	}
	for _, w := range all {
		t.Rows = append(t.Rows, metav1.TableRow{Cells: []any{w.Name, w.Size}})
	}
	return t
}

// watch sends each widget once, as long as the client listens.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	out := http.NewResponseController(w)
	for sent := 0; ; {
		all, changed := s.state(r.PathValue("namespace"))
		for ; sent < len(all); sent++ {
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "ADDED", "object": all[sent]})
		}
		if out.Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	var widget Widget
	if err := json.NewDecoder(r.Body).Decode(&widget); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	widget.Namespace = r.PathValue("namespace")
	s.Add(widget)
	write(w, http.StatusCreated, widget)
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	all, _ := s.state(r.PathValue("namespace"))
	for _, one := range all {
		if one.Name == r.PathValue("name") {
			write(w, http.StatusOK, one)
			return
		}
	}
	write(w, http.StatusNotFound, metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound,
		Code: http.StatusNotFound, Message: fmt.Sprintf("widgets.%s %q not found", Group, r.PathValue("name")),
	})
}

func (s *Server) delete(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.widgets = slices.DeleteFunc(s.widgets, func(one Widget) bool {
		return one.Namespace == r.PathValue("namespace") && one.Name == r.PathValue("name")
	})
	s.mu.Unlock()
	write(w, http.StatusOK, metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess})
}

// upload answers how much it was sent.
func upload(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = fmt.Fprint(w, n)
}

// tunnel sends back what it gets on a connection of its own.
func tunnel(w http.ResponseWriter, r *http.Request) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-User: "+r.Header.Get("X-Remote-User")+"\r\n\r\n")
	_, _ = io.Copy(conn, buffered)
}

// callerOf answers what it was told of who calls.
func callerOf(w http.ResponseWriter, r *http.Request) {
	told := http.Header{}
	for name, values := range r.Header {
		if strings.HasPrefix(name, "X-Remote-") || strings.HasPrefix(name, "Impersonate-") || name == "Authorization" {
			told[name] = values
		}
	}
	write(w, http.StatusOK, told)
}

func discover(w http.ResponseWriter, r *http.Request, aggregated bool) {
	version := metav1.GroupVersionForDiscovery{GroupVersion: GroupVersion, Version: "v1"}
	if !aggregated || !strings.Contains(r.Header.Get("Accept"), "as=APIGroupDiscoveryList") {
		write(w, http.StatusOK, metav1.APIGroupList{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIGroupList"},
			Groups:   []metav1.APIGroup{{Name: Group, PreferredVersion: version, Versions: []metav1.GroupVersionForDiscovery{version}}},
		})
		return
	}
	w.Header().Set("Content-Type", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
	_ = json.NewEncoder(w).Encode(apidiscoveryv2.APIGroupDiscoveryList{
		TypeMeta: metav1.TypeMeta{APIVersion: "apidiscovery.k8s.io/v2", Kind: "APIGroupDiscoveryList"},
		Items: []apidiscoveryv2.APIGroupDiscovery{{
			ObjectMeta: metav1.ObjectMeta{Name: Group},
			Versions: []apidiscoveryv2.APIVersionDiscovery{{Version: "v1", Resources: []apidiscoveryv2.APIResourceDiscovery{{
				Resource: "widgets", SingularResource: "widget", Scope: apidiscoveryv2.ScopeNamespace, ShortNames: []string{"wd"},
				ResponseKind: &metav1.GroupVersionKind{Group: Group, Version: "v1", Kind: "Widget"}, Verbs: verbs,
			}}}},
		}},
	})
}

var verbs = []string{"create", "delete", "get", "list", "watch"}

func resources(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, metav1.APIResourceList{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"}, GroupVersion: GroupVersion,
		APIResources: []metav1.APIResource{
			{Name: "widgets", SingularName: "widget", Namespaced: true, Kind: "Widget", Verbs: verbs, ShortNames: []string{"wd"}},
			{Name: "widgets/upload", Namespaced: true, Kind: "Widget", Verbs: []string{"create"}},
		},
	})
}

// definition describes a widget, with the references' prefix.
func definition(refs string) map[string]any {
	return map[string]any{
		"description": "Widget is a thing of some size.", "type": "object",
		"x-kubernetes-group-version-kind": []any{map[string]any{"group": Group, "version": "v1", "kind": "Widget"}},
		"properties": map[string]any{
			"apiVersion": map[string]any{"type": "string"}, "kind": map[string]any{"type": "string"},
			"metadata": map[string]any{"$ref": refs + "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
			"size":     map[string]any{"type": "integer", "description": "Size is in inches."},
		},
	}
}

func openapiV2(w http.ResponseWriter, _ *http.Request) {
	const refs = "#/definitions/"
	operation := map[string]any{"get": map[string]any{
		"operationId": "listWidgets", "responses": map[string]any{"200": map[string]any{"description": "OK", "schema": map[string]any{"$ref": refs + "com.example.Widget"}}},
	}}
	write(w, http.StatusOK, map[string]any{
		"swagger": "2.0", "info": map[string]any{"title": "Widgets", "version": "1"},
		"paths": map[string]any{"/apis/" + GroupVersion + "/widgets": operation, "/api/v1/pods": operation},
		"definitions": map[string]any{
			"com.example.Widget": definition(refs),
			// Not what the cluster has by this name.
			"io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": map[string]any{"type": "object", "description": "Something else."},
		},
	})
}

func openapiV3(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, map[string]any{
		"openapi": "3.0.0", "info": map[string]any{"title": "Widgets", "version": "1"}, "paths": map[string]any{
			"/apis/" + GroupVersion + "/namespaces/{namespace}/widgets": map[string]any{"get": map[string]any{
				"operationId": "listNamespacedWidget", "x-kubernetes-action": "list",
				"x-kubernetes-group-version-kind": map[string]any{"group": Group, "version": "v1", "kind": "Widget"},
				"responses":                       map[string]any{"200": map[string]any{"description": "OK"}},
			}},
		},
		"components": map[string]any{"schemas": map[string]any{
			"com.example.Widget":                              definition("#/components/schemas/"),
			"io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": map[string]any{"type": "object", "properties": map[string]any{"name": map[string]any{"type": "string"}}},
		}},
	})
}
