package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"navarch.dev/navarch/internal/client"
)

const (
	clients          = 32
	createsPerClient = 60
	// createRatio is how much of etcd's own throughput the Store must reach.
	createRatio = 0.6
)

// measureCreates compares the throughput of creates in the Store, by clients
// with a gRPC connection each, with that of bare transactions of as many
// etcd clients.
func measureCreates(ctx context.Context, b *bench) ([]line, error) {
	c, err := b.cluster(ctx)
	if err != nil {
		return nil, err
	}
	ref, err := b.etcdReference(ctx)
	if err != nil {
		return nil, err
	}
	defer ref.stop()
	create, closeStore, err := storeCreators(c)
	if err != nil {
		return nil, err
	}
	defer closeStore()
	bare, closeEtcd, err := etcdCreators(ref)
	if err != nil {
		return nil, err
	}
	defer closeEtcd()
	var store, etcd []float64
	for round := range b.rounds + 1 {
		s, err := throughput(ctx, round, create)
		if err != nil {
			return nil, err
		}
		e, err := throughput(ctx, round, bare)
		if err != nil {
			return nil, err
		}
		if round > 0 { // the first round warms up
			store, etcd = append(store, s), append(etcd, e)
		}
	}
	measured, reference := median(store), median(etcd)
	return []line{{
		figure:    fmt.Sprintf("Store creates over gRPC, %d clients", clients),
		measured:  fmt.Sprintf("%.0f/s", measured),
		reference: fmt.Sprintf("%.0f/s bare etcd Txn puts", reference),
		ratio:     fmt.Sprintf("%.0f %%", 100*measured/reference),
		target:    fmt.Sprintf("≥ %.0f %%", 100*createRatio), met: measured >= createRatio*reference,
	}}, nil
}

// creator creates the object of a name.
type creator func(ctx context.Context, name string) error

func storeCreators(c *cluster) ([]creator, func(), error) {
	var creators []creator
	var closers []func() error
	for range clients {
		conn, err := c.dialStore()
		if err != nil {
			return nil, nil, err
		}
		closers = append(closers, conn.Close)
		store := client.New(conn, "bench")
		creators = append(creators, func(ctx context.Context, name string) error {
			return store.Create(ctx, configMap(name))
		})
	}
	return creators, closeAll(closers), nil
}

func etcdCreators(ref *reference) ([]creator, func(), error) {
	size, err := storedSize("create-0-00-00")
	if err != nil {
		return nil, nil, err
	}
	value := strings.Repeat("v", size)
	var creators []creator
	var closers []func() error
	for range clients {
		etcd, err := ref.client()
		if err != nil {
			return nil, nil, err
		}
		closers = append(closers, etcd.Close)
		creators = append(creators, func(ctx context.Context, name string) error {
			return put(ctx, etcd, "/registry/configmaps/default/"+name, value)
		})
	}
	return creators, closeAll(closers), nil
}

func closeAll(closers []func() error) func() {
	return func() {
		for _, c := range closers {
			_ = c()
		}
	}
}

// throughput lets all creators work at once and returns creates per second.
func throughput(ctx context.Context, round int, creators []creator) (float64, error) {
	g, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for i, create := range creators {
		g.Go(func() error {
			for n := range createsPerClient {
				if err := create(ctx, fmt.Sprintf("create-%d-%02d-%02d", round, i, n)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	return float64(len(creators)*createsPerClient) / time.Since(start).Seconds(), err
}

func median(values []float64) float64 {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}
