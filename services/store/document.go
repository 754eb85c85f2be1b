package store

import (
	"context"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/access"
)

// GetDocument implements the RPC.
func (s *Store) GetDocument(ctx context.Context, req *storev1.GetDocumentRequest) (*storev1.GetDocumentResponse, error) {
	user, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.authorizePath(ctx, access.Attributes{User: user, Verb: "get", Path: req.GetPath()}); err != nil {
		return nil, err
	}
	document, ok := s.control.Documents[req.GetPath()]
	if !ok {
		return nil, apierrors.NewGenericServerResponse(http.StatusNotFound, "get", schema.GroupResource{}, "", "", 0, false)
	}
	return &storev1.GetDocumentResponse{Content: document.Content, ContentType: document.ContentType}, nil
}

// forbiddenPath is forbidden for a path that is no resource.
func forbiddenPath(user, verb, path string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
		Details: &metav1.StatusDetails{},
		Message: fmt.Sprintf("forbidden: User %q cannot %s path %q", user, verb, path),
	}}
}
