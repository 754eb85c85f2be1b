package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// fakeStore keeps entries in memory and refuses empty ones.
func fakeStore(t *testing.T) *httptest.Server {
	t.Helper()
	var entries []string
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /entries", func(w http.ResponseWriter, _ *http.Request) {
		for _, e := range entries {
			_, _ = io.WriteString(w, e+"\n")
		}
	})
	mux.HandleFunc("POST /entries", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if len(body) == 0 {
			http.Error(w, "an entry is one line of text", http.StatusBadRequest)
			return
		}
		entries = append(entries, string(body))
		w.WriteHeader(http.StatusCreated)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

func testSite(t *testing.T) *site {
	t.Helper()
	return &site{store: &storeClient{url: fakeStore(t).URL, http: http.DefaultClient}, title: "A title", pod: "web-0", node: "node-1"}
}

func call(s *site, method, target, contentType, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	req.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, req)
	return w
}

func TestSite(t *testing.T) {
	s := testSite(t)
	form := url.Values{"entry": {"<b>from the form</b>"}}.Encode()
	steps := []struct {
		name, method, target, contentType, body string
		code                                    int
		want                                    string
	}{
		{"an empty page", "GET", "/", "", "", http.StatusOK, "Nobody has signed yet."},
		{"a program's entry", "POST", "/entries", "text/plain", "hello", http.StatusCreated, ""},
		{"the form", "POST", "/", "application/x-www-form-urlencoded", form, http.StatusSeeOther, ""},
		{"the page escapes", "GET", "/", "", "", http.StatusOK, "<li>&lt;b&gt;from the form&lt;/b&gt;</li>"},
		{"the list", "GET", "/entries", "", "", http.StatusOK, "hello\n<b>from the form</b>\n"},
		{"an empty entry", "POST", "/entries", "text/plain", " ", http.StatusBadRequest, "one line"},
		{"too long", "POST", "/entries", "text/plain", strings.Repeat("x", maxEntry+1), http.StatusRequestEntityTooLarge, "1024"},
		{"elsewhere", "GET", "/nowhere", "", "", http.StatusNotFound, ""},
		{"alive", "GET", "/healthz", "", "", http.StatusOK, ""},
		{"ready", "GET", "/readyz", "", "", http.StatusOK, ""},
	}
	for _, tt := range steps {
		t.Run(tt.name, func(t *testing.T) {
			w := call(s, tt.method, tt.target, tt.contentType, tt.body)
			if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("got %d %q, want %d with %q", w.Code, w.Body, tt.code, tt.want)
			}
			if got := w.Header().Get("Served-By"); got != "web-0" {
				t.Errorf("served by %q", got)
			}
		})
	}
}

func TestUnready(t *testing.T) {
	s := testSite(t)
	s.stopping.Store(true)
	if w := call(s, "GET", "/readyz", "", ""); w.Code != http.StatusServiceUnavailable {
		t.Errorf("stopping: code %d", w.Code)
	}
	s = testSite(t)
	s.store.url = "http://127.0.0.1:1"
	if w := call(s, "GET", "/readyz", "", ""); w.Code != http.StatusServiceUnavailable {
		t.Errorf("without a store: code %d", w.Code)
	}
	if w := call(s, "GET", "/", "", ""); w.Code != http.StatusBadGateway {
		t.Errorf("page without a store: code %d", w.Code)
	}
	if w := call(s, "GET", "/healthz", "", ""); w.Code != http.StatusOK {
		t.Errorf("alive without a store: code %d", w.Code)
	}
}

func TestFetch(t *testing.T) {
	s := testSite(t)
	server := httptest.NewServer(s.handler())
	defer server.Close()
	var out bytes.Buffer
	if err := fetch(t.Context(), &out, http.MethodPost, server.URL+"/entries", "from a pod"); err != nil {
		t.Fatal(err)
	}
	if err := fetch(t.Context(), &out, http.MethodGet, server.URL+"/entries", ""); err != nil || out.String() != "from a pod\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
	if err := fetch(t.Context(), &out, http.MethodGet, server.URL+"/nowhere", ""); err == nil {
		t.Error("an error of the server is none of fetch's")
	}
}
