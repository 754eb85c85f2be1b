// Package certificates serves requests for certificates: it signs those that
// were approved, approves those by which nodes renew their own, and removes
// those that nobody needs any more.
package certificates

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/runner"
)

// shortestLife is the least that a certificate is good for.
const shortestLife = 10 * time.Minute

// SigningConfig is what certificates are signed with.
type SigningConfig struct {
	// Authority holds the key.
	Authority *certs.Authority
	// Life is the longest, and what a request gets that asks for none.
	Life time.Duration
}

type signing struct {
	client   *client.Client
	requests *client.Informer[*certificatesv1.CertificateSigningRequest]
	config   SigningConfig
	signers  map[string]signer
}

// NewSigning returns the controller that signs approved requests. Its keys name
// CertificateSigningRequests.
func NewSigning(deps runner.Deps, config SigningConfig) (*runner.Controller, error) {
	requests, err := client.InformerFor[*certificatesv1.CertificateSigningRequest](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &signing{client: deps.Client, requests: requests, config: config, signers: signers()}
	c := runner.New("certificatesigning", r, deps, runner.Options{Trace: requests.TraceContext})
	runner.Primary(c, requests)
	return c, nil
}

// Reconcile signs one request, or says on it why not.
func (r *signing) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	csr, ok := r.requests.GetByKey(key)
	if !ok || !approved(csr) || len(csr.Status.Certificate) > 0 || has(csr, certificatesv1.CertificateFailed) {
		return runner.Done(), nil
	}
	s, ok := r.signers[csr.Spec.SignerName]
	if !ok {
		return runner.Done(), nil // somebody else's
	}
	changed := csr.DeepCopy()
	request, err := parseRequest(csr)
	if err == nil {
		err = s.accepts(csr, request)
	}
	if err != nil {
		changed.Status.Conditions = append(changed.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure",
			Message: err.Error(), LastUpdateTime: metav1.Now(),
		})
		return runner.Done(), r.write(ctx, changed)
	}
	usage, extended := usagesOf(csr)
	order := certs.Order{Request: request, Usage: usage, ExtendedUsages: extended, Life: r.life(csr)}
	if changed.Status.Certificate, err = r.config.Authority.Sign(order, time.Now()); err != nil {
		return runner.Done(), err
	}
	return runner.Done(), r.write(ctx, changed)
}

// life is as long as asked for, within what is allowed.
func (r *signing) life(csr *certificatesv1.CertificateSigningRequest) time.Duration {
	if csr.Spec.ExpirationSeconds == nil {
		return r.config.Life
	}
	asked := time.Duration(*csr.Spec.ExpirationSeconds) * time.Second
	return min(max(asked, shortestLife), r.config.Life)
}

func (r *signing) write(ctx context.Context, csr *certificatesv1.CertificateSigningRequest) error {
	if err := r.client.UpdateStatus(ctx, csr); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("answer the certificate request %s: %w", csr.Name, err)
	}
	return nil
}

// approved says whether a request was approved, and not denied.
func approved(csr *certificatesv1.CertificateSigningRequest) bool {
	return has(csr, certificatesv1.CertificateApproved) && !has(csr, certificatesv1.CertificateDenied)
}

func has(csr *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) bool {
	for _, c := range csr.Status.Conditions {
		if c.Type == kind {
			return true
		}
	}
	return false
}
