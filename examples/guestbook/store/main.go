// Command store keeps the guestbook's entries in a file and serves them:
//
//	GET  /entries   all entries, one a line, the oldest first
//	POST /entries   appends the body as an entry
//	GET  /healthz   200 while it can serve
//
// An entry is on disk before its POST is answered.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", ":8080", "address to serve on")
	file := flag.String("file", "/data/entries", "file that holds the entries")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *listen, *file)
	stop()
	if err != nil {
		slog.Error("store failed", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen, file string) error {
	book, err := openBook(file)
	if err != nil {
		return err
	}
	defer book.close()
	server := &http.Server{Addr: listen, Handler: handler(book), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	slog.Info("serving", "address", listen, "file", file, "entries", book.len())
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	slog.Info("stopping")
	return server.Shutdown(ending)
}

// handler serves a book.
func handler(b *book) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /entries", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		for _, entry := range b.all() {
			_, _ = fmt.Fprintln(w, entry) // the client has gone
		}
	})
	mux.HandleFunc("POST /entries", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEntry))
		if err != nil {
			http.Error(w, "an entry has at most 1024 bytes", http.StatusRequestEntityTooLarge)
			return
		}
		switch err := b.add(strings.TrimSpace(string(body))); {
		case errors.Is(err, errNotOneLine):
			http.Error(w, err.Error(), http.StatusBadRequest)
		case err != nil:
			slog.Error("could not keep an entry", "error", err)
			http.Error(w, "the entry could not be kept", http.StatusInternalServerError)
		default:
			w.WriteHeader(http.StatusCreated)
		}
	})
	return mux
}
