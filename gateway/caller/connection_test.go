package caller

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/metadata"
)

// TestConnectionsKnowTheirCaller makes requests on one connection: what one of
// them asks for must not show in the next.
func TestConnectionsKnowTheirCaller(t *testing.T) {
	ctx := ConnContext(context.Background(), nil)
	certificate := func(name string) *tls.ConnectionState {
		return &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: name, Organization: []string{"dev"}}}}}}
	}
	alice := certificate("alice")
	for _, tc := range []struct {
		name             string
		tls              *tls.ConnectionState
		header           http.Header
		user, actAs, tok string
	}{
		{"first", alice, nil, "alice", "", ""},
		{"impersonates", alice, http.Header{"Impersonate-User": {"bob"}}, "alice", "bob", ""},
		{"after it", alice, nil, "alice", "", ""},
		{"another certificate", certificate("carol"), nil, "carol", "", ""},
		{"no certificate", nil, http.Header{"Authorization": {"Bearer abc"}}, "", "", "Bearer abc"},
		{"the first again", alice, nil, "alice", "", ""},
	} {
		r := httptest.NewRequest("GET", "/", nil).WithContext(ctx)
		r.TLS = tc.tls
		if tc.header != nil {
			r.Header = tc.header
		}
		c, err := Of(r)
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		md, _ := metadata.FromOutgoingContext(c.NewContext(ctx))
		got := map[string][]string{keyUser: md.Get(keyUser), keyImpersonateUser: md.Get(keyImpersonateUser), keyAuthorization: md.Get(keyAuthorization)}
		want := map[string][]string{keyUser: one(tc.user), keyImpersonateUser: one(tc.actAs), keyAuthorization: one(tc.tok)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", tc.name, diff)
		}
	}
}

func one(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}
