package etcd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"navarch.dev/navarch/services/store/backend"
)

// Get implements backend.Backend.
func (b *Backend) Get(ctx context.Context, key string, revision int64) (*backend.KeyValue, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	at, err := seenAt(revision, key)
	if err != nil {
		return nil, fmt.Errorf("get %s at %d: %w", key, revision, err)
	}
	resp, err := b.client.Get(ctx, key, clientv3.WithRev(at))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, translate(err))
	}
	b.shown(key, resp.Header.Revision)
	if len(resp.Kvs) == 0 {
		return nil, nil
	}
	kv := keyValue(resp.Kvs[0])
	return &kv, nil
}

// shown notes that somebody may learn what a key, or all with a prefix, are at one of
// etcd's revisions.
func (b *Backend) shown(key string, revision int64) {
	if b.roster != nil {
		b.roster.saw(revision)
	}
	b.touched.raise(key, revision)
}

// keyValue returns what etcd tells of a key.
func keyValue(kv *mvccpb.KeyValue) backend.KeyValue {
	key := string(kv.GetKey())
	return backend.KeyValue{Key: key, Value: kv.GetValue(), Revision: changeAt(kv.GetModRevision(), key)}
}

// List implements backend.Backend.
func (b *Backend) List(ctx context.Context, prefix string, opts backend.ListOptions) (backend.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if opts.Revision == 0 {
		page, err := b.list(ctx, prefix, opts, 0)
		page.Revision = stateAfter(page.Revision)
		return page, err
	}
	transaction, slot, err := split(opts.Revision)
	if err != nil {
		return backend.Page{}, fmt.Errorf("list %s at %d: %w", prefix, opts.Revision, err)
	}
	var page backend.Page
	if slot == lastSlot || transaction == 1 {
		page, err = b.list(ctx, prefix, opts, transaction)
	} else {
		page, err = b.listWithin(ctx, prefix, opts, transaction, slot)
	}
	page.Revision = opts.Revision
	return page, err
}

// listWithin reads a page as of a slot of a transaction, which somebody asks for who
// has seen a change of the transaction, but not the next: keys whose slots come later
// are as they were before the transaction.
func (b *Backend) listWithin(ctx context.Context, prefix string, opts backend.ListOptions, transaction, slot int64) (backend.Page, error) {
	for {
		before, err := b.list(ctx, prefix, opts, transaction-1)
		if err != nil {
			return backend.Page{}, err
		}
		after, err := b.list(ctx, prefix, opts, transaction)
		if err != nil {
			return backend.Page{}, err
		}
		page, end := between(before, after, slot, int(opts.Limit))
		if len(page.Items) > 0 || page.Remaining == 0 {
			return page, nil
		}
		opts.After = end
	}
}

// between puts a page together from those before and after a transaction. It ends
// where one of them does that is not the last, which is returned.
func between(before, after backend.Page, slot int64, limit int) (page backend.Page, end string) {
	for _, p := range []backend.Page{before, after} {
		if p.Remaining > 0 {
			last := p.Items[len(p.Items)-1].Key
			if end == "" || last < end {
				end = last
			}
		}
	}
	add := func(p backend.Page, has func(slot int64) bool) {
		for _, kv := range p.Items {
			if has(slotOf(kv.Key)) && (end == "" || kv.Key <= end) {
				page.Items = append(page.Items, kv)
			}
		}
	}
	add(before, func(s int64) bool { return s > slot })
	add(after, func(s int64) bool { return s <= slot })
	slices.SortFunc(page.Items, func(a, b backend.KeyValue) int { return strings.Compare(a.Key, b.Key) })
	page.Remaining = max(before.Remaining, after.Remaining)
	if surplus := len(page.Items) - limit; limit > 0 && surplus > 0 {
		page.Items, page.Remaining = page.Items[:limit], page.Remaining+int64(surplus)
	}
	return page, end
}

// list reads a page as of one of etcd's revisions, which stands in it.
func (b *Backend) list(ctx context.Context, prefix string, opts backend.ListOptions, at int64) (backend.Page, error) {
	start := prefix
	if opts.After >= prefix && opts.After != "" {
		start = opts.After + "\x00"
	}
	resp, err := b.client.Get(ctx, start, clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)),
		clientv3.WithRev(at), clientv3.WithLimit(opts.Limit))
	if err != nil {
		return backend.Page{}, fmt.Errorf("list %s: %w", prefix, translate(err))
	}
	b.shown(prefix, resp.Header.Revision)
	page := backend.Page{Revision: resp.Header.Revision, Remaining: resp.Count - int64(len(resp.Kvs))}
	for _, kv := range resp.Kvs {
		page.Items = append(page.Items, keyValue(kv))
	}
	return page, nil
}
