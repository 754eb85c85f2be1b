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

func TestOf(t *testing.T) {
	alice := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{
		Subject: pkix.Name{CommonName: "alice", Organization: []string{"dev"}},
	}}}}
	credential := []string{"authentication.kubernetes.io%2Fcredential-id=X509SHA256%3De3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
	anonymous := metadata.MD{keyUser: {"system:anonymous"}, keyGroup: {"system:unauthenticated"}}
	for _, tc := range []struct {
		name   string
		tls    *tls.ConnectionState
		header http.Header
		want   metadata.MD
		fails  bool
	}{
		{"nobody", nil, nil, anonymous, false},
		{"unverified certificate", &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}, nil, anonymous, false},
		{"certificate", alice, nil, metadata.MD{keyUser: {"alice"}, keyExtra: credential, keyGroup: {"dev", "system:authenticated"}}, false},
		{"certificate before token", alice, http.Header{"Authorization": {"Bearer abc"}},
			metadata.MD{keyUser: {"alice"}, keyExtra: credential, keyGroup: {"dev", "system:authenticated"}}, false},
		{"token", nil, http.Header{"Authorization": {"bearer  abc"}}, metadata.MD{keyAuthorization: {"Bearer abc"}}, false},
		{"basic is not known", nil, http.Header{"Authorization": {"Basic abc"}}, anonymous, false},
		{"forged header", nil, http.Header{"Navarch-Remote-User": {"admin"}}, anonymous, false},
		{"impersonation", alice, http.Header{"Impersonate-User": {"bob"}, "Impersonate-Group": {"a", "b"}, "Impersonate-Uid": {"7"}, "Impersonate-Extra-Scopes": {"x"}},
			metadata.MD{keyUser: {"alice"}, keyExtra: credential, keyGroup: {"dev", "system:authenticated"}, keyImpersonateUser: {"bob"},
				keyImpersonateGroup: {"a", "b"}, keyImpersonateUID: {"7"}, keyImpersonateExtra: {"scopes=x"}}, false},
		{"group without user", alice, http.Header{"Impersonate-Group": {"a"}}, nil, true},
		{"extra key with a slash", alice, http.Header{"Impersonate-User": {"bob"}, "Impersonate-Extra-A.test%2fb": {"x=y", "ü"}},
			metadata.MD{keyUser: {"alice"}, keyExtra: credential, keyGroup: {"dev", "system:authenticated"}, keyImpersonateUser: {"bob"},
				keyImpersonateExtra: {"a.test%2Fb=x%3Dy", "a.test%2Fb=%C3%BC"}}, false},
		{"token with a control character", nil, http.Header{"Authorization": {"Bearer a\x01b"}}, nil, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.TLS = tc.tls
			if tc.header != nil {
				r.Header = tc.header
			}
			c, err := Of(r)
			if (err != nil) != tc.fails {
				t.Fatalf("error %v, want one: %v", err, tc.fails)
			}
			if tc.fails {
				return
			}
			got, _ := metadata.FromOutgoingContext(c.NewContext(context.Background()))
			for k, v := range got {
				if len(v) == 0 {
					delete(got, k)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
