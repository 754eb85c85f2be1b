package client

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// IssueToken asks for a token of a service account and fills in the request's
// status.
func (c *Client) IssueToken(ctx context.Context, namespace, account string, request *authenticationv1.TokenRequest) error {
	kind, err := c.kinds.ForObject(&corev1.ServiceAccount{})
	if err != nil {
		return err
	}
	body, err := kinds.Encode(request)
	if err != nil {
		return err
	}
	resp, err := c.store.Create(ctx, &storev1.CreateRequest{
		Resource: resourceOf(kind), Namespace: namespace, Name: account, Subresource: "token",
		Object: &storev1.Object{Object: body}, Options: c.writeOptions(),
	})
	if err != nil {
		return apistatus.FromGRPC(err)
	}
	return kinds.Decode(resp.GetObject().GetObject(), request)
}
