// Package apistatus carries Kubernetes API errors over gRPC. On the serving
// edge ToGRPC turns an error into a gRPC status whose details hold a
// google.rpc.ErrorInfo and the Kubernetes Status message; on the calling edge
// FromGRPC gives the *apierrors.StatusError back, so that apierrors.IsNotFound
// and its like work on both sides of a connection.
package apistatus

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// Domain is the ErrorInfo domain of every error Navarch makes.
	Domain = "navarch.dev"

	statusTypeURL = "type.googleapis.com/k8s.io.apimachinery.pkg.apis.meta.v1.Status"
)

// codeOf maps Kubernetes reasons to gRPC codes.
var codeOf = map[metav1.StatusReason]codes.Code{
	metav1.StatusReasonUnauthorized:          codes.Unauthenticated,
	metav1.StatusReasonForbidden:             codes.PermissionDenied,
	metav1.StatusReasonNotFound:              codes.NotFound,
	metav1.StatusReasonAlreadyExists:         codes.AlreadyExists,
	metav1.StatusReasonConflict:              codes.Aborted,
	metav1.StatusReasonGone:                  codes.OutOfRange,
	metav1.StatusReasonExpired:               codes.OutOfRange,
	metav1.StatusReasonInvalid:               codes.InvalidArgument,
	metav1.StatusReasonBadRequest:            codes.InvalidArgument,
	metav1.StatusReasonUnsupportedMediaType:  codes.InvalidArgument,
	metav1.StatusReasonNotAcceptable:         codes.InvalidArgument,
	metav1.StatusReasonRequestEntityTooLarge: codes.InvalidArgument,
	metav1.StatusReasonMethodNotAllowed:      codes.Unimplemented,
	metav1.StatusReasonTimeout:               codes.DeadlineExceeded,
	metav1.StatusReasonServerTimeout:         codes.Unavailable,
	metav1.StatusReasonServiceUnavailable:    codes.Unavailable,
	metav1.StatusReasonTooManyRequests:       codes.ResourceExhausted,
	metav1.StatusReasonInternalError:         codes.Internal,
}

// ToGRPC turns err into a gRPC status error. Errors that already are one pass
// through; nil is nil.
func ToGRPC(err error) error {
	if err == nil {
		return nil
	}
	var api apierrors.APIStatus
	if !errors.As(err, &api) {
		return plainToGRPC(err)
	}
	s := api.Status()
	code, ok := codeOf[s.Reason]
	if !ok {
		code = codeOfHTTP(s.Code)
	}
	st := status.New(code, s.Message)
	b, merr := s.Marshal()
	if merr != nil {
		return st.Err()
	}
	p := st.Proto()
	if info, ierr := anypb.New(&errdetails.ErrorInfo{Reason: string(s.Reason), Domain: Domain, Metadata: warningsToMetadata(err)}); ierr == nil {
		p.Details = append(p.Details, info)
	}
	p.Details = append(p.Details, &anypb.Any{TypeUrl: statusTypeURL, Value: b})
	return status.FromProto(p).Err()
}

func plainToGRPC(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	}
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	return ToGRPC(WithWarnings(apierrors.NewInternalError(err), Warnings(err)))
}

// FromGRPC turns an error of a gRPC call into an *apierrors.StatusError where
// it carries a Kubernetes Status or its code has a Kubernetes meaning. A
// cancelled or expired context comes back as the context's own error. nil is
// nil.
func FromGRPC(err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, d := range st.Proto().GetDetails() {
		if d.GetTypeUrl() != statusTypeURL {
			continue
		}
		var s metav1.Status
		if uerr := s.Unmarshal(d.GetValue()); uerr == nil {
			return WithWarnings(&apierrors.StatusError{ErrStatus: s}, warningsIn(st))
		}
	}
	return fromCode(st)
}

func fromCode(st *status.Status) error {
	switch st.Code() {
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	}
	reason, code := metav1.StatusReasonInternalError, int32(http.StatusInternalServerError)
	switch st.Code() {
	case codes.Unauthenticated:
		reason, code = metav1.StatusReasonUnauthorized, http.StatusUnauthorized
	case codes.PermissionDenied:
		reason, code = metav1.StatusReasonForbidden, http.StatusForbidden
	case codes.NotFound:
		reason, code = metav1.StatusReasonNotFound, http.StatusNotFound
	case codes.AlreadyExists:
		reason, code = metav1.StatusReasonAlreadyExists, http.StatusConflict
	case codes.Aborted:
		reason, code = metav1.StatusReasonConflict, http.StatusConflict
	case codes.OutOfRange:
		reason, code = metav1.StatusReasonExpired, http.StatusGone
	case codes.InvalidArgument, codes.FailedPrecondition:
		reason, code = metav1.StatusReasonBadRequest, http.StatusBadRequest
	case codes.ResourceExhausted:
		reason, code = metav1.StatusReasonTooManyRequests, http.StatusTooManyRequests
	case codes.Unavailable:
		reason, code = metav1.StatusReasonServiceUnavailable, http.StatusServiceUnavailable
	case codes.Unimplemented:
		reason, code = metav1.StatusReasonMethodNotAllowed, http.StatusMethodNotAllowed
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Reason: reason, Code: code, Message: strings.TrimSpace(st.Message()),
	}}
}

func codeOfHTTP(code int32) codes.Code {
	switch {
	case code >= 500:
		return codes.Internal
	case code == http.StatusNotFound:
		return codes.NotFound
	case code >= 400:
		return codes.InvalidArgument
	}
	return codes.Unknown
}
