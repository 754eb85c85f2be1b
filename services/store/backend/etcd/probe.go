package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// Probe implements backend.Prober. Of an external cluster the servers are those
// that the configuration names.
func (b *Backend) Probe(ctx context.Context) []error {
	if b.server != nil {
		_, err := b.Revision(ctx)
		return []error{err}
	}
	endpoints := b.client.Endpoints()
	errs := make([]error, len(endpoints))
	var wg sync.WaitGroup
	for i, endpoint := range endpoints {
		wg.Go(func() { errs[i] = b.probe(ctx, endpoint) })
	}
	wg.Wait()
	return errs
}

// probe asks one server of an external cluster.
func (b *Backend) probe(ctx context.Context, endpoint string) error {
	status, err := b.client.Status(ctx, endpoint)
	switch {
	case err != nil:
		return fmt.Errorf("ask etcd at %s: %w", endpoint, err)
	case len(status.Errors) > 0:
		return fmt.Errorf("etcd at %s: %s", endpoint, strings.Join(status.Errors, ", "))
	case status.Leader == 0:
		return errors.New("etcd at " + endpoint + " has no leader")
	}
	return nil
}
