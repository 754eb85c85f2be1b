package apistatus

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Of returns the Kubernetes Status of any error, with its TypeMeta.
func Of(err error) *metav1.Status {
	s := statusOf(err)
	s.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	if s.Status == "" {
		s.Status = metav1.StatusFailure
	}
	if s.Code < 400 || s.Code > 599 {
		s.Code = http.StatusInternalServerError
	}
	return &s
}

func statusOf(err error) metav1.Status {
	if _, ok := status.FromError(err); ok {
		err = FromGRPC(err)
	}
	var api apierrors.APIStatus
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &api):
		s := api.Status()
		return *s.DeepCopy()
	case errors.As(err, &tooLarge):
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", tooLarge.Limit)).ErrStatus
	case errors.Is(err, context.DeadlineExceeded):
		return apierrors.NewTimeoutError("request did not complete within the allowed duration", 0).ErrStatus
	case errors.Is(err, context.Canceled):
		return apierrors.NewTimeoutError("the request was cancelled", 0).ErrStatus
	}
	return apierrors.NewInternalError(err).ErrStatus
}
