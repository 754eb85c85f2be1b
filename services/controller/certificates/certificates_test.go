package certificates

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/controller/runner"
	"navarch.dev/navarch/services/store/auth"
	"navarch.dev/navarch/services/store/storetest"
)

const (
	clientSigner  = certificatesv1.KubeAPIServerClientSignerName
	kubeletSigner = certificatesv1.KubeAPIServerClientKubeletSignerName
	servingSigner = certificatesv1.KubeletServingSignerName
)

var (
	forCalling = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}
	forServing = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}
)

// requestFor makes a CSR of a request's content.
func requestFor(t testing.TB, signer string, usages []certificatesv1.KeyUsage, template x509.CertificateRequest) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "r"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: signer, Usages: usages,
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
		},
	}
}

func subject(name string, groups ...string) x509.CertificateRequest {
	return x509.CertificateRequest{Subject: pkix.Name{CommonName: name, Organization: groups}}
}

func nodeRequest(change func(*x509.CertificateRequest)) x509.CertificateRequest {
	r := subject("system:node:n1", identity.GroupNodes)
	change(&r)
	return r
}

func TestSignersRules(t *testing.T) {
	serving := func(names ...string) x509.CertificateRequest {
		return nodeRequest(func(r *x509.CertificateRequest) { r.DNSNames = names })
	}
	for _, c := range []struct {
		name, signer string
		usages       []certificatesv1.KeyUsage
		request      x509.CertificateRequest
		want         string // "" is signed
	}{
		{"a user", clientSigner, forCalling, subject("ann", "devs"), ""},
		{"a user who serves", clientSigner, forServing, subject("ann"), "invalid usage"},
		{"a user without a use", clientSigner, forCalling[:1], subject("ann"), "missing required usage"},
		{"a master", clientSigner, forCalling, subject("ann", identity.GroupMasters), "not signed"},
		{"a gateway", clientSigner, forCalling, subject("ann", identity.GroupGateways), "not signed"},
		{"a node", kubeletSigner, forCalling, nodeRequest(func(*x509.CertificateRequest) {}), ""},
		{"a node of two groups", kubeletSigner, forCalling, subject("system:node:n1", identity.GroupNodes, identity.GroupMasters), "organization is not system:nodes"},
		{"a user as a node", kubeletSigner, forCalling, subject("ann", identity.GroupNodes), "does not begin with system:node:"},
		{"a node with names", kubeletSigner, forCalling, serving("a.test"), "DNS subjectAltNames are not allowed"},
		{"a node with addresses", kubeletSigner, forCalling, nodeRequest(func(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)} }), "IP subjectAltNames are not allowed"},
		{"a node with mail", kubeletSigner, forCalling, nodeRequest(func(r *x509.CertificateRequest) { r.EmailAddresses = []string{"a@b.test"} }), "Email subjectAltNames are not allowed"},
		{"a node with URIs", kubeletSigner, forCalling, nodeRequest(func(r *x509.CertificateRequest) { r.URIs = []*url.URL{{Scheme: "spiffe", Host: "x"}} }), "URI subjectAltNames are not allowed"},
		{"a node that serves", servingSigner, forServing, serving("n1", certs.NodeServerName("n1")), ""},
		{"a node that serves nothing", servingSigner, forServing, serving(), "DNS or IP subjectAltName is required"},
		{"a node that serves as the store", servingSigner, forServing, serving(certs.ServerName("store")), "another service's"},
		{"a node that serves as another", servingSigner, forServing, serving(strings.ToUpper(certs.NodeServerName("n2"))), "another service's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			csr := requestFor(t, c.signer, c.usages, c.request)
			request, err := parseRequest(csr)
			if err != nil {
				t.Fatal(err)
			}
			err = signers()[c.signer].accepts(csr, request)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestKeptUntil(t *testing.T) {
	made := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	since := func(kind certificatesv1.RequestConditionType) []certificatesv1.CertificateSigningRequestCondition {
		return []certificatesv1.CertificateSigningRequestCondition{{Type: kind, LastUpdateTime: metav1.NewTime(made.Add(time.Minute))}}
	}
	short := issued(t, made.Add(10*time.Minute))
	long := issued(t, made.Add(1000*time.Hour))
	for _, c := range []struct {
		name        string
		conditions  []certificatesv1.CertificateSigningRequestCondition
		certificate []byte
		want        time.Duration // 0 is for ever
	}{
		{"pending", nil, nil, 24 * time.Hour},
		{"approved, not signed", since(certificatesv1.CertificateApproved), nil, 0},
		{"signed", since(certificatesv1.CertificateApproved), long, time.Hour + time.Minute},
		{"signed for minutes", since(certificatesv1.CertificateApproved), short, 10 * time.Minute},
		{"denied", since(certificatesv1.CertificateDenied), nil, time.Hour + time.Minute},
		{"failed", since(certificatesv1.CertificateFailed), nil, time.Hour + time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			csr := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(made)}}
			csr.Status.Conditions, csr.Status.Certificate = c.conditions, c.certificate
			end, ends := keptUntil(csr)
			if ends != (c.want != 0) || ends && !end.Equal(made.Add(c.want)) {
				t.Errorf("kept until %v (%v), want %s after it was made", end, ends, c.want)
			}
		})
	}
}

func issued(t *testing.T, end time.Time) []byte {
	t.Helper()
	authority, err := certs.LoadOrCreate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	request, err := parseRequest(requestFor(t, clientSigner, forCalling, subject("ann")))
	if err != nil {
		t.Fatal(err)
	}
	start := end.Add(-12 * time.Hour)
	cert, err := authority.Sign(certs.Order{Request: request, Life: 12 * time.Hour}, start)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// world is a Store with its roles, and the three controllers over it.
type world struct {
	*storetest.Store
	t         *testing.T
	authority *certs.Authority
	// changes are all that becomes of requests; a request that has gone is nil.
	changes chan *certificatesv1.CertificateSigningRequest
}

func newWorld(t *testing.T, now func() time.Time) *world {
	t.Helper()
	w := &world{t: t, changes: make(chan *certificatesv1.CertificateSigningRequest, 100), Store: storetest.New(t, storetest.WithControl(auth.New(auth.DefaultConfig())), storetest.WithSeed(auth.Bootstrap()...))}
	var err error
	if w.authority, err = certs.LoadOrCreate(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	tel := telemetry.Discard("controller")
	metrics, err := runner.NewMetrics(tel.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	c := w.Client(identity.Service(identity.Controller))
	deps := runner.Deps{Client: c, Informers: client.NewInformers(c), Telemetry: tel, Metrics: metrics, Feed: runner.NewFeed()}
	for _, make := range []func() (*runner.Controller, error){
		func() (*runner.Controller, error) {
			return NewSigning(deps, SigningConfig{Authority: w.authority, Life: 24 * time.Hour})
		},
		func() (*runner.Controller, error) { return NewApproving(deps) },
		func() (*runner.Controller, error) { return NewCleaning(deps, now) },
	} {
		controller, err := make()
		if err != nil {
			t.Fatal(err)
		}
		go controller.Run(t.Context())
	}
	if err := deps.Informers.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.follow()
	return w
}

// follow begins to note what becomes of requests.
func (w *world) follow() {
	w.t.Helper()
	informer, err := client.NewInformer[*certificatesv1.CertificateSigningRequest](w.Client(storetest.Admin()), client.InformerOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	informer.AddHandler(client.Handler[*certificatesv1.CertificateSigningRequest]{
		OnAdd:    func(obj *certificatesv1.CertificateSigningRequest) { w.changes <- obj },
		OnUpdate: func(_, obj *certificatesv1.CertificateSigningRequest) { w.changes <- obj },
		OnDelete: func(*certificatesv1.CertificateSigningRequest) { w.changes <- nil },
	})
	go informer.Run(w.t.Context())
	<-informer.Synced()
}

// ask creates a request as somebody.
func (w *world) ask(who identity.Identity, csr *certificatesv1.CertificateSigningRequest) {
	w.t.Helper()
	if err := w.Client(who).Create(w.t.Context(), csr); err != nil {
		w.t.Fatal(err)
	}
}

// await waits until what becomes of the requests satisfies holds.
func (w *world) await(what string, holds func(*certificatesv1.CertificateSigningRequest) bool) *certificatesv1.CertificateSigningRequest {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case csr := <-w.changes:
			if holds(csr) {
				return csr
			}
		case <-deadline:
			w.t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func answered(csr *certificatesv1.CertificateSigningRequest) bool {
	return csr != nil && (len(csr.Status.Certificate) > 0 || has(csr, certificatesv1.CertificateFailed))
}

func (w *world) approve(csr *certificatesv1.CertificateSigningRequest) {
	w.t.Helper()
	approve := func() bool {
		csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue})
		return true
	}
	c := w.Client(storetest.Admin())
	if err := c.RetryOnConflict(w.t.Context(), csr, approve, func(ctx context.Context, o kinds.Object) error { return c.UpdateSubresource(ctx, o, "approval") }); err != nil {
		w.t.Fatal(err)
	}
}

// What an administrator approves is signed, for as long as was asked for.
func TestApprovedRequestIsSigned(t *testing.T) {
	w := newWorld(t, nil)
	csr := requestFor(t, clientSigner, forCalling, subject("ann", "devs"))
	seconds := int32(3600)
	csr.Spec.ExpirationSeconds = &seconds
	w.ask(storetest.Admin(), csr)
	w.approve(csr)
	csr = w.await("a certificate", answered)
	block, _ := pem.Decode(csr.Status.Certificate)
	if block == nil {
		t.Fatalf("there is no certificate: %+v", csr.Status)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: w.authority.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("the certificate does not verify: %v", err)
	}
	if id := identity.FromCertificate(cert); id.Name != "ann" || !id.InGroup("devs") || cert.IsCA {
		t.Errorf("the certificate is %+v's, an authority: %v", id, cert.IsCA)
	}
	if life := cert.NotAfter.Sub(cert.NotBefore); life != time.Hour {
		t.Errorf("it is good for %s, an hour was asked for", life)
	}
}

func TestUnfitRequestFails(t *testing.T) {
	w := newWorld(t, nil)
	csr := requestFor(t, kubeletSigner, forCalling, subject("ann"))
	w.ask(storetest.Admin(), csr)
	w.approve(csr)
	csr = w.await("an answer", answered)
	last := csr.Status.Conditions[len(csr.Status.Conditions)-1]
	if last.Type != certificatesv1.CertificateFailed || last.Reason != "SignerValidationFailure" || !strings.Contains(last.Message, "organization") {
		t.Errorf("the last condition is %+v", last)
	}
}

// A node renews its own certificates by itself; nobody else's, and not under
// any name.
func TestNodesRenewTheirOwn(t *testing.T) {
	own := nodeRequest(func(r *x509.CertificateRequest) { r.DNSNames = []string{certs.NodeServerName("n1")} })
	plain := nodeRequest(func(*x509.CertificateRequest) {})
	for _, c := range []struct {
		name   string
		who    identity.Identity
		csr    *certificatesv1.CertificateSigningRequest
		signed bool
	}{
		{"its own for calling", identity.Node("n1"), requestFor(t, kubeletSigner, forCalling, plain), true},
		{"its own for serving", identity.Node("n1"), requestFor(t, servingSigner, forServing, own), true},
		{"under an address", identity.Node("n1"), requestFor(t, servingSigner, forServing, nodeRequest(func(r *x509.CertificateRequest) {
			r.DNSNames, r.IPAddresses = own.DNSNames, []net.IP{net.IPv4(10, 0, 0, 1)}
		})), false},
		{"somebody a node's", storetest.Admin(), requestFor(t, servingSigner, forServing, own), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.ask(c.who, c.csr)
			if c.signed {
				if csr := w.await("a certificate", answered); csr.Status.Conditions[0].Reason != "AutoApproved" {
					t.Errorf("conditions are %+v", csr.Status.Conditions)
				}
				return
			}
			approver := &approving{client: w.Client(identity.Service(identity.Controller))}
			request, err := parseRequest(c.csr)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range permissions() {
				allowed, err := approver.allowed(t.Context(), c.csr, p.subresource)
				if err != nil {
					t.Fatal(err)
				}
				if p.applies(c.csr, request) && allowed {
					t.Errorf("%s lets it be approved", p.subresource)
				}
			}
		})
	}
}

func TestForgottenRequestIsRemoved(t *testing.T) {
	w := newWorld(t, func() time.Time { return time.Now().Add(25 * time.Hour) })
	w.ask(storetest.Admin(), requestFor(t, clientSigner, forCalling, subject("ann")))
	w.await("its removal", func(csr *certificatesv1.CertificateSigningRequest) bool { return csr == nil })
}
