package etcd

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// leaseSharing is the part of a TTL for which keys share a lease: a lease
	// for every Event would cost etcd more than the Events do.
	leaseSharing = 20
	// leaseKeys is how many keys share a lease at most, since they all expire
	// in one go.
	leaseKeys = 1000
)

// leases hands out leases for keys that expire.
type leases struct {
	client *clientv3.Client

	mu  sync.Mutex // guards the map
	ttl map[time.Duration]*lease
}

// lease is one that keys of a TTL share for now.
type lease struct {
	id    clientv3.LeaseID
	until time.Time
	keys  int
}

func newLeases(client *clientv3.Client) *leases {
	return &leases{client: client, ttl: make(map[time.Duration]*lease)}
}

// id returns the lease with which a key expires after ttl: at that time or up
// to a twentieth later. A TTL of 0 needs none.
func (l *leases) id(ctx context.Context, ttl time.Duration) (clientv3.LeaseID, error) {
	if ttl <= 0 {
		return clientv3.NoLease, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	shared := l.ttl[ttl]
	if shared == nil || now.After(shared.until) || shared.keys >= leaseKeys {
		window := max(ttl/leaseSharing, time.Second)
		granted, err := l.client.Grant(ctx, int64((ttl+window+time.Second-1)/time.Second))
		if err != nil {
			return clientv3.NoLease, fmt.Errorf("get a lease of %s: %w", ttl, translate(err))
		}
		shared = &lease{id: granted.ID, until: now.Add(window)}
		l.ttl[ttl] = shared
	}
	shared.keys++
	return shared.id, nil
}
