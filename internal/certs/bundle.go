package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// lookAgain is how long a bundle believes that its files are what they were.
const lookAgain = time.Second

// Bundle is what a process needs to serve and to call within a cluster: its own
// certificate, and the cluster's authority. A bundle that was loaded from files
// follows them: when they change, connections made from then on use what they
// hold, so that a certificate is renewed without a restart. Only the authority
// that the process's calls trust stays what it was.
type Bundle struct {
	// caFile, certFile and keyFile are empty for a bundle that is not in files.
	caFile, certFile, keyFile string

	mu       sync.Mutex // guards what follows
	now      content
	seen     [3]stamp
	looked   time.Time
	onReload func(end time.Time, err error)
}

// content is what a bundle holds at a time.
type content struct {
	own   *tls.Certificate
	roots *x509.CertPool
}

// stamp tells versions of a file apart.
type stamp struct {
	changed time.Time
	size    int64
}

// LoadBundle reads the authority's certificate and the process's pair.
func LoadBundle(caFile, certFile, keyFile string) (*Bundle, error) {
	b := &Bundle{caFile: caFile, certFile: certFile, keyFile: keyFile, looked: time.Now()}
	var err error
	if b.seen, err = b.stamps(); err != nil {
		return nil, fmt.Errorf("load certificates: %w", err)
	}
	if b.now, err = b.read(); err != nil {
		return nil, err
	}
	return b, nil
}

// LoadBundleDir reads ca.crt, NAME.crt and NAME.key from dir.
func LoadBundleDir(dir, name string) (*Bundle, error) {
	return LoadBundle(filepath.Join(dir, "ca.crt"), filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
}

// Bundle returns a pair of the authority's as a Bundle.
func (a *Authority) Bundle(p Pair) (*Bundle, error) {
	own, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return nil, fmt.Errorf("use an issued certificate: %w", err)
	}
	c, err := newContent(a.certPEM, own)
	if err != nil {
		return nil, err
	}
	return &Bundle{now: c}, nil
}

// OnReload has f called when the files have changed: with the end of the new
// certificate, or with the reason why the old one is still used.
func (b *Bundle) OnReload(f func(end time.Time, err error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onReload = f
}

// Own returns the process's certificate.
func (b *Bundle) Own() *tls.Certificate { return b.current().own }

// Roots returns a pool that holds the cluster's authority.
func (b *Bundle) Roots() *x509.CertPool { return b.current().roots }

// current returns what the files hold. What cannot be used, such as a pair of
// which one half is not written yet, is not.
func (b *Bundle) current() content {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.caFile == "" || time.Since(b.looked) < lookAgain {
		return b.now
	}
	b.looked = time.Now()
	seen, err := b.stamps()
	if errors.Is(err, fs.ErrNotExist) || err == nil && seen == b.seen {
		return b.now
	}
	b.seen = seen
	var fresh content
	if err == nil {
		fresh, err = b.read()
	}
	if err == nil {
		b.now = fresh
	}
	if b.onReload != nil {
		b.onReload(b.now.own.Leaf.NotAfter, err)
	}
	return b.now
}

func (b *Bundle) stamps() ([3]stamp, error) {
	var all [3]stamp
	for i, file := range []string{b.caFile, b.certFile, b.keyFile} {
		info, err := os.Stat(file)
		if err != nil {
			return all, err
		}
		all[i] = stamp{info.ModTime(), info.Size()}
	}
	return all, nil
}

func (b *Bundle) read() (content, error) {
	ca, err := os.ReadFile(b.caFile)
	if err != nil {
		return content{}, fmt.Errorf("load the cluster's authority: %w", err)
	}
	own, err := tls.LoadX509KeyPair(b.certFile, b.keyFile)
	if err != nil {
		return content{}, fmt.Errorf("load the certificate %s: %w", b.certFile, err)
	}
	return newContent(ca, own)
}

func newContent(ca []byte, own tls.Certificate) (content, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return content{}, errors.New("the cluster's authority is not a PEM certificate")
	}
	return content{own: &own, roots: roots}, nil
}

// Server returns a configuration for serving that asks callers for a
// certificate of the cluster's authority.
func (b *Bundle) Server() *tls.Config {
	services := b.services()
	base := services.Clone()
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return b.following(services), nil }
	return base
}

// SharedServer returns a configuration for a port that serves services, as
// Server's does, and others over HTTPS: who offers HTTP/1.1, or says nothing of
// protocols, gets that and need not have a certificate; one that is given is
// checked. Services offer HTTP/2 alone.
func (b *Bundle) SharedServer() *tls.Config {
	services := b.services()
	others := services.Clone()
	others.MinVersion, others.ClientAuth, others.NextProtos = tls.VersionTLS12, tls.VerifyClientCertIfGiven, []string{protocolHTTP1}
	base := services.Clone()
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(hello.SupportedProtos) == 0 || slices.Contains(hello.SupportedProtos, protocolHTTP1) {
			return b.following(others), nil
		}
		return b.following(services), nil
	}
	return base
}

// protocolHTTP1 is HTTP/1.1 in the TLS handshake (RFC 7301).
const protocolHTTP1 = "http/1.1"

// services returns the configuration for serving services.
func (b *Bundle) services() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return b.Own(), nil },
		ClientAuth:     tls.RequireAndVerifyClientCert,
		ClientCAs:      b.Roots(),
		NextProtos:     []string{"h2"},
	}
}

// following returns a configuration that trusts whom the files name now.
func (b *Bundle) following(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.ClientCAs = b.Roots()
	return c
}

// Client returns a configuration for calling the service whose certificate
// carries serverName.
func (b *Bundle) Client(serverName string) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return b.Own(), nil },
		RootCAs:              b.Roots(),
		ServerName:           serverName,
	}
}
