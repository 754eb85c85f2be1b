package certificates

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/controller/runner"
)

// keepPodRequests is how long a pod's request for a certificate is kept. An agent
// reads the answer at once, and asks again when there is none by then.
const keepPodRequests = 15 * time.Minute

type podCleaning struct {
	client   *client.Client
	requests *client.Informer[*certificatesv1.PodCertificateRequest]
	now      func() time.Time
}

// NewPodCleaning returns the controller that removes PodCertificateRequests,
// answered or not, some time after they were made. now is nil for the system's
// time. Its keys name PodCertificateRequests.
func NewPodCleaning(deps runner.Deps, now func() time.Time) (*runner.Controller, error) {
	requests, err := client.InformerFor[*certificatesv1.PodCertificateRequest](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	if now == nil {
		now = time.Now
	}
	r := &podCleaning{client: deps.Client, requests: requests, now: now}
	c := runner.New("podcertificatecleaning", r, deps, runner.Options{Trace: requests.TraceContext})
	runner.Primary(c, requests)
	return c, nil
}

// Reconcile removes one request when its time has come.
func (r *podCleaning) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	request, ok := r.requests.GetByKey(key)
	if !ok || request.DeletionTimestamp != nil {
		return runner.Done(), nil
	}
	if left := request.CreationTimestamp.Add(keepPodRequests).Sub(r.now()); left > 0 {
		return runner.RequeueAfter(left), nil
	}
	if err := r.client.Delete(ctx, request, client.DeleteOptions{UID: request.UID}); err != nil && !apierrors.IsNotFound(err) {
		return runner.Done(), fmt.Errorf("remove the pod certificate request %s: %w", key, err)
	}
	return runner.Done(), nil
}
