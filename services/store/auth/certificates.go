package auth

import (
	"context"
	"fmt"
	"maps"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/access"
)

// checkSigner refuses what is written in the name of a signer by those who may
// not: decisions about requests for certificates (the verb approve), certificates
// (sign), and what a signer's certificates are known by (attest).
func (g guard) checkSigner(ctx context.Context, w access.Write) error {
	switch obj := w.Object.(type) {
	case *certificatesv1.CertificateSigningRequest:
		old, changed := w.Old.(*certificatesv1.CertificateSigningRequest)
		verb := map[string]string{"approval": "approve", "status": "sign"}[w.Subresource]
		if verb == "" || !changed || equality.Semantic.DeepEqual(obj.Status, old.Status) {
			return nil
		}
		return g.requireSigner(ctx, w, verb, old.Spec.SignerName,
			apierrors.NewForbidden(w.Kind.GroupResource(), obj.Name, fmt.Errorf("user not permitted to %s requests with signerName %q", verb, old.Spec.SignerName)))
	case *certificatesv1.PodCertificateRequest:
		old, changed := w.Old.(*certificatesv1.PodCertificateRequest)
		if w.Subresource != "status" || !changed || equality.Semantic.DeepEqual(obj.Status, old.Status) {
			return nil
		}
		return g.requireSigner(ctx, w, "sign", old.Spec.SignerName, apierrors.NewInvalid(w.Kind.GVK().GroupKind(), obj.Name, field.ErrorList{
			field.Forbidden(field.NewPath("spec", "signerName"), fmt.Sprintf("User %q is not permitted to \"sign\" for signer %q", w.User.Name, old.Spec.SignerName))}))
	case *certificatesv1.ClusterTrustBundle:
		old, changed := w.Old.(*certificatesv1.ClusterTrustBundle)
		if obj.Spec.SignerName == "" || changed && sameAttestation(obj, old) {
			return nil
		}
		return g.requireSigner(ctx, w, "attest", obj.Spec.SignerName,
			apierrors.NewForbidden(w.Kind.GroupResource(), obj.Name, fmt.Errorf("user not permitted to attest for signerName %q", obj.Spec.SignerName)))
	}
	return nil
}

// sameAttestation says whether a change leaves alone by what bundles are found and
// what they hold; collectors of garbage change no more.
func sameAttestation(b, old *certificatesv1.ClusterTrustBundle) bool {
	return b.Spec == old.Spec && maps.Equal(b.Labels, old.Labels) && maps.Equal(b.Annotations, old.Annotations)
}

// requireSigner returns refusal for who does not have a verb on a signer, or on
// all signers of its domain.
func (g guard) requireSigner(ctx context.Context, w access.Write, verb, signer string, refusal error) error {
	allowed, err := g.maySign(ctx, w.User, verb, signer)
	if err == nil && !allowed {
		return refusal
	}
	return err
}

func (g guard) maySign(ctx context.Context, user identity.Identity, verb, signer string) (bool, error) {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		d, err := g.authorizer.Authorize(ctx, access.Attributes{
			User: user, Verb: verb, Group: certificatesv1.GroupName, Version: "*", Resource: "signers", Name: name,
		})
		if err != nil {
			return false, fmt.Errorf("ask whether %s may %s for %s: %w", user.Name, verb, name, err)
		}
		if d.Allowed && !d.Denied {
			return true, nil
		}
	}
	return false, nil
}
