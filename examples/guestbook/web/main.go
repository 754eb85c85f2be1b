// Command web is the guestbook's face: a page with its entries and a form for
// new ones, and the same for programs.
//
//	GET  /          the page
//	POST /          the page's form
//	GET  /entries   all entries, one a line
//	POST /entries   appends the body as an entry
//	GET  /healthz   200 while the process works
//	GET  /readyz    200 while the store can be reached
//
// Its image holds nothing else, so that it is also the tool to try the
// guestbook from inside a pod:
//
//	web -get http://web/entries
//	web -post http://web/entries TEXT
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// drain is how long the server goes on after it was told to stop, so that
// nobody is sent to it any more when it does.
const drain = 2 * time.Second

func main() {
	listen := flag.String("listen", ":8080", "address to serve on")
	get := flag.String("get", "", "print what a URL returns, and end")
	post := flag.String("post", "", "send the arguments to a URL, and end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	switch {
	case *get != "":
		err = fetch(ctx, os.Stdout, http.MethodGet, *get, "")
	case *post != "":
		err = fetch(ctx, os.Stdout, http.MethodPost, *post, strings.Join(flag.Args(), " "))
	default:
		err = serve(ctx, *listen)
	}
	stop()
	if err != nil {
		slog.Error("web failed", "error", err)
		os.Exit(1)
	}
}

// fetch makes one request and prints the answer.
func fetch(ctx context.Context, out io.Writer, method, url, body string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(out, resp.Body); err != nil {
		return fmt.Errorf("read the answer of %s: %w", url, err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return nil
}

func serve(ctx context.Context, listen string) error {
	site := &site{
		store: &storeClient{url: cmp.Or(os.Getenv("STORE_URL"), "http://store"), http: &http.Client{Timeout: 5 * time.Second}},
		title: cmp.Or(os.Getenv("TITLE"), "Guestbook"),
		pod:   os.Getenv("POD_NAME"),
		node:  os.Getenv("NODE_NAME"),
	}
	server := &http.Server{Addr: listen, Handler: site.handler(), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	slog.Info("serving", "address", listen, "store", site.store.url)
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	slog.Info("stopping")
	site.stopping.Store(true)
	ending, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	time.Sleep(drain)
	return server.Shutdown(ending)
}

// site is what the server serves.
type site struct {
	store            *storeClient
	title, pod, node string
	// stopping makes the server unready before it stops.
	stopping atomic.Bool
}
