package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// zone is the DNS zone of the names that services' certificates carry. The
// names are never resolved: a caller dials an address and expects a name.
const zone = "navarch.internal"

// ServerName returns the name in the certificate of a service, for example
// "store.navarch.internal".
func ServerName(service string) string { return service + "." + zone }

// NodeServerName returns the name in the certificate of a node's agent.
func NodeServerName(node string) string { return node + ".node." + zone }

// Internal says whether a name is one of those that services know each other
// by.
func Internal(name string) bool {
	return strings.HasSuffix(strings.ToLower(strings.TrimSuffix(name, ".")), "."+zone)
}

// Bundle is what a process needs to serve and to call within a cluster.
type Bundle struct {
	// Own is the process's certificate.
	Own tls.Certificate
	// Roots holds the cluster's authority.
	Roots *x509.CertPool
}

// LoadBundle reads the authority's certificate and the process's pair.
func LoadBundle(caFile, certFile, keyFile string) (*Bundle, error) {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("load the cluster's authority: %w", err)
	}
	own, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("load the certificate %s: %w", certFile, err)
	}
	return newBundle(ca, own)
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
	return newBundle(a.certPEM, own)
}

func newBundle(ca []byte, own tls.Certificate) (*Bundle, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("the cluster's authority is not a PEM certificate")
	}
	return &Bundle{Own: own, Roots: roots}, nil
}

// Server returns a configuration for serving that asks callers for a
// certificate of the cluster's authority.
func (b *Bundle) Server() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{b.Own},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    b.Roots,
	}
}

// Client returns a configuration for calling the service whose certificate
// carries serverName.
func (b *Bundle) Client(serverName string) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{b.Own},
		RootCAs:      b.Roots,
		ServerName:   serverName,
	}
}
