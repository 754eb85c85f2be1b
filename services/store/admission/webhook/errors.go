package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// callError says that a hook could not be asked, or gave no sound answer.
type callError struct {
	webhook string
	err     error
}

func (e *callError) Error() string {
	return fmt.Sprintf("failed calling webhook %q: %v", e.webhook, e.err)
}

func (e *callError) Unwrap() error { return e.err }

func isCallError(err error) bool {
	var call *callError
	return errors.As(err, &call)
}

// refusal is what the user is told of an error: a hook that cannot be asked and
// must be is an internal error.
func refusal(err error) error {
	var status apierrors.APIStatus
	if !isCallError(err) && errors.As(err, &status) {
		return err
	}
	return apierrors.NewInternalError(err)
}

// outOfTime is what the user is told when the request's own time is up.
func outOfTime(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return apierrors.NewTimeoutError("request did not complete within requested timeout", 0)
}

// denial is the error of a request that a hook refuses, made of the status in
// its answer; nil is none.
func denial(webhook string, given *metav1.Status) error {
	status := metav1.Status{}
	if given != nil {
		status = *given
	}
	if status.Code < http.StatusBadRequest {
		status.Code = http.StatusBadRequest
	}
	if status.Status == "" || status.Status == metav1.StatusSuccess {
		status.Status = metav1.StatusFailure
	}
	denied := fmt.Sprintf("admission webhook %q denied the request", webhook)
	switch {
	case status.Message != "":
		status.Message = denied + ": " + status.Message
	case status.Reason != "":
		status.Message = denied + ": " + string(status.Reason)
	default:
		status.Message = denied + " without explanation"
	}
	return &apierrors.StatusError{ErrStatus: status}
}

func noDryRun(webhook string) error {
	return apierrors.NewBadRequest(fmt.Sprintf("admission webhook %q does not support dry run", webhook))
}
