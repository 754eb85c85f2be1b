package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
)

// world is a Reader of objects by "resource/namespace/name".
type world map[string]kinds.Object

func (w world) Get(_ context.Context, r schema.GroupVersionResource, namespace, name string) (kinds.Object, error) {
	if obj, ok := w[r.Resource+"/"+namespace+"/"+name]; ok {
		return obj, nil
	}
	return nil, apierrors.NewNotFound(r.GroupResource(), name)
}

func (w world) List(context.Context, schema.GroupVersionResource, string) ([]kinds.Object, error) {
	return nil, nil
}

func (w world) ListOnly(context.Context, schema.GroupVersionResource, string, string) ([]kinds.Object, error) {
	return nil, nil
}

func (w world) Version(context.Context, schema.GroupVersionResource) (int64, error) { return 0, nil }

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-" + name)}
}

// newWorld has the account a/runner, the pod a/p of it on node n, and the
// Secrets a/plain and a/kept, of which the second is for a token.
func newWorld() world {
	return world{
		"serviceaccounts/a/runner": &corev1.ServiceAccount{ObjectMeta: meta("a", "runner")},
		"pods/a/p":                 &corev1.Pod{ObjectMeta: meta("a", "p"), Spec: corev1.PodSpec{ServiceAccountName: "runner", NodeName: "n"}},
		"nodes//n":                 &corev1.Node{ObjectMeta: meta("", "n")},
		"secrets/a/plain":          &corev1.Secret{ObjectMeta: meta("a", "plain"), Type: corev1.SecretTypeOpaque},
		"secrets/a/kept":           &corev1.Secret{ObjectMeta: meta("a", "kept"), Type: corev1.SecretTypeServiceAccountToken},
	}
}

func boundTo(kind, name string) *authenticationv1.BoundObjectReference {
	return &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: kind, Name: name, UID: types.UID("uid-" + name)}
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func mustKey(t testing.TB, private crypto.Signer) Key {
	t.Helper()
	key, err := NewKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// clock is a time that tests move.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newAccounts(t testing.TB, w world, change func(*Settings)) (*ServiceAccounts, *clock) {
	t.Helper()
	c := &clock{at: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	settings := Settings{Issuers: []string{DefaultIssuer}, Keys: []Key{mustKey(t, ecKey(t))}}
	if change != nil {
		change(&settings)
	}
	s, err := NewServiceAccounts(w, settings, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func issue(t testing.TB, s *ServiceAccounts, w world, spec authenticationv1.TokenRequestSpec) (*authenticationv1.TokenRequest, []string) {
	t.Helper()
	r := &authenticationv1.TokenRequest{Spec: spec}
	warnings, err := s.IssueToken(t.Context(), w["serviceaccounts/a/runner"], r)
	if err != nil {
		t.Fatal(err)
	}
	return r, warnings
}

func TestTokenLife(t *testing.T) {
	const year = 365 * 24 * time.Hour
	seconds := func(d time.Duration) *int64 { s := int64(d / time.Second); return &s }
	for _, c := range []struct {
		name   string
		asked  *int64
		bound  *authenticationv1.BoundObjectReference
		aud    []string
		max    time.Duration
		extend bool
		// told is what the answer says, works how long it is accepted.
		told, works time.Duration
		warns       bool
	}{
		{name: "by default", told: time.Hour, works: time.Hour},
		{name: "as asked", asked: seconds(2 * time.Hour), told: 2 * time.Hour, works: 2 * time.Hour},
		{name: "clamped", asked: seconds(year), max: 24 * time.Hour, told: 24 * time.Hour, works: 24 * time.Hour, warns: true},
		{name: "kept in a secret of its own", asked: seconds(year), bound: boundTo("Secret", "kept"), max: 24 * time.Hour, told: year, works: year},
		{name: "kept in any secret", asked: seconds(year), bound: boundTo("Secret", "plain"), max: 24 * time.Hour, told: 24 * time.Hour, works: 24 * time.Hour, warns: true},
		{name: "of a pod's volume", asked: seconds(mountedLife), bound: boundTo("Pod", "p"), extend: true, told: mountedLife, works: year},
		{name: "of a pod's volume, not extended", asked: seconds(mountedLife), bound: boundTo("Pod", "p"), told: mountedLife, works: mountedLife},
		{name: "of a pod, for others", asked: seconds(mountedLife), bound: boundTo("Pod", "p"), aud: []string{"vault"}, extend: true, told: mountedLife, works: mountedLife},
		{name: "as long, of no pod", asked: seconds(mountedLife), extend: true, told: mountedLife, works: mountedLife},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			s, now := newAccounts(t, w, func(s *Settings) { s.MaxLife, s.Extend = c.max, c.extend })
			r, warnings := issue(t, s, w, authenticationv1.TokenRequestSpec{ExpirationSeconds: c.asked, BoundObjectRef: c.bound, Audiences: c.aud})
			if (len(warnings) > 0) != c.warns {
				t.Errorf("warnings are %q", warnings)
			}
			start := now.at
			if told := r.Status.ExpirationTimestamp.Sub(start); told != c.told || *r.Spec.ExpirationSeconds != int64(c.told/time.Second) {
				t.Errorf("told to last %s (%d seconds), want %s", told, *r.Spec.ExpirationSeconds, c.told)
			}
			for at, want := range map[time.Duration]bool{0: true, c.works - time.Second: true, c.works + time.Second: false} {
				now.at = start.Add(at)
				if _, ok, err := s.AuthenticateToken(t.Context(), r.Status.Token, c.aud); ok != want || err != nil {
					t.Errorf("after %s accepted is %v (%v), want %v", at, ok, err, want)
				}
			}
		})
	}
}

func TestTokenEndsWithWhatItIsBoundTo(t *testing.T) {
	deleted := func(obj kinds.Object, at time.Time) kinds.Object {
		gone := obj.DeepCopyObject().(kinds.Object)
		gone.SetDeletionTimestamp(&metav1.Time{Time: at})
		return gone
	}
	again := func(obj kinds.Object) kinds.Object {
		other := obj.DeepCopyObject().(kinds.Object)
		other.SetUID("made-anew")
		return other
	}
	for _, c := range []struct {
		name  string
		bound *authenticationv1.BoundObjectReference
		// key is the object that changes.
		key    string
		change func(kinds.Object, time.Time) kinds.Object
		want   bool
	}{
		{"nothing changes", boundTo("Pod", "p"), "pods/a/p", func(o kinds.Object, _ time.Time) kinds.Object { return o }, true},
		{"the account goes", nil, "serviceaccounts/a/runner", nil, false},
		{"the account is made anew", nil, "serviceaccounts/a/runner", func(o kinds.Object, _ time.Time) kinds.Object { return again(o) }, false},
		{"the pod goes", boundTo("Pod", "p"), "pods/a/p", nil, false},
		{"the pod is made anew", boundTo("Pod", "p"), "pods/a/p", func(o kinds.Object, _ time.Time) kinds.Object { return again(o) }, false},
		{"the pod is being deleted", boundTo("Pod", "p"), "pods/a/p", func(o kinds.Object, now time.Time) kinds.Object { return deleted(o, now.Add(-time.Minute)) }, true},
		{"the pod has been being deleted for long", boundTo("Pod", "p"), "pods/a/p", func(o kinds.Object, now time.Time) kinds.Object { return deleted(o, now.Add(-61*time.Second)) }, false},
		{"the pod's node goes", boundTo("Pod", "p"), "nodes//n", nil, true},
		{"the secret goes", boundTo("Secret", "plain"), "secrets/a/plain", nil, false},
		{"the node goes", boundTo("Node", "n"), "nodes//n", nil, false},
		{"somebody else's pod goes", nil, "pods/a/p", nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			s, now := newAccounts(t, w, nil)
			r, _ := issue(t, s, w, authenticationv1.TokenRequestSpec{BoundObjectRef: c.bound})
			obj := w[c.key]
			delete(w, c.key)
			if c.change != nil {
				w[c.key] = c.change(obj, now.at)
			}
			if _, ok, err := s.AuthenticateToken(t.Context(), r.Status.Token, nil); ok != c.want || err != nil {
				t.Errorf("accepted is %v (%v), want %v", ok, err, c.want)
			}
		})
	}
}

func TestTokenTellsItsPod(t *testing.T) {
	w := newWorld()
	s, _ := newAccounts(t, w, nil)
	r, _ := issue(t, s, w, authenticationv1.TokenRequestSpec{BoundObjectRef: boundTo("Pod", "p")})
	id, ok, err := s.AuthenticateToken(t.Context(), r.Status.Token, nil)
	if err != nil || !ok {
		t.Fatalf("accepted is %v: %v", ok, err)
	}
	if len(id.Extra[extraCredential]) != 1 || !strings.HasPrefix(id.Extra[extraCredential][0], "JTI=") {
		t.Errorf("the credential is %q", id.Extra[extraCredential])
	}
	delete(id.Extra, extraCredential)
	want := identity.Identity{
		Name: "system:serviceaccount:a:runner", UID: "uid-runner",
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:a", identity.GroupAuthenticated},
		Extra:  map[string][]string{extraPod: {"p"}, extraPodUID: {"uid-p"}, extraNode: {"n"}, extraNodeUID: {"uid-n"}},
	}
	if diff := cmp.Diff(want, id); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
}

func TestKeysAndIssuersAreReplaced(t *testing.T) {
	w := newWorld()
	before := mustKey(t, ecKey(t))
	s, _ := newAccounts(t, w, func(s *Settings) { s.Keys, s.Issuers = []Key{before}, []string{"https://before"} })
	old, _ := issue(t, s, w, authenticationv1.TokenRequestSpec{Audiences: []string{"cluster"}})
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	next := mustKey(t, private)
	for _, c := range []struct {
		name    string
		keys    []Key
		issuers []string
		want    bool
	}{
		{"both keep verifying", []Key{next, before}, []string{"https://after", "https://before"}, true},
		{"the key is dropped", []Key{next}, []string{"https://after", "https://before"}, false},
		{"the issuer is dropped", []Key{next, before}, []string{"https://after"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := newAccounts(t, w, func(s *Settings) { s.Keys, s.Issuers, s.Audiences = c.keys, c.issuers, []string{"cluster"} })
			if _, ok, _ := s.AuthenticateToken(t.Context(), old.Status.Token, nil); ok != c.want {
				t.Errorf("an old token is accepted: %v, want %v", ok, c.want)
			}
			fresh, _ := issue(t, s, w, authenticationv1.TokenRequestSpec{})
			if _, ok, _ := s.AuthenticateToken(t.Context(), fresh.Status.Token, nil); !ok {
				t.Error("a new token is not accepted")
			}
		})
	}
}

func TestParseKeys(t *testing.T) {
	private := ecKey(t)
	block := func(kind string, der []byte, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	sec1, err := x509.MarshalECPrivateKey(private)
	signing := block("EC PRIVATE KEY", sec1, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	verifying, verr := x509.MarshalPKIXPublicKey(private.Public())
	public := block("PUBLIC KEY", verifying, verr)
	for name, c := range map[string]struct {
		text  string
		signs []bool // nil is an error
	}{
		"SEC 1":             {signing, []bool{true}},
		"PKCS #8":           {block("PRIVATE KEY", pkcs8, err), []bool{true}},
		"a public key":      {public, []bool{false}},
		"several":           {block("EC PARAMETERS", []byte{5, 0}, nil) + signing + public, []bool{true, false}},
		"nothing":           {"", nil},
		"something else":    {block("X509 CRL", []byte{1}, nil), nil},
		"a broken key":      {block("PRIVATE KEY", []byte{1}, nil), nil},
		"a key that cannot": {block("PUBLIC KEY", []byte{1}, nil), nil},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := ParseKeys([]byte(c.text))
			if (err != nil) != (c.signs == nil) {
				t.Fatalf("error %v", err)
			}
			var signs []bool
			for _, k := range keys {
				signs = append(signs, k.Signs())
			}
			if !slices.Equal(signs, c.signs) {
				t.Errorf("the keys sign: %v, want %v", signs, c.signs)
			}
		})
	}
}

// Whoever has nothing but the published documents can verify a token.
func TestDocumentsVerifyTokens(t *testing.T) {
	w := newWorld()
	s, _ := newAccounts(t, w, func(s *Settings) { s.Issuers = []string{"https://issuer.test/"} })
	documents, err := s.Documents()
	if err != nil {
		t.Fatal(err)
	}
	var about configuration
	if err := json.Unmarshal(documents["/.well-known/openid-configuration"].Content, &about); err != nil {
		t.Fatal(err)
	}
	if about.Issuer != "https://issuer.test/" || about.KeysURL != "https://issuer.test/openid/v1/jwks" || !slices.Equal(about.Algorithms, []string{"ES256"}) {
		t.Errorf("the configuration is %+v", about)
	}
	var set struct{ Keys []publicKey }
	if err := json.Unmarshal(documents["/openid/v1/jwks"].Content, &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("the keys are %+v: %v", set, err)
	}
	number := func(text string) *big.Int {
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || len(raw) != 32 {
			t.Fatalf("the coordinate %q has %d bytes: %v", text, len(raw), err)
		}
		return new(big.Int).SetBytes(raw)
	}
	point := append([]byte{4}, append(number(set.Keys[0].X).FillBytes(make([]byte, 32)), number(set.Keys[0].Y).FillBytes(make([]byte, 32))...)...)
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}
	r, _ := issue(t, s, w, authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}})
	token, err := jwt.Parse(r.Status.Token, func(*jwt.Token) (any, error) { return public, nil }, jwt.WithTimeFunc(s.now), jwt.WithAudience("vault"))
	if err != nil || token.Header["kid"] != set.Keys[0].ID {
		t.Errorf("the token does not verify: %v", err)
	}
	plain, _ := newAccounts(t, w, func(s *Settings) { s.Issuers = []string{"kubernetes"} })
	if documents, err := plain.Documents(); err != nil || len(documents) != 0 {
		t.Errorf("an issuer that is no URL publishes %v: %v", documents, err)
	}
}
