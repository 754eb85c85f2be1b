package apistatus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var pods = schema.GroupResource{Resource: "pods"}

// every is an error of each reason.
func every() map[metav1.StatusReason]*apierrors.StatusError {
	return map[metav1.StatusReason]*apierrors.StatusError{
		metav1.StatusReasonUnauthorized:  apierrors.NewUnauthorized("who are you"),
		metav1.StatusReasonForbidden:     apierrors.NewForbidden(pods, "web", errors.New("no rule allows it")),
		metav1.StatusReasonNotFound:      apierrors.NewNotFound(pods, "web"),
		metav1.StatusReasonAlreadyExists: apierrors.NewAlreadyExists(pods, "web"),
		metav1.StatusReasonConflict:      apierrors.NewConflict(pods, "web", errors.New("it has changed")),
		metav1.StatusReasonGone:          {ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: 410, Reason: metav1.StatusReasonGone, Message: "gone"}},
		metav1.StatusReasonExpired:       apierrors.NewResourceExpired("too old"),
		metav1.StatusReasonInvalid: apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "web",
			field.ErrorList{field.Required(field.NewPath("spec", "containers"), "")}),
		metav1.StatusReasonBadRequest: apierrors.NewBadRequest("not JSON"),
		metav1.StatusReasonUnsupportedMediaType: {ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: 415, Reason: metav1.StatusReasonUnsupportedMediaType, Message: "text"}},
		metav1.StatusReasonNotAcceptable: {ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: 406, Reason: metav1.StatusReasonNotAcceptable, Message: "pictures"}},
		metav1.StatusReasonRequestEntityTooLarge: apierrors.NewRequestEntityTooLargeError("3 MiB"),
		metav1.StatusReasonMethodNotAllowed:      apierrors.NewMethodNotSupported(pods, "dance"),
		metav1.StatusReasonTimeout:               apierrors.NewTimeoutError("late", 2),
		metav1.StatusReasonServerTimeout:         apierrors.NewServerTimeout(pods, "get", 2),
		metav1.StatusReasonServiceUnavailable:    apierrors.NewServiceUnavailable("starting"),
		metav1.StatusReasonTooManyRequests:       apierrors.NewTooManyRequests("slowly", 3),
		metav1.StatusReasonInternalError:         apierrors.NewInternalError(errors.New("bug")),
	}
}

func TestEveryReasonCrossesAConnection(t *testing.T) {
	for reason, code := range codeOf {
		want, ok := every()[reason]
		if !ok {
			t.Errorf("no error with the reason %s is tested", reason)
			continue
		}
		wire := ToGRPC(fmt.Errorf("write it: %w", want))
		if got := status.Code(wire); got != code {
			t.Errorf("%s has the code %s, want %s", reason, got, code)
		}
		var got *apierrors.StatusError
		if !errors.As(FromGRPC(wire), &got) {
			t.Errorf("%s came back as %v", reason, FromGRPC(wire))
			continue
		}
		if diff := cmp.Diff(want.ErrStatus, got.ErrStatus); diff != "" {
			t.Errorf("%s changed on its way (-sent +received):\n%s", reason, diff)
		}
		if again := ToGRPC(got); again.Error() != wire.Error() {
			t.Errorf("%s is %v at a second server, was %v", reason, again, wire)
		}
	}
}

func TestErrorsNameTheirDomain(t *testing.T) {
	for _, detail := range status.Convert(ToGRPC(apierrors.NewNotFound(pods, "web"))).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			if info.GetDomain() != Domain || info.GetReason() != "NotFound" {
				t.Errorf("the ErrorInfo is %v", info)
			}
			return
		}
	}
	t.Error("there is no ErrorInfo")
}

func TestOtherErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		code codes.Code
		back func(error) bool
	}{
		{"nothing", nil, codes.OK, func(err error) bool { return err == nil }},
		{"cancelled", fmt.Errorf("ask: %w", context.Canceled), codes.Canceled, isError(context.Canceled)},
		{"out of time", fmt.Errorf("ask: %w", context.DeadlineExceeded), codes.DeadlineExceeded, isError(context.DeadlineExceeded)},
		{"of no kind", errors.New("disk full"), codes.Internal, apierrors.IsInternalError},
		{"a status already", status.Error(codes.NotFound, "no such image"), codes.NotFound, apierrors.IsNotFound},
		{"a wrapped status", fmt.Errorf("pull: %w", status.Error(codes.Unavailable, "down")), codes.Unavailable, apierrors.IsServiceUnavailable},
		{"a precondition", status.Error(codes.FailedPrecondition, "not running"), codes.FailedPrecondition, apierrors.IsBadRequest},
		{"an unknown reason", &apierrors.StatusError{ErrStatus: metav1.Status{Code: 418, Reason: "Teapot"}}, codes.InvalidArgument,
			func(err error) bool { return apierrors.ReasonForError(err) == "Teapot" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wire := ToGRPC(tc.err)
			if got := status.Code(wire); got != tc.code {
				t.Errorf("the code is %s, want %s", got, tc.code)
			}
			if back := FromGRPC(wire); !tc.back(back) {
				t.Errorf("it came back as %v", back)
			}
		})
	}
}

func isError(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func TestWarningsTravel(t *testing.T) {
	refused := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "x", errors.New("no"))
	for _, tc := range []struct {
		name string
		err  error
		want []string
	}{
		{"none", refused, nil},
		{"some", WithWarnings(refused, []string{"careful", "\u00e4 \"b\"\n"}), []string{"careful", "\u00e4 \"b\"\n"}},
		{"wrapped", fmt.Errorf("create: %w", WithWarnings(refused, []string{"careful"})), []string{"careful"}},
		{"beside what is no API error", WithWarnings(errors.New("disk full"), []string{"careful"}), []string{"careful"}},
		{"of success", WithWarnings(nil, []string{"careful"}), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wire := ToGRPC(tc.err)
			for _, err := range []error{tc.err, wire, FromGRPC(wire)} {
				if got := Warnings(err); !slices.Equal(got, tc.want) {
					t.Errorf("the warnings of %v are %q, want %q", err, got, tc.want)
				}
			}
		})
	}
}
