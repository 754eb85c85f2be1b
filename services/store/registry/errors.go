package registry

import (
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/backend"
)

// errModified is what an optimistic writer is told when it lost.
var errModified = errors.New("the object has been modified; please apply your changes to the latest version and try again")

// conflict returns the error of a write that lost.
func conflict(kind *kinds.Kind, name string) error {
	return apierrors.NewConflict(kind.GroupResource(), name, errModified)
}

// BackendError turns an error of the backend into an API error.
func BackendError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, backend.ErrUnavailable):
		return apierrors.NewServiceUnavailable(err.Error())
	case errors.Is(err, backend.ErrTooLarge):
		return apierrors.NewRequestEntityTooLargeError(err.Error())
	case errors.Is(err, backend.ErrNoSpace):
		e := apierrors.NewInternalError(err)
		e.ErrStatus.Code, e.ErrStatus.Reason = 507, metav1.StatusReason("InsufficientStorage")
		return e
	}
	return err
}
