package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"strings"
)

//go:embed page.html
var pageText string

// maxEntry is the length of the longest entry, as the store has it.
const maxEntry = 1024

// handler serves the site.
func (s *site) handler() http.Handler {
	page := template.Must(template.New("page").Parse(pageText))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", s.ready)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { s.page(w, r, page) })
	mux.HandleFunc("POST /{$}", s.form)
	mux.HandleFunc("GET /entries", s.list)
	mux.HandleFunc("POST /entries", s.add)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Served-By", s.pod)
		mux.ServeHTTP(w, r)
	})
}

func (s *site) ready(w http.ResponseWriter, r *http.Request) {
	if s.stopping.Load() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	if err := s.store.healthy(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

func (s *site) page(w http.ResponseWriter, r *http.Request, page *template.Template) {
	entries, err := s.store.entries(r.Context())
	if err != nil {
		unavailable(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	err = page.Execute(w, map[string]any{"Title": s.title, "Pod": s.pod, "Node": s.node, "Entries": entries})
	if err != nil {
		slog.Warn("the page was not sent", "error", err)
	}
}

func (s *site) form(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4*maxEntry)
	if err := s.store.add(r.Context(), strings.TrimSpace(r.PostFormValue("entry"))); err != nil {
		unavailable(w, err)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *site) list(w http.ResponseWriter, r *http.Request) {
	entries, err := s.store.entries(r.Context())
	if err != nil {
		unavailable(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for _, entry := range entries {
		_, _ = fmt.Fprintln(w, entry) // the client has gone
	}
}

func (s *site) add(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEntry))
	if err != nil {
		http.Error(w, "an entry has at most 1024 bytes", http.StatusRequestEntityTooLarge)
		return
	}
	if err := s.store.add(r.Context(), strings.TrimSpace(string(body))); err != nil {
		unavailable(w, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// unavailable tells the client why the store did not do what it asked.
func unavailable(w http.ResponseWriter, err error) {
	var refused refusal
	if errors.As(err, &refused) {
		http.Error(w, refused.text, refused.code)
		return
	}
	slog.Warn("the store does not answer", "error", err)
	http.Error(w, "the store does not answer", http.StatusBadGateway)
}

// storeClient speaks with the store.
type storeClient struct {
	url  string
	http *http.Client
}

// refusal is the store's answer to a request that is the client's fault.
type refusal struct {
	code int
	text string
}

func (r refusal) Error() string { return r.text }

func (c *storeClient) healthy(ctx context.Context) error {
	_, err := c.do(ctx, http.MethodGet, "/healthz", "")
	return err
}

func (c *storeClient) entries(ctx context.Context) ([]string, error) {
	text, err := c.do(ctx, http.MethodGet, "/entries", "")
	if err != nil || text == "" {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n"), nil
}

func (c *storeClient) add(ctx context.Context, entry string) error {
	_, err := c.do(ctx, http.MethodPost, "/entries", entry)
	return err
}

func (c *storeClient) do(ctx context.Context, method, path, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("ask the store: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask the store: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return "", fmt.Errorf("read the store's answer: %w", err)
	case resp.StatusCode >= http.StatusInternalServerError:
		return "", fmt.Errorf("the store answered %s", resp.Status)
	case resp.StatusCode >= http.StatusBadRequest:
		return "", refusal{code: resp.StatusCode, text: strings.TrimSpace(string(text))}
	}
	return string(text), nil
}
