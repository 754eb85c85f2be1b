package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/identity"
)

// signer is what one of the cluster's signers signs.
type signer struct {
	// check returns why a request is not one that the signer signs.
	check func(*x509.CertificateRequest) error
	// needs are usages that a request must name, may those that it can.
	needs certificatesv1.KeyUsage
	may   []certificatesv1.KeyUsage
}

// signers returns the signers of the cluster's authority by name.
func signers() map[string]signer {
	optional := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment}
	return map[string]signer{
		certificatesv1.KubeAPIServerClientSignerName:        {checkClient, certificatesv1.UsageClientAuth, optional},
		certificatesv1.KubeAPIServerClientKubeletSignerName: {checkNodeClient, certificatesv1.UsageClientAuth, optional},
		certificatesv1.KubeletServingSignerName:             {checkNodeServing, certificatesv1.UsageServerAuth, optional},
	}
}

// accepts returns why the signer does not sign a request.
func (s signer) accepts(csr *certificatesv1.CertificateSigningRequest, request *x509.CertificateRequest) error {
	for _, u := range csr.Spec.Usages {
		if u != s.needs && !slices.Contains(s.may, u) {
			return fmt.Errorf("invalid usage for %s: %s", csr.Spec.SignerName, u)
		}
	}
	if !slices.Contains(csr.Spec.Usages, s.needs) {
		return fmt.Errorf("missing required usage for %s: %s", csr.Spec.SignerName, s.needs)
	}
	return s.check(request)
}

// parseRequest reads the PEM of a request.
func parseRequest(csr *certificatesv1.CertificateSigningRequest) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(csr.Spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse the request: %w", err)
	}
	return request, nil
}

// checkClient: a user may be anybody but one whom the cluster believes without
// asking its roles, whoever approved it.
func checkClient(r *x509.CertificateRequest) error {
	for _, group := range []string{identity.GroupMasters, identity.GroupGateways} {
		if slices.Contains(r.Subject.Organization, group) {
			return fmt.Errorf("a certificate for the group %s is not signed", group)
		}
	}
	return nil
}

// checkNode: a node's certificate says that it is a node's, and nothing else.
func checkNode(r *x509.CertificateRequest) error {
	switch {
	case !slices.Equal(r.Subject.Organization, []string{identity.GroupNodes}):
		return errors.New("subject organization is not system:nodes")
	case !strings.HasPrefix(r.Subject.CommonName, identity.NodePrefix):
		return errors.New("subject common name does not begin with " + identity.NodePrefix)
	case len(r.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(r.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	}
	return nil
}

func checkNodeClient(r *x509.CertificateRequest) error {
	switch {
	case len(r.DNSNames) > 0:
		return errors.New("DNS subjectAltNames are not allowed")
	case len(r.IPAddresses) > 0:
		return errors.New("IP subjectAltNames are not allowed")
	}
	return checkNode(r)
}

// checkNodeServing: a node serves under its own names, never under one by which
// the cluster's services know each other.
func checkNodeServing(r *x509.CertificateRequest) error {
	if len(r.DNSNames) == 0 && len(r.IPAddresses) == 0 {
		return errors.New("DNS or IP subjectAltName is required")
	}
	own := certs.NodeServerName(nodeOf(r))
	for _, name := range r.DNSNames {
		if certs.Internal(name) && name != own {
			return fmt.Errorf("the name %s is another service's", name)
		}
	}
	return checkNode(r)
}

func nodeOf(r *x509.CertificateRequest) string {
	return strings.TrimPrefix(r.Subject.CommonName, identity.NodePrefix)
}

// usagesOf returns a request's usages as certificates name them.
func usagesOf(csr *certificatesv1.CertificateSigningRequest) (usage x509.KeyUsage, extended []x509.ExtKeyUsage) {
	for _, u := range csr.Spec.Usages {
		switch u {
		case certificatesv1.UsageDigitalSignature, certificatesv1.UsageSigning:
			usage |= x509.KeyUsageDigitalSignature
		case certificatesv1.UsageKeyEncipherment:
			usage |= x509.KeyUsageKeyEncipherment
		case certificatesv1.UsageClientAuth:
			extended = append(extended, x509.ExtKeyUsageClientAuth)
		case certificatesv1.UsageServerAuth:
			extended = append(extended, x509.ExtKeyUsageServerAuth)
		}
	}
	return usage, extended
}
