package auth

import (
	"context"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/services/store/access"
)

// checkSigner refuses decisions about requests for certificates, and the
// certificates themselves, by those who do not have the verb approve or sign
// on the request's signer.
func (g guard) checkSigner(ctx context.Context, w access.Write) error {
	csr, ok := w.Object.(*certificatesv1.CertificateSigningRequest)
	old, changed := w.Old.(*certificatesv1.CertificateSigningRequest)
	if !ok || !changed || equality.Semantic.DeepEqual(csr.Status, old.Status) {
		return nil
	}
	verb := map[string]string{"approval": "approve", "status": "sign"}[w.Subresource]
	if verb == "" {
		return nil
	}
	domain, _, _ := strings.Cut(old.Spec.SignerName, "/")
	for _, name := range []string{old.Spec.SignerName, domain + "/*"} {
		d, err := g.authorizer.Authorize(ctx, access.Attributes{
			User: w.User, Verb: verb, Group: certificatesv1.GroupName, Version: "*", Resource: "signers", Name: name,
		})
		if err != nil {
			return fmt.Errorf("ask whether %s may %s for %s: %w", w.User.Name, verb, name, err)
		}
		if d.Allowed && !d.Denied {
			return nil
		}
	}
	return apierrors.NewForbidden(w.Kind.GroupResource(), csr.Name,
		fmt.Errorf("user not permitted to %s requests with signerName %q", verb, old.Spec.SignerName))
}
