package etcd

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"navarch.dev/navarch/services/store/backend"
)

const (
	// rosterPrefix begins the keys of the Stores that use an etcd cluster.
	rosterPrefix = "/stores/"
	// registrationTTL is how long a Store stays registered that is not heard of.
	registrationTTL = 10 * time.Second
	// maxReadLease bounds what a Store that joins has to wait for.
	maxReadLease = 10 * time.Second
	// rejoinPause is between attempts to register again.
	rejoinPause = 200 * time.Millisecond
)

// roster keeps this Store registered with an external etcd, so that one that is
// alone knows it: while nobody else writes, the newest revision is that of its own
// last write, and need not be asked for.
//
// It rests on four rules. (1) A write holds only while the key of the Store's
// registration exists: etcd judges that with the write's own conditions. (2) Whoever
// asks etcd for the revision looks at the roster with the same request; a Store that
// finds itself alone there may take its own word until a read lease after the request
// was sent, and not beyond the time for which its registration is sure to last.
// (3) A Store that registers and finds others neither reads nor writes until all read
// leases that these may hold have ended. (4) What a read has shown counts like a
// write of one's own.
//
// So while one takes its own word nobody else is told that a write is done, or shown
// one that is not. The rules compare times of one clock only; that of another must not
// run slower by more than a tenth.
type roster struct {
	lease    time.Duration // the read lease; 0 never takes its own word
	ttl      time.Duration
	client   *clientv3.Client
	kv       pb.KVClient
	log      *slog.Logger
	now      func() time.Duration // of a clock that goes on while the machine sleeps
	renewing atomic.Bool
	newest   atomic.Int64 // the newest of etcd's revisions that is known
	// aloneTill is until when this Store takes its own word, on the clock of now;
	// aloneSince is etcd's revision when it began to, without a break, and set before.
	aloneTill, aloneSince atomic.Int64
	lost                  chan *registration

	mu sync.Mutex // guards the fields below, and is held while aloneTill changes
	// current is nil while the Store is not registered, or waits for others.
	current *registration
	changed chan struct{} // closed when current has been set
}

// registration is one entry of this Store in the roster.
type registration struct {
	key      []byte
	revision int64 // of etcd, at which it was made
	lease    clientv3.LeaseID
	// heldTill is until when etcd is sure to keep the entry.
	heldTill atomic.Int64
}

// entry is what others read of a registration.
type entry struct {
	// ReadLease is for how long the Store may take its own word.
	ReadLease string `json:"readLease"`
}

func newRoster(client *clientv3.Client, kv pb.KVClient, cfg Config, log *slog.Logger) *roster {
	return &roster{
		lease: cfg.ReadLease, ttl: cfg.registrationTTL, client: client, kv: kv, log: log, now: sinceBoot,
		lost: make(chan *registration, 1), changed: make(chan struct{}),
	}
}

func inRoster() *pb.RangeRequest {
	return &pb.RangeRequest{Key: []byte(rosterPrefix), RangeEnd: []byte(clientv3.GetPrefixRangeEnd(rosterPrefix))}
}

// others returns the values of the other registrations.
func others(resp *pb.RangeResponse, own *registration) [][]byte {
	var values [][]byte
	for _, kv := range resp.GetKvs() {
		if string(kv.GetKey()) != string(own.key) {
			values = append(values, kv.GetValue())
		}
	}
	return values
}

// fence returns the condition under which this Store may write, once there is one.
func (r *roster) fence(ctx context.Context) (*registration, *pb.Compare, error) {
	own, err := r.registered(ctx)
	if err != nil {
		return nil, nil, err
	}
	return own, &pb.Compare{
		Key: own.key, Target: pb.Compare_MOD, Result: pb.Compare_EQUAL,
		TargetUnion: &pb.Compare_ModRevision{ModRevision: own.revision},
	}, nil
}

// registered waits until this Store is registered and need not wait for others.
func (r *roster) registered(ctx context.Context) (*registration, error) {
	for {
		r.mu.Lock()
		own, changed := r.current, r.changed
		r.mu.Unlock()
		if own != nil {
			return own, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: this store is not registered with etcd: %w", backend.ErrUnavailable, ctx.Err())
		}
	}
}

// leave notes that etcd does not know a registration any more.
func (r *roster) leave(own *registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current == own {
		r.current = nil
		r.aloneTill.Store(0)
		r.lost <- own // there is room: each registration is lost once
	}
}

// enter makes a registration the one that counts.
func (r *roster) enter(own *registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current = own
	close(r.changed)
	r.changed = make(chan struct{})
}

// run keeps the Store registered until ctx ends, and then ends the registration.
func (r *roster) run(ctx context.Context, own *registration) {
	for ctx.Err() == nil {
		r.keep(ctx, own)
		if ctx.Err() != nil {
			break
		}
		r.log.WarnContext(ctx, "etcd has dropped this store's registration: it did not hear of it for too long", "ttl", r.ttl)
		own = r.rejoin(ctx)
	}
	r.aloneTill.Store(0)
	if own != nil {
		r.remove(own)
	}
}

// keep renews a registration until it is lost or ctx ends.
func (r *roster) keep(ctx context.Context, own *registration) {
	tick := time.NewTicker(r.ttl / 5)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := r.renew(ctx, own); errors.Is(err, rpctypes.ErrLeaseNotFound) {
				r.leave(own)
			} else if err != nil && ctx.Err() == nil {
				r.log.DebugContext(ctx, "the registration with etcd was not renewed", "error", err)
			}
		case <-r.lost:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (r *roster) renew(ctx context.Context, own *registration) error {
	ctx, cancel := context.WithTimeout(ctx, r.ttl/5)
	defer cancel()
	sent := r.now()
	if _, err := r.client.KeepAliveOnce(ctx, own.lease); err != nil {
		return fmt.Errorf("renew the registration: %w", err)
	}
	own.heldTill.Store(r.sure(sent))
	return nil
}

// sure is until when a registration lasts that etcd was asked to keep at a time.
func (r *roster) sure(sent time.Duration) int64 { return int64(sent + r.ttl/10*9) }

// rejoin registers again, as often as it takes; nil if ctx ends before.
func (r *roster) rejoin(ctx context.Context) *registration {
	for {
		own, err := r.join(ctx)
		if err == nil {
			r.enter(own)
			return own
		}
		select {
		case <-time.After(rejoinPause):
		case <-ctx.Done():
			return nil
		}
	}
}

// join registers this Store and waits until no other takes its own word.
func (r *roster) join(ctx context.Context) (*registration, error) {
	own := &registration{key: []byte(rosterPrefix + rand.Text())}
	sent := r.now()
	grant, err := r.client.Grant(ctx, int64(r.ttl/time.Second))
	if err != nil {
		return nil, fmt.Errorf("register with etcd: %w", translate(err))
	}
	own.lease = grant.ID
	own.heldTill.Store(r.sure(sent))
	value, err := json.Marshal(entry{ReadLease: r.lease.String()})
	if err != nil {
		return nil, err
	}
	put, err := r.kv.Put(ctx, &pb.PutRequest{Key: own.key, Value: value, Lease: int64(own.lease)})
	if err == nil {
		own.revision = put.GetHeader().GetRevision()
		err = r.await(ctx, own)
	}
	if err != nil {
		r.remove(own)
		return nil, fmt.Errorf("register with etcd: %w", translate(err))
	}
	return own, nil
}

// await waits until the read leases have ended that others may have had when this Store
// registered, and keeps the registration meanwhile.
func (r *roster) await(ctx context.Context, own *registration) error {
	resp, err := r.kv.Range(ctx, inRoster())
	if err != nil {
		return clientv3.ContextError(ctx, err)
	}
	r.saw(resp.GetHeader().GetRevision())
	var longest time.Duration
	for _, value := range others(resp, own) {
		longest = max(longest, readLeaseOf(value))
	}
	if longest == 0 {
		return nil
	}
	over := time.NewTimer(longest + longest/10)
	defer over.Stop()
	tick := time.NewTicker(r.ttl / 5)
	defer tick.Stop()
	for {
		select {
		case <-over.C:
			return nil
		case <-tick.C:
			if err := r.renew(ctx, own); errors.Is(err, rpctypes.ErrLeaseNotFound) {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// readLeaseOf returns how long another Store may take its own word.
func readLeaseOf(value []byte) time.Duration {
	var e entry
	if json.Unmarshal(value, &e) != nil {
		return maxReadLease
	}
	d, err := time.ParseDuration(e.ReadLease)
	if err != nil || d < 0 || d > maxReadLease {
		return maxReadLease
	}
	return d
}

// remove ends a registration, if etcd can be reached; otherwise it ends by itself.
func (r *roster) remove(own *registration) {
	ctx, cancel := context.WithTimeout(context.Background(), r.ttl/10)
	defer cancel()
	if _, err := r.client.Revoke(ctx, own.lease); err != nil {
		r.log.Debug("the registration with etcd was not ended", "error", err)
	}
}
