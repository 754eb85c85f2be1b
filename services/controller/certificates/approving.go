package certificates

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/runner"
)

// permission is a virtual subresource of certificatesigningrequests: whoever may
// create it has requests of a kind approved without anybody looking.
type permission struct {
	subresource string
	message     string
	// applies says whether a request is of the kind.
	applies func(*certificatesv1.CertificateSigningRequest, *x509.CertificateRequest) bool
}

// permissions are asked for in their order.
func permissions() []permission {
	return []permission{
		{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.", renewsOwnClient},
		{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.", isNodeClient},
		{"selfnodeserver", "Auto approving self kubelet server certificate after SubjectAccessReview.", renewsOwnServing},
	}
}

func isNodeClient(csr *certificatesv1.CertificateSigningRequest, r *x509.CertificateRequest) bool {
	name := certificatesv1.KubeAPIServerClientKubeletSignerName
	return csr.Spec.SignerName == name && signers()[name].accepts(csr, r) == nil
}

func renewsOwnClient(csr *certificatesv1.CertificateSigningRequest, r *x509.CertificateRequest) bool {
	return isNodeClient(csr, r) && csr.Spec.Username == r.Subject.CommonName
}

// renewsOwnServing: by itself a node gets only the name under which the
// gateway calls it. Addresses are what a node says of itself, so a person must
// look at those.
func renewsOwnServing(csr *certificatesv1.CertificateSigningRequest, r *x509.CertificateRequest) bool {
	name := certificatesv1.KubeletServingSignerName
	return csr.Spec.SignerName == name && signers()[name].accepts(csr, r) == nil && csr.Spec.Username == r.Subject.CommonName &&
		len(r.IPAddresses) == 0 && slices.Equal(r.DNSNames, []string{certs.NodeServerName(nodeOf(r))})
}

type approving struct {
	client   *client.Client
	requests *client.Informer[*certificatesv1.CertificateSigningRequest]
}

// NewApproving returns the controller that approves requests of nodes for
// certificates of their own, if the requester has the permission for that. Its
// keys name CertificateSigningRequests.
func NewApproving(deps runner.Deps) (*runner.Controller, error) {
	requests, err := client.InformerFor[*certificatesv1.CertificateSigningRequest](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &approving{client: deps.Client, requests: requests}
	c := runner.New("certificateapproving", r, deps, runner.Options{Trace: requests.TraceContext})
	runner.Primary(c, requests)
	return c, nil
}

// Reconcile approves one request, if nobody has decided and its requester has
// a permission that applies.
func (r *approving) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	csr, ok := r.requests.GetByKey(key)
	if !ok || has(csr, certificatesv1.CertificateApproved) || has(csr, certificatesv1.CertificateDenied) || len(csr.Status.Certificate) > 0 {
		return runner.Done(), nil
	}
	request, err := parseRequest(csr)
	if err != nil {
		return runner.Done(), runner.Terminal(err)
	}
	for _, p := range permissions() {
		if !p.applies(csr, request) {
			continue
		}
		allowed, err := r.allowed(ctx, csr, p.subresource)
		if err != nil {
			return runner.Done(), err
		}
		if allowed {
			return runner.Done(), r.approve(ctx, csr, p.message)
		}
	}
	return runner.Done(), nil
}

// allowed asks the Store whether the requester has a permission.
func (r *approving) allowed(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, subresource string) (bool, error) {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: csr.Spec.Username, UID: csr.Spec.UID, Groups: csr.Spec.Groups,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: certificatesv1.GroupName, Version: "*", Resource: "certificatesigningrequests", Subresource: subresource, Verb: "create",
		},
	}}
	for key, values := range csr.Spec.Extra {
		if review.Spec.Extra == nil {
			review.Spec.Extra = make(map[string]authorizationv1.ExtraValue)
		}
		review.Spec.Extra[key] = authorizationv1.ExtraValue(values)
	}
	if err := r.client.Create(ctx, review); err != nil {
		return false, fmt.Errorf("ask whether %s may have a certificate: %w", csr.Spec.Username, err)
	}
	return review.Status.Allowed, nil
}

func (r *approving) approve(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, message string) error {
	changed := csr.DeepCopy()
	changed.Status.Conditions = append(changed.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved",
		Message: message, LastUpdateTime: metav1.Now(),
	})
	if err := r.client.UpdateSubresource(ctx, changed, "approval"); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("approve the certificate request %s: %w", csr.Name, err)
	}
	return nil
}
