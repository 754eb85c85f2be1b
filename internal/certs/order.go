package certs

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// shortLife is up to which a certificate's whole life, tolerance for clocks
// included, is what was asked for: minutes more would be much of it.
const shortLife = 8 * time.Hour

// Order is a certificate for a key that somebody else holds.
type Order struct {
	// Request names the subject and what it serves as, and proves that whoever
	// asks holds the key. Its extensions but the subject's alternative names are
	// not taken over.
	Request *x509.CertificateRequest
	Usage   x509.KeyUsage
	// ExtendedUsages say whether it is for serving, for calling, or both.
	ExtendedUsages []x509.ExtKeyUsage
	// Life ends with the authority's own at the latest.
	Life time.Duration
}

// Sign signs an ordered certificate at a time, and returns it as PEM.
func (a *Authority) Sign(o Order, now time.Time) ([]byte, error) {
	if err := o.Request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("check the request's signature: %w", err)
	}
	template, err := newTemplate(o.Life)
	if err != nil {
		return nil, err
	}
	template.NotBefore, template.NotAfter = now.Add(-backdate), now.Add(o.Life)
	if o.Life < shortLife {
		template.NotAfter = template.NotAfter.Add(-backdate)
	}
	if a.cert.NotAfter.Before(template.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	if !now.Before(template.NotAfter) {
		return nil, errors.New("the certificate authority is at its end")
	}
	template.RawSubject = o.Request.RawSubject
	template.DNSNames, template.IPAddresses = o.Request.DNSNames, o.Request.IPAddresses
	template.EmailAddresses, template.URIs = o.Request.EmailAddresses, o.Request.URIs
	template.KeyUsage, template.ExtKeyUsage = o.Usage, o.ExtendedUsages
	template.BasicConstraintsValid = true // it is no authority, and says so
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, o.Request.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", o.Request.Subject.CommonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
