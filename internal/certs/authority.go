// Package certs makes and loads the certificates of a cluster. A cluster has
// one authority; every service, node and user has a certificate from it whose
// subject is its identity: the common name is the name, the organizations are
// the groups, as in Kubernetes.
//
// A second authority vouches for the front proxy only: for who says to other API
// servers on whose behalf a request comes.
//
// On disk an authority is ca.crt and ca.key, or the same with a name before it,
// and each issued certificate NAME.crt and NAME.key, PEM, the keys readable by
// their owner only.
package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"navarch.dev/navarch/internal/atomicfile"
	"navarch.dev/navarch/internal/identity"
)

const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	leafLifetime      = 365 * 24 * time.Hour
	// renewedAfter is the part of its life, in percent, after which a certificate
	// is made anew.
	renewedAfter = 80
	// backdate tolerates clocks that are behind.
	backdate = 5 * time.Minute
)

// Authority signs certificates.
type Authority struct {
	cert    *x509.Certificate
	certPEM []byte
	key     crypto.Signer
}

// Request says whose certificate to issue.
type Request struct {
	Identity identity.Identity
	// DNSNames and IPs are what the holder serves as.
	DNSNames []string
	IPs      []net.IP
}

// Pair is a certificate and its private key, PEM.
type Pair struct {
	Cert, Key []byte
}

// LoadOrCreate loads the authority kept in dir, and makes it at first use.
func LoadOrCreate(dir string) (*Authority, error) { return loadOrCreate(dir, "ca", "navarch-ca") }

// Names of what belongs to the front proxy.
const (
	// FrontProxyCA is the name of its authority's files.
	FrontProxyCA = "front-proxy-ca"
	// FrontProxyClient is the name of its certificate's files, and the
	// certificate's common name.
	FrontProxyClient = "front-proxy-client"
)

// EnsureFrontProxy makes what is missing of the front proxy's authority and
// certificate in dir, and renews the certificate when it nears its end.
func EnsureFrontProxy(dir string) (Pair, error) {
	authority, err := loadOrCreate(dir, FrontProxyCA, "navarch-front-proxy-ca")
	if err != nil {
		return Pair{}, err
	}
	return authority.Ensure(dir, FrontProxyClient, Request{Identity: identity.Identity{Name: FrontProxyClient}})
}

// loadOrCreate loads the authority whose files have a name, and makes it at
// first use.
func loadOrCreate(dir, name, commonName string) (*Authority, error) {
	load := func() (*Authority, error) {
		return LoadFiles(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
	}
	a, err := load()
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the certificate folder: %w", err)
	}
	pair, err := newAuthority(commonName)
	if err != nil {
		return nil, err
	}
	// The key goes first: a certificate on disk means that the pair is whole.
	if err := pair.Write(dir, name); err != nil {
		return nil, err
	}
	return load()
}

// Load loads the authority kept in dir.
func Load(dir string) (*Authority, error) {
	return LoadFiles(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"))
}

// LoadFiles loads an authority whose certificate and key are in the given
// files.
func LoadFiles(certFile, keyFile string) (*Authority, error) {
	pair, err := readFiles(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("load the certificate authority: %w", err)
	}
	cert, err := parseCertificate(pair.Cert)
	if err != nil {
		return nil, fmt.Errorf("load the certificate authority from %s: %w", certFile, err)
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("load the certificate authority from %s: it is a certificate that may sign no others", certFile)
	}
	key, err := parseKey(pair.Key)
	if err != nil {
		return nil, fmt.Errorf("load the certificate authority from %s: %w", keyFile, err)
	}
	return &Authority{cert: cert, certPEM: pair.Cert, key: key}, nil
}

// CertPEM returns the authority's own certificate.
func (a *Authority) CertPEM() []byte { return a.certPEM }

// Pool returns a pool that holds just the authority.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Issue signs a certificate that is good for serving and for calling.
func (a *Authority) Issue(r Request) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make a key for %s: %w", r.Identity.Name, err)
	}
	template, err := newTemplate(leafLifetime)
	if err != nil {
		return Pair{}, err
	}
	template.Subject = pkix.Name{CommonName: r.Identity.Name, Organization: certificateGroups(r.Identity)}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.DNSNames, template.IPAddresses = r.DNSNames, r.IPs
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("sign the certificate of %s: %w", r.Identity.Name, err)
	}
	return encodePair(der, key)
}

// RenewAt returns when a certificate is to be made anew.
func RenewAt(cert *x509.Certificate) time.Time {
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) / 100 * renewedAfter)
}

// RenewAt returns when the pair is to be made anew.
func (p Pair) RenewAt() (time.Time, error) {
	cert, err := parseCertificate(p.Cert)
	if err != nil {
		return time.Time{}, fmt.Errorf("read a certificate: %w", err)
	}
	return RenewAt(cert), nil
}

// Ensure returns the certificate kept as name in dir, and issues it anew if it
// is missing or damaged, nears its end, is another authority's or lacks what r
// asks for.
func (a *Authority) Ensure(dir, name string, r Request) (Pair, error) {
	if pair, err := ReadPair(dir, name); err == nil && a.stillServes(pair, r) {
		return pair, nil
	}
	pair, err := a.Issue(r)
	if err != nil {
		return Pair{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Pair{}, fmt.Errorf("create the certificate folder: %w", err)
	}
	return pair, pair.Write(dir, name)
}

func (a *Authority) stillServes(pair Pair, r Request) bool {
	if _, err := tls.X509KeyPair(pair.Cert, pair.Key); err != nil {
		return false // such as a new key beside the old certificate
	}
	cert, err := parseCertificate(pair.Cert)
	if err != nil || !time.Now().Before(RenewAt(cert)) || cert.CheckSignatureFrom(a.cert) != nil {
		return false
	}
	if cert.Subject.CommonName != r.Identity.Name {
		return false
	}
	for _, name := range r.DNSNames {
		if cert.VerifyHostname(name) != nil {
			return false
		}
	}
	for _, ip := range r.IPs {
		if cert.VerifyHostname(ip.String()) != nil {
			return false
		}
	}
	return true
}

// certificateGroups are the groups to write into a certificate: not the one
// that every authenticated caller is in anyway.
func certificateGroups(id identity.Identity) []string {
	var groups []string
	for _, g := range id.Groups {
		if g != identity.GroupAuthenticated {
			groups = append(groups, g)
		}
	}
	return groups
}

func newAuthority(commonName string) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make the authority's key: %w", err)
	}
	template, err := newTemplate(authorityLifetime)
	if err != nil {
		return Pair{}, err
	}
	template.Subject = pkix.Name{CommonName: commonName}
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	template.IsCA, template.BasicConstraintsValid = true, true
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Pair{}, fmt.Errorf("sign the authority's certificate: %w", err)
	}
	return encodePair(der, key)
}

func newTemplate(lifetime time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{SerialNumber: serial, NotBefore: now.Add(-backdate), NotAfter: now.Add(lifetime)}, nil
}

func encodePair(der []byte, key *ecdsa.PrivateKey) (Pair, error) {
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encode a private key: %w", err)
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

// Write stores the pair as NAME.key and NAME.crt in dir.
func (p Pair) Write(dir, name string) error {
	if err := atomicfile.Write(filepath.Join(dir, name+".key"), p.Key, 0o600); err != nil {
		return fmt.Errorf("store the key of %s: %w", name, err)
	}
	if err := atomicfile.Write(filepath.Join(dir, name+".crt"), p.Cert, 0o644); err != nil {
		return fmt.Errorf("store the certificate of %s: %w", name, err)
	}
	return nil
}

// ReadPair reads NAME.crt and NAME.key from dir.
func ReadPair(dir, name string) (Pair, error) {
	return readFiles(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
}

func readFiles(certFile, keyFile string) (Pair, error) {
	cert, err := os.ReadFile(certFile)
	if err != nil {
		return Pair{}, err
	}
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: cert, Key: key}, nil
}

func parseCertificate(pemBytes []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(pemBytes)
	if block == nil {
		return nil, errors.New("no PEM certificate found")
	}
	return x509.ParseCertificate(block.Bytes)
}

func parseKey(pemBytes []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(pemBytes)
	if block == nil {
		return nil, errors.New("no PEM private key found")
	}
	key, err := parsePrivateKey(block)
	if err != nil {
		return nil, fmt.Errorf("parse the private key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", key)
	}
	return signer, nil
}

// parsePrivateKey reads each of the forms in which tools write private keys.
func parsePrivateKey(block *pem.Block) (any, error) {
	switch block.Type {
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	return x509.ParsePKCS8PrivateKey(block.Bytes)
}
