package h2

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// serve starts a server and returns it and its address.
func serve(t testing.TB, handler http.HandlerFunc, configure func(*http.Server)) *httptest.Server {
	t.Helper()
	ts := httptest.NewUnstartedServer(handler)
	ts.Listener = Listener(ts.Listener)
	ts.TLS = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	ts.Config.ErrorLog = log.New(io.Discard, "", 0)
	if configure != nil {
		configure(ts.Config)
	}
	Configure(ts.Config, 100)
	ts.EnableHTTP2 = true
	ts.StartTLS()
	t.Cleanup(ts.Close)
	return ts
}

// get returns an answer and its body.
func get(t testing.TB, client *http.Client, method, url string, body io.Reader) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(content)
}

func TestAnswers(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 40<<10) // more than any window or buffer
	for _, tc := range []struct {
		name    string
		method  string
		body    string
		handler http.HandlerFunc
		status  int
		want    string
		header  map[string]string
		length  int64
	}{
		{
			name: "nothing", handler: func(http.ResponseWriter, *http.Request) {}, status: 200,
			header: map[string]string{"Content-Length": "0"},
		}, {
			name: "a short one has its length and its type", status: 200, want: "<html>", length: 6,
			handler: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
			header:  map[string]string{"Content-Type": "text/html; charset=utf-8"},
		}, {
			name: "a long one", status: 201, want: long, length: -1,
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, long)
			},
		}, {
			name: "headers are those of the time of WriteHeader", status: 404, length: 0,
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Before", "yes")
				w.WriteHeader(http.StatusNotFound)
				w.Header().Set("X-After", "yes")
				w.WriteHeader(http.StatusOK)
			},
			header: map[string]string{"X-Before": "yes", "X-After": ""},
		}, {
			name: "no header of connections", status: 200, length: 0,
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Connection", "close")
				w.Header().Set("Bad name", "x")
				w.Header().Set("Bad-Value", "a\nb")
			},
			header: map[string]string{"Connection": "", "Bad name": "", "Bad-Value": ""},
		}, {
			name: "no body at 204", status: 204, length: 0,
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusNoContent)
				if _, err := io.WriteString(w, "x"); !errors.Is(err, http.ErrBodyNotAllowed) {
					panic(err)
				}
			},
		}, {
			name: "head", method: http.MethodHead, status: 200, length: 3,
			handler: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "abc") },
		}, {
			name: "an echo", method: http.MethodPost, body: long, status: 200, want: long, length: -1,
			handler: func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) },
		}, {
			name: "an answer before the body is read", method: http.MethodPost, body: long, status: 413, want: "no\n", length: 3,
			handler: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusRequestEntityTooLarge) },
		}, {
			name: "more than was declared", status: 200, want: "ab", length: 2,
			handler: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "2")
				_, _ = io.WriteString(w, "ab")
				if _, err := io.WriteString(w, "c"); !errors.Is(err, http.ErrContentLength) {
					panic(err)
				}
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ts := serve(t, tc.handler, nil)
			var body io.Reader
			if tc.body != "" {
				body = strings.NewReader(tc.body)
			}
			resp, got := get(t, ts.Client(), tc.method, ts.URL, body)
			if resp.ProtoMajor != 2 || resp.StatusCode != tc.status || got != tc.want {
				t.Errorf("%s %d with %d bytes, want %d with %d", resp.Proto, resp.StatusCode, len(got), tc.status, len(tc.want))
			}
			if tc.header["Content-Length"] == "" && resp.ContentLength != tc.length {
				t.Errorf("its length is %d, want %d", resp.ContentLength, tc.length)
			}
			for name, want := range tc.header {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if resp.Header.Get("Date") == "" {
				t.Error("it has no date")
			}
		})
	}
}

func TestRequests(t *testing.T) {
	var got *http.Request
	var trailer http.Header
	ts := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		got, trailer = r, r.Trailer
	}, nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ts.URL+"/a%2Fb?c=d", io.MultiReader(strings.NewReader("body")))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "elsewhere.example"
	req.Header["X-Many"] = []string{"1", "2"}
	req.Trailer = http.Header{"X-After": {"last"}}
	resp, err := ts.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got.Host != "elsewhere.example" || got.URL.RawPath != "/a%2Fb" || got.RequestURI != "/a%2Fb?c=d" || got.ContentLength != -1 || got.TLS == nil || got.RemoteAddr == "" {
		t.Errorf("the request is %+v", got)
	}
	if many := got.Header["X-Many"]; len(many) != 2 || trailer.Get("X-After") != "last" || got.Header.Get("Trailer") != "" {
		t.Errorf("its header is %v, its trailer %v", got.Header, trailer)
	}
}

func TestTrailers(t *testing.T) {
	ts := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Announced")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Announced", "1")
		w.Header().Set(http.TrailerPrefix+"X-Sudden", "2")
	}, nil)
	resp, body := get(t, ts.Client(), http.MethodGet, ts.URL, nil)
	if body != "body" || resp.Trailer.Get("X-Announced") != "1" || resp.Trailer.Get("X-Sudden") != "2" || resp.Header.Get("X-Announced") != "" {
		t.Errorf("body %q, header %v, trailer %v", body, resp.Header, resp.Trailer)
	}
}

func TestContinue(t *testing.T) {
	ts := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Expect") != "" {
			t.Error("the handler sees what the server does")
		}
		_, _ = io.Copy(w, r.Body)
	}, nil)
	client := ts.Client()
	client.Transport.(*http.Transport).ExpectContinueTimeout = time.Hour
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, ts.URL, strings.NewReader("wanted"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Expect", "100-continue")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, err := io.ReadAll(resp.Body); string(body) != "wanted" || err != nil {
		t.Errorf("the answer is %q: %v", body, err)
	}
}

func TestFlushSendsAtOnceAndClientsMayLeave(t *testing.T) {
	ended := make(chan error, 1)
	ts := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		var err error
		for err == nil { // until the stream is known to have ended
			if _, err = io.WriteString(w, "more\n"); err == nil {
				err = http.NewResponseController(w).Flush()
			}
		}
		ended <- err
	}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, ts.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := ts.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 6)
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "first\n" {
		t.Fatalf("read %q: %v", first, err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, errGone) {
		t.Errorf("the handler's writes fail with %v, want %v", err, errGone)
	}
}

func TestReadDeadline(t *testing.T) {
	ts := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now())
		if _, err := io.ReadAll(r.Body); !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
			t.Errorf("reading fails with %v, want that the deadline has passed", err)
		}
		w.WriteHeader(http.StatusRequestTimeout)
	}, nil)
	body, never := io.Pipe()
	defer func() { _ = never.Close() }()
	resp, _ := get(t, ts.Client(), http.MethodPost, ts.URL, body)
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("the status is %d", resp.StatusCode)
	}
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

func TestPanicsEndTheStream(t *testing.T) {
	for name, value := range map[string]any{"a cut": http.ErrAbortHandler, "a panic": "on purpose"} {
		t.Run(name, func(t *testing.T) {
			var logged bytes.Buffer
			ts := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/panic" {
					_, _ = io.WriteString(w, "half")
					_ = http.NewResponseController(w).Flush()
					panic(value)
				}
			}, func(hs *http.Server) { hs.ErrorLog = log.New(&logged, "", 0) })
			resp, err := ts.Client().Get(ts.URL + "/panic") //nolint:noctx // it ends by itself
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(resp.Body); err == nil {
				t.Error("half an answer looks whole")
			}
			_ = resp.Body.Close()
			if resp, _ := get(t, ts.Client(), http.MethodGet, ts.URL, nil); resp.StatusCode != http.StatusOK {
				t.Errorf("the next request gets %d", resp.StatusCode)
			}
			if said := logged.String(); (said != "") != (name == "a panic") {
				t.Errorf("logged %q", said)
			}
		})
	}
}

// TestManyStreams has many answers go over one connection at a time, each of which
// exceeds the windows, and checks all bytes.
func TestManyStreams(t *testing.T) {
	ts := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for n := range 2000 {
			_, _ = fmt.Fprintf(w, "%s %d\n", r.URL.Path, n)
			if n%7 == 0 {
				_ = http.NewResponseController(w).Flush()
			}
		}
		_, _ = w.Write(bytes.Repeat([]byte{'.'}, 100_000))
	}, nil)
	var all sync.WaitGroup
	for n := range 60 {
		all.Go(func() {
			path := fmt.Sprintf("/%d", n)
			var want strings.Builder
			for n := range 2000 {
				_, _ = fmt.Fprintf(&want, "%s %d\n", path, n)
			}
			want.WriteString(strings.Repeat(".", 100_000))
			resp, err := ts.Client().Get(ts.URL + path) //nolint:noctx // it ends by itself
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = resp.Body.Close() }()
			if got, err := io.ReadAll(resp.Body); err != nil || string(got) != want.String() {
				t.Errorf("%s: %d bytes, want %d: %v", path, len(got), want.Len(), err)
			}
		})
	}
	all.Wait()
}

func TestShutdownLetsRequestsFinish(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	ts := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-release
		_, _ = io.WriteString(w, "done")
	}, nil)
	answer := make(chan string, 1)
	go func() {
		resp, err := ts.Client().Get(ts.URL) //nolint:noctx // it ends by itself
		if err != nil {
			answer <- err.Error()
			return
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		answer <- fmt.Sprint(string(body), err)
	}()
	<-begun
	down := make(chan error, 1)
	go func() { down <- ts.Config.Shutdown(t.Context()) }()
	select {
	case err := <-down:
		t.Fatalf("the server did not wait for the request: %v", err)
	case release <- struct{}{}:
	}
	if got := <-answer; got != "done<nil>" {
		t.Errorf("the answer is %q", got)
	}
	if err := <-down; err != nil {
		t.Errorf("shut down: %v", err)
	}
}
