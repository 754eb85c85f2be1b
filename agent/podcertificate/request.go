package podcertificate

import (
	"context"
	"errors"
	"fmt"
	"sync"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/client"
)

// refusedError is the answer of a signer that issues nothing.
type refusedError struct {
	request                 string // namespace and name
	answer, reason, message string
}

func (e *refusedError) Error() string {
	if e.answer == certificatesv1.PodCertificateRequestConditionTypeDenied {
		return fmt.Sprintf("PodCertificateRequest was permanently denied: reason=%q message=%q", e.reason, e.message)
	}
	return fmt.Sprintf("PodCertificateRequest was permanently failed: reason=%q message=%q", e.reason, e.message)
}

// request asks for a credential once, and waits for the answer.
func (h *holder) request(ctx context.Context) (*Credential, error) {
	key, stub, err := newKey(h.wanted.KeyType)
	if err != nil {
		return nil, err
	}
	request, err := h.describe(ctx, stub)
	if err != nil {
		return nil, err
	}
	if err := h.m.client.Create(ctx, request); err != nil {
		return nil, fmt.Errorf("ask the signer %s for a certificate: %w", h.wanted.SignerName, err)
	}
	h.setProblem(fmt.Errorf("PodCertificateRequest %s/%s waits for its signer %s", request.Namespace, request.Name, h.wanted.SignerName))
	answered, err := h.answer(ctx, request)
	if err != nil {
		return nil, err
	}
	status := &answered.Status
	for _, c := range status.Conditions {
		if c.Type == certificatesv1.PodCertificateRequestConditionTypeIssued {
			if status.BeginRefreshAt == nil || status.NotAfter == nil {
				return nil, errors.New("the certificate was issued without its times")
			}
			return &Credential{Key: key, Chain: bare(status.CertificateChain), Refresh: status.BeginRefreshAt.Time, Expires: status.NotAfter.Time}, nil
		}
	}
	last := status.Conditions[len(status.Conditions)-1]
	return nil, &refusedError{request: request.Namespace + "/" + request.Name, answer: last.Type, reason: last.Reason, message: last.Message}
}

// describe returns the request of a pod. It goes with the pod.
func (h *holder) describe(ctx context.Context, stub []byte) (*certificatesv1.PodCertificateRequest, error) {
	account, node := &corev1.ServiceAccount{}, &corev1.Node{}
	if err := h.m.client.Get(ctx, h.pod.Namespace, h.pod.Spec.ServiceAccountName, account); err != nil {
		return nil, fmt.Errorf("look up the pod's service account: %w", err)
	}
	if err := h.m.client.Get(ctx, "", h.m.cfg.NodeName, node); err != nil {
		return nil, fmt.Errorf("look up the pod's node: %w", err)
	}
	return &certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: h.pod.Namespace, GenerateName: "req-",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: h.pod.Name, UID: h.pod.UID}},
		},
		Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: h.wanted.SignerName, PodName: h.pod.Name, PodUID: h.pod.UID,
			ServiceAccountName: account.Name, ServiceAccountUID: account.UID,
			NodeName: types.NodeName(node.Name), NodeUID: node.UID,
			MaxExpirationSeconds: h.wanted.MaxExpirationSeconds, StubPKCS10Request: stub,
			UnverifiedUserAnnotations: h.wanted.UserAnnotations,
		},
	}, nil
}

// errRemoved is the end of a request that somebody has removed.
var errRemoved = errors.New("the PodCertificateRequest was removed before its signer has answered")

// answer waits until a request is answered, or gone.
func (h *holder) answer(ctx context.Context, request *certificatesv1.PodCertificateRequest) (*certificatesv1.PodCertificateRequest, error) {
	inf, err := client.NewInformer[*certificatesv1.PodCertificateRequest](h.m.client, client.InformerOptions{
		Namespace: request.Namespace,
		Fields: fields.AndSelectors(fields.OneTermEqualSelector("spec.nodeName", h.m.cfg.NodeName),
			fields.OneTermEqualSelector("spec.podName", h.pod.Name)),
	})
	if err != nil {
		return nil, fmt.Errorf("watch the PodCertificateRequest: %w", err)
	}
	changed := make(chan struct{}, 1)
	wake := func(r *certificatesv1.PodCertificateRequest) {
		if r.UID != request.UID {
			return
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	inf.AddHandler(client.Handler[*certificatesv1.PodCertificateRequest]{
		OnAdd: wake, OnUpdate: func(_, r *certificatesv1.PodCertificateRequest) { wake(r) }, OnDelete: wake,
	})
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { inf.Run(ctx) })
	for synced := inf.Synced(); ; {
		select {
		case <-changed:
		case <-synced:
			synced = nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		switch now, ok := inf.Get(request.Namespace, request.Name); {
		case synced != nil:
		case !ok || now.UID != request.UID:
			return nil, errRemoved
		case len(now.Status.Conditions) > 0:
			return now, nil
		}
	}
}
