package volume

import (
	"context"
	"errors"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// defaultTokenLife is how long a token lives if the pod does not say.
const defaultTokenLife = 3600

// requestToken asks the Store for a token of the pod's service account, bound
// to the pod.
func (m *Manager) requestToken(ctx context.Context, pod *corev1.Pod, s *corev1.ServiceAccountTokenProjection) (string, time.Time, error) {
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: ptr.To(ptr.Deref(s.ExpirationSeconds, defaultTokenLife)),
		BoundObjectRef: &authenticationv1.BoundObjectReference{
			Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID,
		},
	}}
	if s.Audience != "" {
		req.Spec.Audiences = []string{s.Audience}
	}
	body, err := kinds.Encode(req)
	if err != nil {
		return "", time.Time{}, err
	}
	account := pod.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	resp, err := m.client.Store().Create(ctx, &storev1.CreateRequest{
		Resource:  &storev1.Resource{Version: "v1", Resource: "serviceaccounts"},
		Namespace: pod.Namespace, Name: account, Subresource: "token", Object: &storev1.Object{Object: body},
	})
	if err != nil {
		return "", time.Time{}, apistatus.FromGRPC(err)
	}
	var made authenticationv1.TokenRequest
	if err := kinds.Decode(resp.GetObject().GetObject(), &made); err != nil {
		return "", time.Time{}, err
	}
	if made.Status.Token == "" {
		return "", time.Time{}, errors.New("the Store issued an empty token")
	}
	return made.Status.Token, made.Status.ExpirationTimestamp.Time, nil
}
