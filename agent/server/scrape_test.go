package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"navarch.dev/navarch/internal/identity"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

var controller = identity.Service(identity.Controller)

func TestOnlyTheControllerScrapes(t *testing.T) {
	for _, tt := range []struct {
		id   identity.Identity
		want codes.Code
	}{
		{controller, codes.FailedPrecondition}, // it came as far as the pod, which has no network
		{gateway, codes.PermissionDenied},
		{identity.Identity{Name: "admin", Groups: []string{identity.GroupMasters}}, codes.PermissionDenied},
		{identity.Service(identity.Scheduler), codes.PermissionDenied},
		{identity.Node("n2"), codes.PermissionDenied},
		{identity.Identity{}, codes.PermissionDenied},
	} {
		_, err := serve(tt.id).Scrape(t.Context(), &nodev1.ScrapeRequest{Namespace: "default", Pod: "web", Port: 80, Path: "/metrics"})
		if status.Code(err) != tt.want {
			t.Errorf("%q: %v, want %v", tt.id.Name, err, tt.want)
		}
	}
}

func TestScrapeRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		req  *nodev1.ScrapeRequest
		want codes.Code
		text string
	}{
		"no port":                  {&nodev1.ScrapeRequest{Pod: "web", Path: "/"}, codes.InvalidArgument, "port: 0 is not between 1 and 65535"},
		"a port too large":         {&nodev1.ScrapeRequest{Pod: "web", Path: "/", Port: 65536}, codes.InvalidArgument, "port: 65536 is not"},
		"no path":                  {&nodev1.ScrapeRequest{Pod: "web", Port: 80}, codes.InvalidArgument, `path: "" is not a path`},
		"another host":             {&nodev1.ScrapeRequest{Pod: "web", Port: 80, Path: "http://10.0.0.1/"}, codes.InvalidArgument, "is not a path that begins with a slash"},
		"a path that is none":      {&nodev1.ScrapeRequest{Pod: "web", Port: 80, Path: "/%zz"}, codes.InvalidArgument, "is not a path"},
		"a path without end":       {&nodev1.ScrapeRequest{Pod: "web", Port: 80, Path: "/" + strings.Repeat("a", 2048)}, codes.InvalidArgument, "path: 2049 bytes are more than 2048"},
		"an unknown scheme":        {&nodev1.ScrapeRequest{Pod: "web", Port: 80, Path: "/", Scheme: 9}, codes.InvalidArgument, "scheme: 9 is neither HTTP nor HTTPS"},
		"no such pod":              {&nodev1.ScrapeRequest{Pod: "none", Port: 80, Path: "/"}, codes.NotFound, ""},
		"another pod of that name": {&nodev1.ScrapeRequest{Pod: "web", PodUid: "other", Port: 80, Path: "/"}, codes.NotFound, "with the UID other"},
		"a pod in its node's net":  {&nodev1.ScrapeRequest{Pod: "web", Port: 80, Path: "/"}, codes.FailedPrecondition, "has no network of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.req.Namespace = "default"
			_, err := serve(controller).Scrape(t.Context(), tt.req)
			if status.Code(err) != tt.want || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v, want %v: %s", err, tt.want, tt.text)
			}
		})
	}
}

// pages is a pod's web server.
func pages(w http.ResponseWriter, req *http.Request) {
	switch req.URL.Path {
	case "/metrics":
		_, _ = w.Write([]byte("up 1 " + req.URL.RawQuery + " " + req.Header.Get("Accept")))
	case "/elsewhere":
		http.Redirect(w, req, "http://192.0.2.1/metrics", http.StatusFound)
	case "/endless":
		for req.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	case "/short":
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("up"))
	case "/headers":
		w.Header().Set("X", strings.Repeat("a", 1<<20))
	case "/largest":
		_, _ = w.Write(make([]byte, maxPage))
	default:
		http.NotFound(w, req)
	}
}

func TestReadPage(t *testing.T) {
	for name, tt := range map[string]struct {
		path  string
		err   string
		large bool
	}{
		"a page":               {"/metrics?a=b", "", false},
		"the largest":          {"/largest", "", false},
		"a larger one":         {"/endless", "the page is larger than 4194304 bytes", true},
		"no redirect is taken": {"/elsewhere", "302 Found", false},
		"nothing there":        {"/none", "404 Not Found", false},
		"less than announced":  {"/short", "read the page: unexpected EOF", false},
		"headers without end":  {"/headers", "ask for the page", false},
	} {
		for scheme, start := range map[string]func(http.Handler) *httptest.Server{"http": httptest.NewServer, "https": httptest.NewTLSServer} {
			t.Run(name+" over "+scheme, func(t *testing.T) {
				server := start(http.HandlerFunc(pages))
				defer server.Close()
				target, err := pageOf(&nodev1.ScrapeRequest{Port: 80, Path: tt.path})
				if err != nil {
					t.Fatal(err)
				}
				target.Scheme, target.Host = scheme, "10.0.0.1:80"
				page, err := readPage(t.Context(), target, dialTo(server))
				if (err == nil) != (tt.err == "") || (err != nil && !strings.Contains(err.Error(), tt.err)) || errors.Is(err, errPageTooLarge) != tt.large {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				if name == "a page" && string(page) != "up 1 a=b "+textFormat {
					t.Errorf("page %q", page)
				}
			})
		}
	}
}

// dialTo connects to a server, whatever the address.
func dialTo(server *httptest.Server) dialer {
	return func(ctx context.Context, _ string) (net.Conn, error) {
		at, err := url.Parse(server.URL)
		if err != nil {
			return nil, err
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", at.Host)
	}
}
