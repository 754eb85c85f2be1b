package pods_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/testcluster"
)

const testSigner = "signer.test/pods"

// authority signs for testSigner.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{key: key, cert: cert, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// answer fills in the status of a request. What has no annotation is denied.
func (a *authority) answer(r *certificatesv1.PodCertificateRequest) error {
	condition := metav1.Condition{Type: "Denied", Status: metav1.ConditionTrue, Reason: "NoName", Message: "signer.test/name is missing", LastTransitionTime: metav1.Now()}
	name := r.Spec.UnverifiedUserAnnotations["signer.test/name"]
	if name == "" {
		r.Status.Conditions = []metav1.Condition{condition}
		return nil
	}
	asked, err := x509.ParseCertificateRequest(r.Spec.StubPKCS10Request)
	if err != nil {
		return err
	}
	now := time.Now().Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: r.Spec.PodName}, DNSNames: []string{name},
		NotBefore: now, NotAfter: now.Add(time.Duration(*r.Spec.MaxExpirationSeconds) * time.Second),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, asked.PublicKey, a.key)
	if err != nil {
		return err
	}
	condition.Type, condition.Reason, condition.Message = "Issued", "Issued", ""
	before, refresh, after := metav1.NewTime(now), metav1.NewTime(now.Add(30*time.Minute)), metav1.NewTime(template.NotAfter)
	r.Status = certificatesv1.PodCertificateRequestStatus{
		Conditions:       []metav1.Condition{condition},
		CertificateChain: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		NotBefore:        &before, BeginRefreshAt: &refresh, NotAfter: &after,
	}
	return nil
}

// sign answers requests until the test ends.
func (s suite) sign(t *testing.T, a *authority) {
	t.Helper()
	requests := s.clients.CertificatesV1().PodCertificateRequests(namespace)
	ctx, cancel := context.WithCancel(context.Background())
	watch, err := requests.Watch(ctx, metav1.ListOptions{FieldSelector: "spec.signerName=" + testSigner})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { cancel(); watch.Stop(); <-ended })
	go func() {
		defer close(ended)
		for e := range watch.ResultChan() {
			r, ok := e.Object.(*certificatesv1.PodCertificateRequest)
			if !ok || len(r.Status.Conditions) > 0 {
				continue
			}
			err := a.answer(r)
			if err == nil {
				_, err = requests.UpdateStatus(ctx, r, metav1.UpdateOptions{})
			}
			if err != nil && ctx.Err() == nil {
				t.Errorf("answer %s: %v", r.Name, err)
			}
		}
	}()
}

// testCertificates has a pod wait for a trust bundle and then run with it, with
// the cluster's own, and with a certificate. Another one asks for what the signer
// does not give.
func (s suite) testCertificates(t *testing.T) {
	a := newAuthority(t)
	s.sign(t, a)
	s.create(t, "denied", `
volumes:
- {name: v, projected: {sources: [{podCertificate: {signerName: signer.test/pods, keyType: ED25519, credentialBundlePath: c}}]}}
containers: [{name: c, command: [sh], volumeMounts: [{name: v, mountPath: /v}]}]
`)
	s.create(t, "certified", `
volumes:
- name: v
  projected:
    sources:
    - {podCertificate: {signerName: signer.test/pods, keyType: ECDSAP256, maxExpirationSeconds: 3600, credentialBundlePath: both.pem, keyPath: key.pem, certificateChainPath: chain.pem, userAnnotations: {signer.test/name: p.test}}}
    - {clusterTrustBundle: {signerName: signer.test/pods, labelSelector: {}, path: ca.pem}}
    - {clusterTrustBundle: {signerName: kubernetes.io/kube-apiserver-serving, labelSelector: {}, path: api.pem}}
    - {clusterTrustBundle: {name: nobody, optional: true, path: none.pem}}
containers:
- name: c
  command: [sh, -c, 'cd /v; ls; cat both.pem; [ "$(cat key.pem chain.pem)" = "$(cat both.pem)" ] && [ "$(cat api.pem)" = "$(cat /var/run/secrets/kubernetes.io/serviceaccount/ca.crt)" ] && echo same; until grep -q MII ca.pem; do sleep 0.1; done; exec sleep 1000']
  volumeMounts: [{name: v, mountPath: /v}]
`)
	s.untilEvent(t, "certified", `Warning FailedMount MountVolume.SetUp failed for volume "v" : no clustertrustbundle of signer "signer.test/pods" matches`)
	bundle := &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: "signer.test:pods:ca"},
		Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: testSigner, TrustBundle: string(a.pem)}}
	if _, err := s.clients.CertificatesV1().ClusterTrustBundles().Create(t.Context(), bundle, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.untilReady(t, "certified")
	var wrote string
	testcluster.Eventually(t, "the pod has written all", func() error {
		if wrote = s.log(t, "certified", corev1.PodLogOptions{}); !strings.HasSuffix(wrote, "same\n") {
			return fmt.Errorf("it wrote\n%s", wrote)
		}
		return nil
	})
	files := "api.pem\nboth.pem\nca.pem\nchain.pem\nkey.pem\nnone.pem\n"
	rest, ok := strings.CutPrefix(wrote, files)
	if !ok {
		t.Errorf("the volume is\n%s\nwant the files\n%s", wrote, files)
	}
	pair, err := tls.X509KeyPair([]byte(rest), []byte(rest))
	if err != nil {
		t.Fatalf("%v\n%s", err, rest)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "p.test", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		t.Errorf("the certificate of %s: %v", pair.Leaf.Subject, err)
	}
	s.untilEvent(t, "denied", "Warning Denied PodCertificateRequest "+namespace+"/req-")
	s.untilEvent(t, "denied", `Warning FailedMount MountVolume.SetUp failed for volume "v" : PodCertificateRequest was permanently denied: reason="NoName" message="signer.test/name is missing"`)
	s.untilWaiting(t, "denied", "c", "ContainerCreating")
}
