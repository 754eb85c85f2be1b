package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"slices"
)

// ExtraCredential is the key of Identity.Extra that tells credentials of one
// user apart.
const ExtraCredential = "authentication.kubernetes.io/credential-id"

// FromCertificate returns the identity that a verified client certificate
// states: the common name is the name, the organizations are the groups, and
// an attribute of Kubernetes' own, if there is one, is the uid.
func FromCertificate(cert *x509.Certificate) Identity {
	return Identity{
		Name:   cert.Subject.CommonName,
		UID:    uidOf(cert),
		Groups: append(slices.Clone(cert.Subject.Organization), GroupAuthenticated),
	}
}

// CertificateID tells a certificate from others of the same user; it is a
// value of ExtraCredential.
func CertificateID(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return "X509SHA256=" + hex.EncodeToString(sum[:])
}

func uidOf(cert *x509.Certificate) string {
	kind := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}
	for _, attribute := range cert.Subject.Names {
		if text, ok := attribute.Value.(string); ok && attribute.Type.Equal(kind) {
			return text
		}
	}
	return ""
}
