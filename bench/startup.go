package main

import (
	"context"
	"fmt"
	"time"
)

// startupLimit is the time in which a cluster must be ready.
const startupLimit = 3 * time.Second

// measureStartup starts clusters and bare etcds on empty folders, in turns.
// The last cluster is kept for the rows that follow.
func measureStartup(ctx context.Context, b *bench) ([]line, error) {
	var up, bare samples
	for range b.rounds {
		if b.shared != nil {
			if err := b.shared.remove(ctx); err != nil {
				return nil, err
			}
			b.shared = nil
		}
		etcd, err := b.etcdReference(ctx)
		if err != nil {
			return nil, err
		}
		etcd.stop()
		bare = append(bare, etcd.started)
		c, err := b.cluster(ctx)
		if err != nil {
			return nil, err
		}
		up = append(up, c.started)
	}
	measured, reference := up.median(), bare.median()
	return []line{{
		figure:   "`up` → node Ready, first start",
		measured: show(measured), reference: show(reference) + " bare etcd ready",
		ratio: fmt.Sprintf("%.2f ×", float64(measured)/float64(reference)), target: "≤ " + startupLimit.String(), met: measured <= startupLimit,
	}}, nil
}
