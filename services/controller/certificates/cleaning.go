package certificates

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/runner"
)

// How long requests are kept, counted from when they came to be what they are.
const (
	keepDecided = time.Hour
	keepPending = 24 * time.Hour
	// keepPodRequests is for a pod's requests. An agent reads the answer at once,
	// and asks again when there is none by then.
	keepPodRequests = 15 * time.Minute
)

// cleaning removes requests of a type when their time has come.
type cleaning[T kinds.Object] struct {
	client   *client.Client
	requests *client.Informer[T]
	// until returns when a request may go, and whether it may at all.
	until func(T) (time.Time, bool)
	now   func() time.Time
}

// NewCleaning returns the controller that removes requests which have been
// answered, or that nobody has looked at for a day. now is nil for the system's
// time. Its keys name CertificateSigningRequests.
func NewCleaning(deps runner.Deps, now func() time.Time) (*runner.Controller, error) {
	return newCleaning(deps, "certificatecleaning", keptUntil, now)
}

// NewPodCleaning returns the controller that removes PodCertificateRequests,
// answered or not, some time after they were made. now is nil for the system's
// time. Its keys name PodCertificateRequests.
func NewPodCleaning(deps runner.Deps, now func() time.Time) (*runner.Controller, error) {
	return newCleaning(deps, "podcertificatecleaning", func(r *certificatesv1.PodCertificateRequest) (time.Time, bool) {
		return r.CreationTimestamp.Add(keepPodRequests), true
	}, now)
}

func newCleaning[T kinds.Object](deps runner.Deps, name string, until func(T) (time.Time, bool), now func() time.Time) (*runner.Controller, error) {
	requests, err := client.InformerFor[T](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	if now == nil {
		now = time.Now
	}
	r := &cleaning[T]{client: deps.Client, requests: requests, until: until, now: now}
	c := runner.New(name, r, deps, runner.Options{Trace: requests.TraceContext})
	runner.Primary(c, requests)
	return c, nil
}

// Reconcile removes one request when its time has come.
func (r *cleaning[T]) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	request, ok := r.requests.GetByKey(key)
	if !ok || request.GetDeletionTimestamp() != nil {
		return runner.Done(), nil
	}
	end, ends := r.until(request)
	if !ends {
		return runner.Done(), nil
	}
	if left := end.Sub(r.now()); left > 0 {
		return runner.RequeueAfter(left), nil
	}
	err := r.client.Delete(ctx, request, client.DeleteOptions{UID: request.GetUID(), ResourceVersion: request.GetResourceVersion()})
	if err != nil && !apierrors.IsNotFound(err) {
		return runner.Done(), fmt.Errorf("remove the certificate request %s: %w", key, err)
	}
	return runner.Done(), nil
}

// keptUntil returns when a request may go. An approved one that its signer has
// not answered is kept.
func keptUntil(csr *certificatesv1.CertificateSigningRequest) (time.Time, bool) {
	var end time.Time
	sooner := func(t time.Time) {
		if end.IsZero() || t.Before(end) {
			end = t
		}
	}
	for _, c := range csr.Status.Conditions {
		switch c.Type {
		case certificatesv1.CertificateApproved:
			if len(csr.Status.Certificate) > 0 {
				sooner(c.LastUpdateTime.Add(keepDecided))
			}
		case certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
			sooner(c.LastUpdateTime.Add(keepDecided))
		}
	}
	if len(csr.Status.Conditions) == 0 && len(csr.Status.Certificate) == 0 {
		sooner(csr.CreationTimestamp.Add(keepPending))
	}
	if block, _ := pem.Decode(csr.Status.Certificate); block != nil {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			sooner(cert.NotAfter)
		}
	}
	return end, !end.IsZero()
}
