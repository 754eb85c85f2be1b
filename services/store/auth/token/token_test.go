package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"navarch.dev/navarch/internal/identity"
)

func TestReadStatic(t *testing.T) {
	s, err := ReadStatic(strings.NewReader("# a comment\nsecret,ann,1,\"devs, ops\"\nother,bob,2\n"))
	if err != nil {
		t.Fatal(err)
	}
	id, ok, _ := s.AuthenticateToken(t.Context(), "secret", nil)
	if !ok || id.Name != "ann" || !slices.Equal(id.Groups, []string{"devs", "ops", identity.GroupAuthenticated}) {
		t.Errorf("secret is %+v, %v", id, ok)
	}
	if _, ok, _ := s.AuthenticateToken(t.Context(), "wrong", nil); ok {
		t.Error("a wrong token was accepted")
	}
	own := Own{Authenticator: s, Audiences: []string{"cluster"}}
	if _, ok, _ := own.AuthenticateToken(t.Context(), "secret", []string{"vault"}); ok {
		t.Error("accepted for another audience")
	}
	if _, ok, _ := own.AuthenticateToken(t.Context(), "secret", []string{"cluster"}); !ok {
		t.Error("not accepted for the cluster")
	}
	for _, bad := range []string{"a,b\n", ",b,c\n", "a,,c\n", "a,b,c\na,d,e\n", "\"a,b,c\n"} {
		if _, err := ReadStatic(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func FuzzReadStatic(f *testing.F) {
	f.Add("secret,ann,1,\"devs,ops\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ReadStatic(strings.NewReader(text))
		for _, id := range s {
			if err == nil && (id.Name == "" || !id.InGroup(identity.GroupAuthenticated)) {
				t.Errorf("%q gives %+v", text, id)
			}
		}
	})
}

// Nothing that the key did not sign may be accepted.
func FuzzParse(f *testing.F) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	key, err := NewKey(private)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("eyJhbGciOiJub25lIn0.eyJpc3MiOiJpIn0.")
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, raw string) {
		if _, ok := parse(raw, []Key{key}, []string{"i"}, time.Now); ok {
			t.Errorf("%q was accepted", raw)
		}
	})
}
