package pages_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/pages"
)

// stuck is a node whose pods nobody answers for.
type stuck struct{ node }

func (stuck) Pods(context.Context) ([]*corev1.Pod, error) { return nil, errors.New("no answer") }

func TestHealth(t *testing.T) {
	well := pages.New(pages.Config{Pods: node{}, Metrics: prometheus.NewRegistry()})
	ill := pages.New(pages.Config{Pods: stuck{}, Metrics: prometheus.NewRegistry()})
	for _, tt := range []struct {
		path  string
		ofIll bool
		code  int
		body  string
	}{
		{path: "/healthz", code: 200, body: "ok"},
		{path: "/healthz?verbose", code: 200, body: "[+]ping ok\n[+]log ok\n[+]syncloop ok\nhealthz check passed\n"},
		{path: "/healthz?verbose&exclude=log", code: 200, body: "[+]ping ok\n[+]log excluded: ok\n[+]syncloop ok\nhealthz check passed\n"},
		{path: "/healthz/ping", code: 200, body: "ok"},
		{path: "/healthz/syncloop", code: 200, body: "ok"},
		{path: "/healthz/none", code: 404, body: "404 page not found\n"},
		{path: "/healthz", ofIll: true, code: 500, body: "[+]ping ok\n[+]log ok\n[-]syncloop failed: reason withheld\nhealthz check failed\n"},
		{path: "/healthz?exclude=syncloop", ofIll: true, code: 200, body: "ok"},
		{path: "/healthz/ping", ofIll: true, code: 200, body: "ok"},
		{path: "/healthz/syncloop", ofIll: true, code: 500, body: "internal server error: the pods' state is not known: no answer\n"},
	} {
		h := well
		if tt.ofIll {
			h = ill
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", tt.path, nil))
		if w.Code != tt.code || w.Body.String() != tt.body {
			t.Errorf("%s (ill: %t): %d %q, want %d %q", tt.path, tt.ofIll, w.Code, w.Body, tt.code, tt.body)
		}
	}
}

func TestZPages(t *testing.T) {
	h := pages.New(pages.Config{Started: at(), Pods: node{}, Metrics: prometheus.NewRegistry(), Flags: map[string]string{"node-name": "n1", "listen": ":10250"}})
	ask := func(path, accept string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	const statusz, flagz = "application/json;v=v1beta1;g=config.k8s.io;as=Statusz", "application/json;v=v1beta1;g=config.k8s.io;as=Flagz"
	for _, tt := range []struct {
		path, accept string
		code         int
		contentType  string
		holds        []string
	}{
		{"/statusz", "", 200, "text/plain; charset=utf-8", []string{"\nkubelet statusz\n", "\nStarted: Fri Jan  2 03:04:05 UTC 2026\n", "\nEmulation version: 1.37\n", "Paths: /configz /debug /flagz /healthz /logs /metrics /pods /stats /statusz\n"}},
		{"/statusz", "text/html, */*;q=0.1", 200, "text/plain; charset=utf-8", []string{"\nGo version: go"}},
		{"/statusz", statusz, 200, "application/json", []string{`"kind":"Statusz","apiVersion":"config.k8s.io/v1beta1","metadata":{"name":"kubelet"}`, `"startTime":"2026-01-02T03:04:05Z"`}},
		{"/statusz", flagz, 406, "text/plain; charset=utf-8", []string{"text/plain"}},
		{"/statusz", "application/json", 406, "text/plain; charset=utf-8", []string{"as=Statusz"}},
		{"/flagz", "", 200, "text/plain; charset=utf-8", []string{"\nkubelet flagz\n", "\nlisten: :10250\nnode-name: n1\n"}},
		{"/flagz", "nonsense/;;, " + flagz, 200, "application/json", []string{`"kind":"Flagz"`, `"flags":{"listen":":10250","node-name":"n1"}`}},
		{"/debug/pprof/heap", "", 405, "text/plain; charset=utf-8", []string{"profiling endpoint is disabled."}},
		{"/debug/flags/v", "", 405, "text/plain; charset=utf-8", []string{"flags endpoint is disabled."}},
		{"/metrics/cadvisor", "", 404, "text/plain; charset=utf-8", nil},
	} {
		w := ask(tt.path, tt.accept)
		if w.Code != tt.code || w.Header().Get("Content-Type") != tt.contentType {
			t.Errorf("%s as %q: %d %s\n%s", tt.path, tt.accept, w.Code, w.Header().Get("Content-Type"), w.Body)
		}
		for _, want := range tt.holds {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s as %q lacks %q:\n%s", tt.path, tt.accept, want, w.Body)
			}
		}
		if tt.contentType == "application/json" && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s as %q is no JSON: %s", tt.path, tt.accept, w.Body)
		}
	}
}

func TestPagesAreOnlyRead(t *testing.T) {
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		w := httptest.NewRecorder()
		pages.New(pages.Config{Pods: node{}, Metrics: prometheus.NewRegistry()}).ServeHTTP(w, httptest.NewRequest(method, "/pods", nil))
		if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d, %q is allowed", method, w.Code, w.Header().Get("Allow"))
		}
	}
}
