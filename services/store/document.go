package store

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"github.com/prometheus/common/expfmt"
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
	a := access.Attributes{User: user, Verb: "get", Path: req.GetPath()}
	seat, err := s.admit(ctx, &a)
	if err != nil {
		return nil, err
	}
	defer seat.Release()
	if err := s.authorizePath(ctx, a); err != nil {
		return nil, err
	}
	if req.GetPath() == metricsPath {
		return s.metricsDocument(req.GetAccept())
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

// metricsPath is where Kubernetes' API servers publish their metrics.
const metricsPath = "/metrics"

// metricsDocument is this Store's metrics as Prometheus reads them: text, or the
// Protobuf that native histograms need.
func (s *Store) metricsDocument(accept string) (*storev1.GetDocumentResponse, error) {
	families, err := s.tel.Metrics.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather the metrics: %w", err)
	}
	format := expfmt.Negotiate(http.Header{"Accept": {accept}})
	var content bytes.Buffer
	encoder := expfmt.NewEncoder(&content, format)
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return nil, fmt.Errorf("write the metrics: %w", err)
		}
	}
	return &storev1.GetDocumentResponse{ContentType: string(format), Content: content.Bytes()}, nil
}
