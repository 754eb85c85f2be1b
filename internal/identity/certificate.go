package identity

import (
	"crypto/x509"
	"slices"
)

// FromCertificate returns the identity that a verified client certificate
// states: the common name is the name, the organizations are the groups.
func FromCertificate(cert *x509.Certificate) Identity {
	return Identity{
		Name:   cert.Subject.CommonName,
		Groups: append(slices.Clone(cert.Subject.Organization), GroupAuthenticated),
	}
}
