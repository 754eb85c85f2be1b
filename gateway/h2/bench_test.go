package h2

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// BenchmarkEvents tells an event to fifty streams of a connection, beside the
// server of net/http. The client's share is the same in both.
func BenchmarkEvents(b *testing.B) {
	const streams = 50
	event := bytes.Repeat([]byte{'e'}, 500)
	for name, start := range map[string]func(testing.TB, http.HandlerFunc) *httptest.Server{
		"h2":       func(t testing.TB, h http.HandlerFunc) *httptest.Server { return serve(t, h, nil) },
		"net-http": serveByNetHTTP,
	} {
		b.Run(name, func(b *testing.B) {
			var begun, told sync.WaitGroup
			var wake [streams]chan struct{}
			ts := start(b, func(w http.ResponseWriter, r *http.Request) {
				var n int
				_, _ = fmt.Sscanf(r.URL.Path, "/%d", &n)
				flush := http.NewResponseController(w).Flush
				_ = flush()
				for range wake[n] {
					_, _ = w.Write(event)
					_ = flush()
				}
			})
			client := ts.Client()
			begun.Add(streams)
			for n := range streams {
				wake[n] = make(chan struct{}, 1)
				resp, err := client.Get(fmt.Sprintf("%s/%d", ts.URL, n)) //nolint:noctx // it ends by itself
				if err != nil {
					b.Fatal(err)
				}
				go func() {
					defer func() { _ = resp.Body.Close() }()
					begun.Done()
					got := make([]byte, len(event))
					for {
						if _, err := io.ReadFull(resp.Body, got); err != nil {
							return
						}
						told.Done()
					}
				}()
			}
			begun.Wait()
			for b.Loop() {
				told.Add(streams)
				for _, w := range wake {
					w <- struct{}{}
				}
				told.Wait()
			}
			for _, w := range wake {
				close(w)
			}
		})
	}
}

func serveByNetHTTP(t testing.TB, h http.HandlerFunc) *httptest.Server {
	ts := httptest.NewUnstartedServer(h)
	ts.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	ts.EnableHTTP2 = true
	ts.StartTLS()
	t.Cleanup(ts.Close)
	return ts
}
