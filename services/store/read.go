package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/registry"
)

const (
	// reachTimeout is how long a read waits for the cache to reach a version that
	// the client names, as in Kubernetes: there may be none.
	reachTimeout = 3 * time.Second
	// freshTimeout is how long a read waits for the cache to hold all that has
	// been written. That comes to pass, so on a machine that is overloaded a late
	// answer is better than none.
	freshTimeout = 15 * time.Second
)

// parseRevision reads a resourceVersion; "" is 0. What is too large for a
// revision is one that is never reached.
func parseRevision(rv string) (int64, *field.Error) {
	if rv == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(rv, 10, 64)
	if err != nil {
		return 0, field.Invalid(field.NewPath("resourceVersion"), rv, err.Error())
	}
	return int64(min(n, math.MaxInt64)), nil
}

// await waits until the cache is as new as a resourceVersion asks: "" is the
// newest there is, "0" is any, a number is at least that.
func (s *Store) await(ctx context.Context, c *cache.Cache, rv string) error {
	revision, invalid := parseRevision(rv)
	if invalid != nil {
		return apierrors.NewBadRequest("invalid resource version: " + invalid.Error())
	}
	timeout, reach := reachTimeout, func(ctx context.Context) error { return c.Reach(ctx, revision) }
	if rv == "" {
		timeout, reach = freshTimeout, c.Fresh
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := reach(bounded)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, cache.ErrClosed):
		return apierrors.NewGenericServerResponse(http.StatusNotFound, "", schema.GroupResource{}, "", "", 0, false)
	case errors.Is(err, cache.ErrFuture) && rv != "":
		return tooLarge(revision, c.Revision())
	case errors.Is(err, cache.ErrFuture), errors.Is(err, context.DeadlineExceeded):
		return apierrors.NewServiceUnavailable("the store has not caught up with its backend")
	}
	return registry.BackendError(err)
}

// tooLarge answers a read of a version that does not exist yet.
func tooLarge(revision, current int64) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", revision, current), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return err
}

// historyError turns the cache's errors about the past into API errors.
func historyError(err error, expired string) error {
	var before *cache.ExpiredError
	switch {
	case errors.As(err, &before):
		return apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", before.Revision, before.Oldest))
	case errors.Is(err, cache.ErrExpired):
		return apierrors.NewResourceExpired(expired)
	case errors.Is(err, cache.ErrSlow):
		return apierrors.NewTooManyRequests("the watcher was too slow and has been cut off: watch again from the last resourceVersion seen", 1)
	}
	return registry.BackendError(err)
}
