package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/registry"
)

// reachTimeout is how long a read waits for the cache to come as far as it
// needs.
const reachTimeout = 3 * time.Second

// parseRevision reads a resourceVersion; "" is 0.
func parseRevision(rv string) (int64, error) {
	if rv == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(rv, 10, 64)
	if err != nil || n < 0 {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("Invalid value: %q: resourceVersion must be a non-negative integer", rv))
	}
	return n, nil
}

// await waits until the cache is as new as a resourceVersion asks: "" is the
// newest there is, "0" is any, a number is at least that.
func (s *Store) await(ctx context.Context, c *cache.Cache, rv string) error {
	revision, err := parseRevision(rv)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	if rv == "" {
		err = c.Fresh(bounded)
	} else {
		err = c.Reach(bounded, revision)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
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
	switch {
	case errors.Is(err, cache.ErrExpired):
		return apierrors.NewResourceExpired(expired)
	case errors.Is(err, cache.ErrSlow):
		return apierrors.NewTooManyRequests("the watcher was too slow and has been cut off: watch again from the last resourceVersion seen", 1)
	}
	return registry.BackendError(err)
}
