package kinds

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func newECKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certificatePEM is a certificate for a key, signed by itself.
func certificatePEM(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestTrustBundles(t *testing.T) {
	key := newECKey(t, elliptic.P256())
	a := certificatePEM(t, key, nil)
	b := certificatePEM(t, key, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(2) })
	leaf := certificatePEM(t, key, func(c *x509.Certificate) { c.IsCA = false })
	headed := strings.Replace(a, "-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\nName: x\n\n", 1)
	odd := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}))
	garbage := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	bundle := func(name, signer, pems string) string {
		return fmt.Sprintf("metadata: {name: %q}\nspec: {signerName: %q, trustBundle: %q}", name, signer, pems)
	}
	problem := func(why string) string { return `spec.trustBundle: Invalid value: "<value omitted>": ` + why }
	kind := gvk("certificates.k8s.io/v1", "ClusterTrustBundle")
	testCreate(t, kind, []bad{
		{"of nobody", bundle("a.b", "", "text before\n"+a+"and between\n"+b), nil},
		{"of a signer", bundle("a.com:b:c", "a.com/b", a), nil},
		{"a generated name", fmt.Sprintf("metadata: {generateName: 'a.com:b:c-'}\nspec: {signerName: a.com/b, trustBundle: %q}", a), nil},
		{"a signer's name for nobody's", bundle("a.com:b:c", "", a), []string{`metadata.name: Invalid value: "a.com:b:c": ClusterTrustBundle without signer name must not have ":" in its name`}},
		{"another signer's name", bundle("a.com:x:c", "a.com/b", a), []string{`metadata.name: Invalid value: "a.com:x:c": ClusterTrustBundle for signerName a.com/b must be named with prefix a.com:b:`}},
		{"a name of no form", bundle("a.com:b:C", "a.com/b", a), []string{`metadata.name: Invalid value: "a.com:b:C": ` + subdomain1123}},
		{"a generated name of another", fmt.Sprintf("metadata: {generateName: 'c-'}\nspec: {signerName: a.com/b, trustBundle: %q}", a),
			[]string{`metadata.generateName: Invalid value: "c-": ClusterTrustBundle for signerName a.com/b must be named with prefix a.com:b:`}},
		{"no signer's name", bundle("a:b:c", "a/b", a), []string{`spec.signerName: Invalid value: "a": should be a domain with at least two segments separated by dots`}},
		{"nothing", bundle("a", "", "no certificates"), []string{problem("at least one trust anchor must be provided")}},
		{"what is no authority's", bundle("a", "", odd+headed+garbage+leaf+a), []string{problem("entry 0 has bad block type: PRIVATE KEY"),
			problem("entry 1 has PEM block headers"), problem("entry 2 does not parse as X.509"), problem("entry 3 does not have the CA bit set")}},
		{"twice the same", bundle("a", "", a+b+a), []string{problem("duplicate trust anchor (indices [0 2])")}},
		{"too much", bundle("a", "", strings.Repeat("x", 1<<20+1)), []string{"spec.trustBundle: Too long: may not be more than 1048576 bytes"}},
	})
	testUpdate(t, kind, false, []change{
		{"another signer", bundle("a", "", a), bundle("a", "a.com/b", a), []string{`spec.signerName: Invalid value: "a.com/b": field is immutable`}},
		{"others", bundle("a", "", a), bundle("a", "", b), nil},
		{"none", bundle("a", "", a), bundle("a", "", ""), []string{problem("at least one trust anchor must be provided")}},
		// Libraries become stricter; what they read once may stay.
		{"what was never right", bundle("a", "", garbage), "metadata: {labels: {a: b}}\n" + bundle("a", "", garbage)[len("metadata: {name: \"a\"}\n"):], nil},
	})
}

// stub is the request that an agent makes of a key.
func stub(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func requestOf(der []byte, more string) string {
	return "metadata: {namespace: a, name: r}\nspec: {signerName: a.com/b, podName: p, podUID: u, serviceAccountName: s, serviceAccountUID: v, nodeName: n, nodeUID: w, stubPKCS10Request: " +
		base64.StdEncoding.EncodeToString(der) + more + "}"
}

func TestPodCertificateRequests(t *testing.T) {
	ec := newECKey(t, elliptic.P256())
	der := stub(t, ec)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	short, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Clone(der)
	forged[len(forged)-1] ^= 1
	proof := func(why string) []string { return []string{"spec.stubPKCS10Request: Invalid value: " + why} }
	kind := gvk("certificates.k8s.io/v1", "PodCertificateRequest")
	testCreate(t, kind, []bad{
		{"an EC key", requestOf(der, ""), nil},
		{"another curve", requestOf(stub(t, newECKey(t, elliptic.P521())), ""), nil},
		{"an Edwards key", requestOf(stub(t, ed), ", unverifiedUserAnnotations: {A.com/b: anything}, maxExpirationSeconds: 7862400"), nil},
		{"a small curve", requestOf(stub(t, newECKey(t, elliptic.P224())), ""), proof(`"curve P-224": elliptic public keys must use curve P256, P384, or P521`)},
		{"a short key", requestOf(stub(t, short), ""), proof(`"2048-bit modulus": RSA keys must have modulus size 3072 or 4096`)},
		{"a key of somebody else", requestOf(forged, ""), proof("invalid signature")},
		{"no request", requestOf([]byte("x"), ""), proof("must be a valid PKCS#10 CSR")},
		{"nothing", requestOf(nil, ""), []string{"spec.stubPKCS10Request: Required value"}},
		{"too much", requestOf(make([]byte, 10<<10+1), ""), []string{"spec.stubPKCS10Request: Too long: may not be more than 10240 bytes"}},
		{"too short a life", requestOf(der, ", maxExpirationSeconds: 3599"), []string{"spec.maxExpirationSeconds: Invalid value: 3599: must be in the range [3600, 7862400]"}},
		{"too long a life", requestOf(der, ", maxExpirationSeconds: 7862401"), []string{"spec.maxExpirationSeconds: Invalid value: 7862401: must be in the range [3600, 7862400]"}},
		{"too long a life of Kubernetes'", strings.Replace(requestOf(der, ", maxExpirationSeconds: 86401"), "a.com/b", "x.kubernetes.io/b", 1),
			[]string{"spec.maxExpirationSeconds: Invalid value: 86401: must be in the range [3600, 86400]"}},
		{"annotations", requestOf(der, ", unverifiedUserAnnotations: {a: b}"), []string{`spec.unverifiedUserAnnotations: Invalid value: "a": must be a domain-prefixed key (such as "acme.io/foo")`}},
		{"names", "spec: {signerName: a, podName: P, podUID: " + strings.Repeat("u", 129) + ", serviceAccountName: S, nodeName: Q, stubPKCS10Request: " + base64.StdEncoding.EncodeToString(der) + "}", []string{
			`spec.signerName: Invalid value: "a": must be a fully qualified domain and path of the form 'example.com/signer-name'`,
			`spec.podName: Invalid value: "P": ` + subdomain1123, "spec.podUID: Too long: may not be more than 128 bytes",
			`spec.serviceAccountName: Invalid value: "S": ` + subdomain1123, `spec.serviceAccountUID: Invalid value: "": must not be empty`,
			`spec.nodeName: Invalid value: "Q": ` + subdomain1123, `spec.nodeUID: Invalid value: "": must not be empty`}},
	})
	k, old := readStored(t, kind, requestOf(der, ""))
	if got := old.(*certificatesv1.PodCertificateRequest).Spec.MaxExpirationSeconds; got == nil || *got != 86400 {
		t.Errorf("asks for %v seconds by default", got)
	}
	_, changed := readStored(t, kind, requestOf(der, ", maxExpirationSeconds: 3600"))
	if errs := k.Strategy.ValidateUpdate(changed, old); len(errs) != 1 || errs[0].Field != "spec" || errs[0].Detail != "field is immutable" {
		t.Errorf("another life: %v", errs)
	}
}

func TestAnswersToPodCertificateRequests(t *testing.T) {
	key := newECKey(t, elliptic.P256())
	kind := gvk("certificates.k8s.io/v1", "PodCertificateRequest")
	now := time.Now().UTC().Truncate(time.Second)
	leaf := func(change func(*x509.Certificate)) string {
		return certificatePEM(t, key, func(c *x509.Certificate) {
			c.IsCA, c.NotBefore, c.NotAfter = false, now, now.Add(2*time.Hour)
			if change != nil {
				change(c)
			}
		})
	}
	condition := func(kind, status string) string {
		return fmt.Sprintf("{type: %s, status: '%s', reason: R, message: m, lastTransitionTime: %q}", kind, status, now.Format(time.RFC3339))
	}
	issued := func(chain string, before, refresh, after time.Duration) string {
		at := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339) }
		return fmt.Sprintf("{conditions: [%s], certificateChain: %q, notBefore: %q, beginRefreshAt: %q, notAfter: %q}", condition("Issued", "True"), chain, at(before), at(refresh), at(after))
	}
	right := issued(leaf(nil), 0, time.Hour, 2*time.Hour)
	denied := "{conditions: [" + condition("Denied", "True") + "]}"
	other := certificatePEM(t, newECKey(t, elliptic.P256()), func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now, now.Add(2*time.Hour) })
	odd := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}))
	garbage := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	const final = "immutable after PodCertificateRequest is issued, denied, or failed"
	for _, c := range []struct {
		name, old, now string
		want           []string // field and the end of what is said
	}{
		{"issued", "{}", right, nil},
		{"issued with who signed it", "{}", issued(leaf(nil)+"text\n"+other, 0, time.Hour, 2*time.Hour), nil},
		{"denied", "{}", denied, nil},
		{"failed", "{}", "{conditions: [" + condition("Failed", "True") + "]}", nil},
		{"nothing", "{}", "{}", nil},
		{"issued as it was", right, right, nil},
		{"denied after it was issued", right, denied, []string{"status " + final}},
		{"issued after it was denied", denied, right, []string{"status " + final}},
		{"a certificate and no word", "{}", fmt.Sprintf("{certificateChain: %q}", leaf(nil)), []string{`status status is immutable unless transitioning to "Issued", "Denied", or "Failed"`}},
		{"denied with a certificate", "{}", "{certificateChain: x, " + denied[1:], []string{"status non-condition status fields must be empty when denying or failing the PodCertificateRequest"}},
		{"two words", "{}", "{conditions: [" + condition("Denied", "True") + ", " + condition("Failed", "True") + "]}", []string{
			`status.conditions[1].type There may be at most one condition with type "Issued", "Denied", or "Failed"`}},
		{"no word", "{}", "{conditions: [" + condition("Issued", "False") + ", " + condition("Odd", "True") + "]}", []string{
			`status.conditions[0].status supported values: "True"`, `status.conditions[1].type supported values: "Issued", "Denied", "Failed"`}},
		{"no certificate", "{}", issued("", 0, time.Hour, 2*time.Hour), []string{"status.certificateChain issued certificate chain must contain at least one certificate"}},
		{"a key", "{}", issued(odd, 0, time.Hour, 2*time.Hour), []string{"status.certificateChain issued certificate chain must consist entirely of CERTIFICATE PEM blocks"}},
		{"garbage", "{}", issued(garbage, 0, time.Hour, 2*time.Hour), []string{"status.certificateChain leaf certificate does not parse as valid X.509"}},
		{"a key behind it", "{}", issued(leaf(nil)+odd, 0, time.Hour, 2*time.Hour), []string{"status.certificateChain issued certificate chain must consist entirely of CERTIFICATE PEM blocks"}},
		{"garbage behind it", "{}", issued(leaf(nil)+garbage, 0, time.Hour, 2*time.Hour), []string{"status.certificateChain intermediate certificate does not parse as valid X.509"}},
		{"for another key", "{}", issued(other, 0, time.Hour, 2*time.Hour), []string{"status.certificateChain leaf certificate was not issued to the requested public key"}},
		{"too large", "{}", issued(strings.Repeat("x", 100<<10+1), 0, time.Hour, 2*time.Hour), []string{"status.certificateChain may not be more than 102400 bytes"}},
		{"odd addresses", "{}", issued(leaf(func(c *x509.Certificate) { c.EmailAddresses = []string{"x"} }), 0, time.Hour, 2*time.Hour), []string{
			"status.certificateChain leaf certificate should not contain invalid EmailAddress"}},
		{"no times", "{}", fmt.Sprintf("{conditions: [%s], certificateChain: %q}", condition("Issued", "True"), leaf(nil)), []string{
			"status.notBefore must be present and consistent with the issued certificate", "status.notAfter must be present and consistent with the issued certificate",
			"status.beginRefreshAt must be present and in the range [notbefore+10min, notafter-10min]"}},
		{"another beginning", "{}", issued(leaf(nil), time.Second, time.Hour, 2*time.Hour), []string{"status.notBefore must be set to the NotBefore time encoded in the leaf certificate"}},
		{"another end", "{}", issued(leaf(nil), 0, time.Hour, time.Hour), []string{"status.notAfter must be set to the NotAfter time encoded in the leaf certificate"}},
		{"an old one", "{}", issued(leaf(func(c *x509.Certificate) { c.NotBefore = now.Add(-time.Hour) }), -time.Hour, time.Hour, 2*time.Hour), []string{
			"status.notBefore must be set to within 5 minutes of kube-apiserver's current time"}},
		{"a short life", "{}", issued(leaf(func(c *x509.Certificate) { c.NotAfter = now.Add(time.Hour - time.Second) }), 0, time.Minute, time.Hour-time.Second), []string{
			"status.certificateChain leaf certificate lifetime must be >= 1 hour"}},
		{"a long life", "{}", issued(leaf(func(c *x509.Certificate) { c.NotAfter = now.Add(25 * time.Hour) }), 0, time.Hour, 25*time.Hour), []string{
			"status.certificateChain leaf certificate lifetime must be <= spec.maxExpirationSeconds (86400)"}},
		{"renewed at once", "{}", issued(leaf(nil), 0, time.Minute, 2*time.Hour), []string{"status.beginRefreshAt must be at least 10 minutes after status.notBefore"}},
		{"renewed too late", "{}", issued(leaf(nil), 0, 115*time.Minute, 2*time.Hour), []string{"status.beginRefreshAt must be at least 10 minutes before status.notAfter"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			request := requestOf(stub(t, key), "")
			k, old := readStored(t, kind, request+"\nstatus: "+c.old)
			_, changed := readStored(t, kind, request+"\nstatus: "+c.now)
			// What was asked for is not the signer's to write.
			changed.(*certificatesv1.PodCertificateRequest).Spec.PodName = "other"
			k.Strategy.PrepareForStatusUpdate(changed, old)
			var got []string
			for _, err := range k.Strategy.ValidateStatusUpdate(changed, old) {
				got = append(got, said(err))
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// said is the field that a cause is about, and what it says without the value.
func said(err *field.Error) string { return err.Field + " " + err.Detail }

func FuzzTrustBundles(f *testing.F) {
	f.Add(certificatePEM(f, newECKey(f, elliptic.P256()), nil))
	f.Add("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
	f.Fuzz(func(_ *testing.T, text string) { validateTrustBundle(text, field.NewPath("x")) })
}

func FuzzPodCertificateProofs(f *testing.F) {
	f.Add(stub(f, newECKey(f, elliptic.P256())))
	f.Fuzz(func(_ *testing.T, der []byte) { validateProof(der, field.NewPath("x")) })
}
