package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/services/controller/controllertest"
)

// newRootCA is the PEM certificate of a new authority.
func newRootCA(t *testing.T) []byte {
	t.Helper()
	authority, err := certs.LoadOrCreate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return authority.CertPEM()
}

func TestAuthorityOfTheAPIIsPublished(t *testing.T) {
	c := controllertest.New(t)
	before, now := newRootCA(t), newRootCA(t)
	bundle := func(name, content string) *certificatesv1.ClusterTrustBundle {
		return &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: apiSigner, TrustBundle: content}}
	}
	foreign := bundle("a.com:b:c", string(before))
	foreign.Spec.SignerName = "a.com/b"
	c.Apply(bundle(bundleName(before), string(before)), foreign)
	c.Start(c.Controller(NewPublishing(c.Deps, now)))
	published := func(all []*certificatesv1.ClusterTrustBundle) bool {
		if len(all) != 2 {
			return false
		}
		for _, b := range all {
			if b.Name != foreign.Name && (b.Name != bundleName(now) || b.Spec.TrustBundle != string(now)) {
				return false
			}
		}
		return true
	}
	controllertest.Await(c, "the new authority in place of the old one", published)
	controllertest.Change(c, bundle(bundleName(now), ""), "", func(b *certificatesv1.ClusterTrustBundle) { b.Spec.TrustBundle = string(before) })
	controllertest.Await(c, "it restored", published)
	c.Remove(bundle(bundleName(now), ""), "")
	controllertest.Await(c, "it again", published)
}

func TestPodsRequestsAreRemoved(t *testing.T) {
	c := controllertest.New(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stub, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(&certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "r"},
		Spec: certificatesv1.PodCertificateRequestSpec{SignerName: "a.com/b", PodName: "p", PodUID: "u", ServiceAccountName: "s", ServiceAccountUID: "v",
			NodeName: "n", NodeUID: "w", StubPKCS10Request: stub},
	})
	early := c.Controller(NewPodCleaning(c.Deps, func() time.Time { return time.Now().Add(14 * time.Minute) }))
	late := c.Controller(NewPodCleaning(c.Deps, func() time.Time { return time.Now().Add(16 * time.Minute) }))
	c.Start()
	outcome, err := early.Reconcile(t.Context(), "default/r")
	if err != nil || outcome.After() <= 0 || outcome.After() > time.Minute {
		t.Errorf("waits %s before it removes a young request: %v", outcome.After(), err)
	}
	if _, err := late.Reconcile(t.Context(), "default/r"); err != nil {
		t.Fatal(err)
	}
	controllertest.Await(c, "its removal", func(all []*certificatesv1.PodCertificateRequest) bool { return len(all) == 0 })
}
