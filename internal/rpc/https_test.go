package rpc_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/telemetry"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// sharedPort serves gRPC and, over HTTPS, who asks. It returns the address.
func sharedPort(t *testing.T, bundle *certs.Bundle) string {
	t.Helper()
	server := rpc.NewServer(telemetry.Discard("agent"), rpc.ServerOptions{
		TLS: bundle.SharedServer(),
		HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/panic" {
				panic("on purpose")
			}
			name := ""
			if len(r.TLS.VerifiedChains) > 0 {
				name = r.TLS.VerifiedChains[0][0].Subject.CommonName
			}
			fmt.Fprintf(w, "%s by %q over %s", r.URL.Path, name, r.Proto)
		}),
	})
	storev1.RegisterStoreServiceServer(server, new(fixture))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

func TestSharedPort(t *testing.T) {
	issue := issuer(t)
	name := certs.NodeServerName("n1")
	address := sharedPort(t, issue(certs.Request{Identity: identity.Node("n1"), DNSNames: []string{name}}))
	ann := issue(certs.Request{Identity: identity.Identity{Name: "ann"}})
	stranger := issuer(t)(certs.Request{Identity: identity.Identity{Name: "eve"}})
	anonymous := func() *tls.Config {
		c := ann.Client(name)
		c.GetClientCertificate = nil
		return c
	}
	for _, tt := range []struct {
		what, path string
		client     *tls.Config
		change     func(*http.Transport)
		want       string // the answer; empty is none: how TLS fails depends on who is quicker
	}{
		{"without a certificate", "/a", anonymous(), nil, `/a by "" over HTTP/1.1`},
		{"with one", "/a", ann.Client(name), nil, `/a by "ann" over HTTP/1.1`},
		{"with that of another authority", "/a", func() *tls.Config {
			c := stranger.Client(name)
			c.RootCAs = ann.Roots()
			return c
		}(), nil, ""},
		{"by a client that prefers HTTP/2", "/a", anonymous(), func(tr *http.Transport) { tr.ForceAttemptHTTP2 = true }, `/a by "" over HTTP/1.1`},
		{"by one that says nothing of protocols", "/a", anonymous(), func(tr *http.Transport) {
			tr.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				return (&tls.Dialer{Config: anonymous()}).DialContext(ctx, network, address)
			}
		}, `/a by "" over HTTP/1.1`},
		{"with TLS 1.2", "/a", func() *tls.Config {
			c := anonymous()
			c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			return c
		}(), nil, `/a by "" over HTTP/1.1`},
		{"with HTTP/2 alone, as services do", "/a", func() *tls.Config {
			c := anonymous()
			c.NextProtos = []string{"h2"}
			return c
		}(), nil, ""},
		{"of what panics", "/panic", anonymous(), nil, ""},
		{"after that", "/b", anonymous(), nil, `/b by "" over HTTP/1.1`},
	} {
		transport := &http.Transport{TLSClientConfig: tt.client}
		if tt.change != nil {
			tt.change(transport)
		}
		got := ""
		resp, err := (&http.Client{Transport: transport}).Get("https://" + address + tt.path)
		if err == nil {
			var body []byte
			body, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			got = string(body)
		}
		transport.CloseIdleConnections()
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: %q, %v, want %q", tt.what, got, err, tt.want)
		}
	}
}

func TestSharedPortServesServices(t *testing.T) {
	issue := issuer(t)
	name := certs.NodeServerName("n1")
	address := sharedPort(t, issue(certs.Request{Identity: identity.Node("n1"), DNSNames: []string{name}}))
	conn, err := rpc.Dial(telemetry.Discard("test"), address, issue(certs.Request{Identity: identity.Service(identity.Gateway)}).Client(name))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	resp, err := storev1.NewStoreServiceClient(conn).Get(t.Context(), &storev1.GetRequest{Name: "x"})
	if err != nil || string(resp.GetObject().GetJson()) != "x" {
		t.Errorf("%v, %v", resp, err)
	}
}
