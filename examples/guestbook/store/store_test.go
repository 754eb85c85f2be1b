package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func open(t *testing.T, path string) *book {
	t.Helper()
	b, err := openBook(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	return b
}

func TestPost(t *testing.T) {
	tests := []struct {
		name, body string
		want       int
	}{
		{"an entry", "hello\n", http.StatusCreated},
		{"nothing", " \n", http.StatusBadRequest},
		{"two lines", "a\nb", http.StatusBadRequest},
		{"too long", strings.Repeat("x", maxEntry+1), http.StatusRequestEntityTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := open(t, filepath.Join(t.TempDir(), "entries"))
			w := httptest.NewRecorder()
			handler(b).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/entries", strings.NewReader(tt.body)))
			if w.Code != tt.want {
				t.Errorf("code %d, want %d", w.Code, tt.want)
			}
			if kept := b.len() == 1; kept != (tt.want == http.StatusCreated) {
				t.Errorf("entries: %q", b.all())
			}
		})
	}
}

// TestEntriesLast closes the book in the middle of a write and opens it again.
func TestEntriesLast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "entries")
	b := open(t, path)
	for _, entry := range []string{"one", "two"} {
		if err := b.add(entry); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("thr"); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	b = open(t, path)
	if err := b.add("four"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler(open(t, path)))
	defer server.Close()
	resp, err := http.Get(server.URL + "/entries")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != "one\ntwo\nfour\n" {
		t.Errorf("got %q, %v", got, err)
	}
}
