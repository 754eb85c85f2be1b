package admission

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/identity"
)

// certificateRequester records on a request for a certificate who made it,
// which the requester cannot choose.
type certificateRequester struct{ noValidation }

func (certificateRequester) Mutate(_ context.Context, r *Request) error {
	csr, ok := r.Object.(*certificatesv1.CertificateSigningRequest)
	if !ok || r.Operation != Create || r.Subresource != "" {
		return nil
	}
	csr.Spec.Username, csr.Spec.UID, csr.Spec.Groups = r.User.Name, r.User.UID, r.User.Groups
	csr.Spec.Extra = nil
	for key, values := range r.User.Extra {
		if csr.Spec.Extra == nil {
			csr.Spec.Extra = make(map[string]certificatesv1.ExtraValue)
		}
		csr.Spec.Extra[key] = values
	}
	return nil
}

// certificateSubject keeps client certificates of administrators from being
// asked for.
type certificateSubject struct{ noMutation }

func (certificateSubject) Validate(_ context.Context, r *Request) error {
	csr, ok := r.Object.(*certificatesv1.CertificateSigningRequest)
	if !ok || r.Operation != Create || r.Subresource != "" {
		return nil
	}
	if csr.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return nil
	}
	// A gateway is believed whom it names, so it is as good as a master.
	for _, group := range []string{identity.GroupMasters, identity.GroupGateways} {
		if slices.Contains(organizations(csr.Spec.Request), group) {
			return apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(),
				fmt.Errorf("use of %s signer with %s group is not allowed", csr.Spec.SignerName, group))
		}
	}
	return nil
}

// organizations are the groups that a request asks for. One that cannot be read
// is left to validation.
func organizations(text []byte) []string {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil
	}
	return request.Subject.Organization
}
