package store

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/access"
)

// Authorize implements the RPC.
func (s *Store) Authorize(ctx context.Context, req *storev1.AuthorizeRequest) (*storev1.AuthorizeResponse, error) {
	user, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	if req.GetVerb() == "" {
		return nil, apierrors.NewBadRequest("the request names no verb")
	}
	authorize, a := s.authorizePath, access.Attributes{User: user, Verb: req.GetVerb(), Path: req.GetPath()}
	if a.Path == "" {
		authorize, a = s.authorize, access.Attributes{
			User: user, Verb: req.GetVerb(), Group: req.GetResource().GetGroup(), Version: req.GetResource().GetVersion(),
			Resource: req.GetResource().GetResource(), Subresource: req.GetSubresource(), Namespace: req.GetNamespace(), Name: req.GetName(),
			LabelSelector: req.GetLabelSelector(), FieldSelector: req.GetFieldSelector(),
		}
	}
	seat, err := s.admit(ctx, &a)
	if err != nil {
		return nil, err
	}
	defer seat.Release()
	if err := authorize(ctx, a); err != nil {
		return nil, err
	}
	resp := &storev1.AuthorizeResponse{User: user.Name, Uid: user.UID, Groups: user.Groups, Extra: make(map[string]*storev1.ExtraValues, len(user.Extra))}
	for key, values := range user.Extra {
		resp.Extra[key] = &storev1.ExtraValues{Values: values}
	}
	return resp, nil
}

// authorizePath refuses the call unless the caller may use a path that is no
// resource.
func (s *Store) authorizePath(ctx context.Context, a access.Attributes) error {
	d, err := s.control.Authorizer.Authorize(ctx, a)
	s.noteDecision(ctx, d, err)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("authorize %s: %w", a.User.Name, err))
	}
	if !d.Allowed || d.Denied {
		return forbiddenPath(a.User.Name, a.Verb, a.Path)
	}
	return nil
}
