package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spf13/pflag"

	"navarch.dev/navarch/internal/audit"
)

// Config says how the gateway serves.
type Config struct {
	// Listen is the address of the HTTPS server.
	Listen string
	// Version is what /version and kubectl version show.
	Version string
	// MaxBodyBytes is the most that a request's body may hold.
	MaxBodyBytes int64
	// RequestTimeout ends requests that are no watch and no stream.
	RequestTimeout time.Duration
	// ShutdownTimeout is how long requests may finish after Run was told to end.
	ShutdownTimeout time.Duration

	// Audit says what is recorded of requests; the zero value: nothing.
	Audit audit.Config
	// AuditLog takes the records, if it is not nil, instead of one that Audit
	// describes. It is the caller's to close.
	AuditLog *audit.Log

	// Listener is used instead of Listen if it is not nil.
	Listener net.Listener
	// Certificate returns the server's certificate. It is called for every
	// connection, so that a renewed one is taken up.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// ClientCAs returns the authorities that sign users' certificates. It is
	// called for every connection too.
	ClientCAs func() *x509.CertPool
	// ProxyCertificate returns what other API servers are shown, which serve a
	// part of the API. It is called for every connection to one. Nil: nothing.
	ProxyCertificate func() *tls.Certificate
}

// DefaultConfig returns the defaults. Certificate and ClientCAs have none.
func DefaultConfig() Config {
	return Config{
		Listen:          "127.0.0.1:6443",
		Version:         "v1.37.2+navarch",
		MaxBodyBytes:    3 << 20,
		RequestTimeout:  time.Minute,
		ShutdownTimeout: 10 * time.Second,
	}
}

// AddFlags adds a flag for each setting that has one.
func (c *Config) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&c.Listen, "listen", c.Listen, "address of the Kubernetes API (HTTPS)")
	fs.Int64Var(&c.MaxBodyBytes, "max-body-bytes", c.MaxBodyBytes, "the most bytes that a request's body may hold")
	fs.DurationVar(&c.RequestTimeout, "request-timeout", c.RequestTimeout, "how long a request may take that is no watch and no stream")
	c.Audit.AddFlags(fs)
	fs.DurationVar(&c.ShutdownTimeout, "shutdown-timeout", c.ShutdownTimeout, "how long requests may finish when the gateway stops")
}

// Validate returns what is wrong with the settings.
func (c *Config) Validate() error {
	var errs []error
	if _, _, err := net.SplitHostPort(c.Listen); err != nil && c.Listener == nil {
		errs = append(errs, fmt.Errorf("listen %q: %w", c.Listen, err))
	}
	if c.MaxBodyBytes <= 0 {
		errs = append(errs, errors.New("max-body-bytes must be greater than 0"))
	}
	if c.RequestTimeout <= 0 {
		errs = append(errs, errors.New("request-timeout must be greater than 0"))
	}
	if c.ShutdownTimeout < 0 {
		errs = append(errs, errors.New("shutdown-timeout must not be negative"))
	}
	return errors.Join(append(errs, c.Audit.Validate())...)
}
