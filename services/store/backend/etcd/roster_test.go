package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"navarch.dev/navarch/internal/testseed"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/backend/etcd"
	"navarch.dev/navarch/services/store/backend/etcdtest"
)

// The shortest times with which an etcd that elects its leaders as by default keeps
// Stores registered, and with which Stores meet often enough while some hold a lease.
const (
	shortTTL   = 2 * time.Second
	shortLease = 300 * time.Millisecond
)

// member is one Store's way to etcd.
type member struct {
	*etcd.Backend
	proxy *etcdtest.Proxy
}

func joinEtcd(t *testing.T, address string) *member {
	t.Helper()
	m := &member{proxy: etcdtest.NewProxy(t, address)}
	cfg := etcdtest.Config(m.proxy.Address()).WithRegistrationTTL(shortTTL)
	cfg.ReadLease = shortLease
	b, err := etcd.Open(context.Background(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	m.Backend = b
	return m
}

// client returns etcd's own client, which is registered as nobody.
func client(t *testing.T, address string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"http://" + address}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (m *member) leave() {
	_ = m.Close()
	m.proxy.Close()
}

// untilAlone asks until the Store knows that it is alone.
func (m *member) untilAlone(t *testing.T) {
	t.Helper()
	for !m.Alone() {
		if _, err := m.Revision(t.Context()); err != nil {
			t.Fatalf("before the store was found to be alone: %v", err)
		}
	}
}

// highest is the largest of the numbers it is told of.
type highest struct{ atomic.Int64 }

func (h *highest) raise(n int64) {
	for have := h.Load(); have < n && !h.CompareAndSwap(have, n); have = h.Load() {
	}
}

// crowd are Stores that come and go, and what has been made known through them.
type crowd struct {
	t       *testing.T
	address string
	etcd    *clientv3.Client // asked by nobody but the test
	members [3]atomic.Pointer[member]
	// known is the newest revision that anybody has been told of: by an answer to a
	// write or to a question.
	known highest
	// under is the newest revision of a change of what is written under a prefix that
	// anybody has been told of, or shown.
	under [2]highest
	alone atomic.Int64 // questions that were answered without etcd, or could have been
}

func prefixOf(part int) string { return fmt.Sprintf("/written/%d/", part) }

// write writes until ctx ends.
func (c *crowd) write(ctx context.Context, part int) {
	key := prefixOf(part) + "key"
	for n := 0; ctx.Err() == nil; n++ {
		m := c.members[n%len(c.members)].Load()
		if m == nil {
			continue
		}
		r, err := m.Commit(ctx, backend.Op{Type: backend.Put, Key: key, Value: fmt.Append(nil, n), Expect: backend.Any})
		switch {
		case err == nil:
			c.known.raise(r.Revision)
			c.under[part].raise(r.Revision)
		case !errors.Is(err, backend.ErrUnavailable) && ctx.Err() == nil:
			c.t.Errorf("a write failed: %v", err)
		}
	}
}

// read asks for the newest revision until ctx ends: it is not to be older than what
// anybody knew before.
func (c *crowd) read(ctx context.Context, n int) {
	for ; ctx.Err() == nil; n++ {
		m := c.members[n%len(c.members)].Load()
		if m == nil {
			continue
		}
		c.readUnder(ctx, m, n%len(c.under))
		known, alone := c.known.Load(), m.Alone()
		revision, err := m.Revision(ctx)
		if err != nil {
			continue // etcd may be out of reach
		}
		if revision < known {
			c.t.Errorf("the newest revision is told to be %d, when %d was known (alone: %t)", revision, known, alone)
			return
		}
		c.known.raise(revision)
		if alone {
			c.alone.Add(1)
		}
	}
}

// readUnder asks what is known of a prefix, and reads the key.
func (c *crowd) readUnder(ctx context.Context, m *member, part int) {
	before := c.under[part].Load()
	switch revision, ok := m.Known(prefixOf(part)); {
	case ok && revision < before:
		c.t.Errorf("known is %d, when %d had been told", revision, before)
	case ok:
		c.under[part].raise(revision)
	}
	if kv, err := m.Get(ctx, prefixOf(part)+"key", 0); err == nil && kv != nil {
		c.under[part].raise(kv.Revision)
	}
}

// disturb has a Store come, go, or be out of reach until etcd has forgotten it.
func (c *crowd) disturb(rnd *rand.Rand) {
	slot := rnd.IntN(len(c.members))
	m := c.members[slot].Load()
	switch {
	case m == nil:
		c.members[slot].Store(joinEtcd(c.t, c.address))
	case rnd.IntN(4) == 0:
		c.forget(m)
	case rnd.IntN(4) == 0:
		m.proxy.Cut()
	default:
		c.members[slot].Store(nil)
		m.leave()
	}
}

// forget keeps a Store from etcd until that has dropped its registration.
func (c *crowd) forget(m *member) {
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	dropped := c.etcd.Watch(clientv3.WithRequireLeader(ctx), "/stores/", clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	<-dropped // the watch is there
	for registered := false; !registered && ctx.Err() == nil; {
		_, err := m.Revision(ctx) // which only a Store that is registered tells
		registered = err == nil
	}
	m.proxy.Dark(true)
	<-dropped
	m.proxy.Dark(false)
}

func TestRevisionsWhileStoresComeAndGo(t *testing.T) {
	t.Parallel()
	address := etcdtest.Serve(t)
	c := &crowd{t: t, address: address, etcd: client(t, address)}
	c.members[0].Store(joinEtcd(t, c.address))
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	for n := range 2 {
		working.Go(func() { c.write(ctx, n) })
		working.Go(func() { c.read(ctx, n) })
	}
	rnd := rand.New(rand.NewPCG(testseed.Of(t), 0))
	for range testseed.Times(t, 12) {
		c.disturb(rnd)
	}
	cancel()
	working.Wait()
	for i := range c.members {
		if m := c.members[i].Load(); m != nil {
			m.leave()
		}
	}
	t.Logf("%d questions by a store that was alone, up to revision %d", c.alone.Load(), c.known.Load())
	if c.alone.Load() == 0 {
		t.Error("no store ever took its own word")
	}
}

// A Store that is alone needs no etcd for a while; then it says that etcd is away.
func TestAloneWithoutEtcd(t *testing.T) {
	t.Parallel()
	m := joinEtcd(t, etcdtest.Serve(t))
	defer m.leave()
	m.untilAlone(t)
	r, err := m.Commit(t.Context(), backend.Op{Type: backend.Put, Key: "/a", Value: []byte("v"), Expect: 0})
	if err != nil {
		t.Fatal(err)
	}
	m.proxy.Dark(true)
	defer m.proxy.Dark(false)
	if newest, err := m.Revision(t.Context()); m.Alone() && (err != nil || newest < r.Revision) {
		t.Errorf("while alone: %d, %v, want at least %d", newest, err, r.Revision)
	}
	for m.Alone() {
		_, _ = m.Revision(t.Context()) // it answers, and cannot prolong the lease
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := m.Revision(ctx); !errors.Is(err, backend.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without etcd: %v, want ErrUnavailable", err)
	}
}

// What is known of a prefix is about the prefix: a read need not wait for changes of
// other things.
func TestKnown(t *testing.T) {
	t.Parallel()
	external := joinEtcd(t, etcdtest.Serve(t))
	defer external.leave()
	external.untilAlone(t)
	embedded := open(t, t.TempDir())
	defer func() { _ = embedded.Close() }()
	for name, b := range map[string]backend.Backend{"external": external, "embedded": embedded} {
		known := func() int64 {
			for t.Context().Err() == nil {
				if r, ok := b.Known("/a/"); ok {
					return r
				}
				if _, err := b.Revision(t.Context()); err != nil { // the lease has ended
					t.Fatal(err)
				}
			}
			return 0
		}
		put := func(key string) int64 {
			r, err := b.Commit(t.Context(), backend.Op{Type: backend.Put, Key: key, Value: []byte("v"), Expect: backend.Any})
			if err != nil {
				t.Fatal(err)
			}
			return r.Revision
		}
		if written := put("/a/1"); known() < written {
			t.Errorf("%s: known is %d after a write at %d", name, known(), written)
		}
		before := known()
		other := put("/b/1")
		if after := known(); name == "embedded" && after != before || after < before {
			t.Errorf("%s: known is %d, and then %d after a write of something else at %d", name, before, after, other)
		}
		if written := put("/a/2"); known() < written {
			t.Errorf("%s: known is %d after a write at %d", name, known(), written)
		}
	}
}

// knows waits until the Store is alone, and returns what it knows of a prefix then.
func (m *member) knows(t *testing.T, prefix string) int64 {
	t.Helper()
	for {
		m.untilAlone(t)
		if r, ok := m.Known(prefix); ok {
			return r
		}
	}
}

// What others have written is known to who is alone again.
func TestKnownOfOthers(t *testing.T) {
	t.Parallel()
	address := etcdtest.Serve(t)
	first := joinEtcd(t, address)
	defer first.leave()
	first.knows(t, "/a/")
	for range 3 {
		second := joinEtcd(t, address)
		r, err := second.Commit(t.Context(), backend.Op{Type: backend.Put, Key: "/a/1", Value: []byte("v"), Expect: backend.Any})
		if err != nil {
			t.Fatal(err)
		}
		second.leave()
		if known := first.knows(t, "/a/"); known < r.Revision {
			t.Errorf("known is %d after another has written at %d", known, r.Revision)
		}
	}
}

// What a Store has been shown counts, whoever has written it: others may be told
// next.
func TestKnownOnceShown(t *testing.T) {
	t.Parallel()
	address := etcdtest.Serve(t)
	first := joinEtcd(t, address)
	defer first.leave()
	others := client(t, address)
	put := func(key string) {
		t.Helper()
		if _, err := others.Put(t.Context(), key, "v"); err != nil {
			t.Fatal(err)
		}
	}
	first.knows(t, "/a/")
	put("/a/1")
	kv, err := first.Get(t.Context(), "/a/1", 0)
	if err != nil {
		t.Fatal(err)
	}
	if known := first.knows(t, "/a/"); known < kv.Revision {
		t.Errorf("known is %d, when a key was read as of %d", known, kv.Revision)
	}
	put("/a/2")
	page, err := first.List(t.Context(), "/a/", backend.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if known := first.knows(t, "/a/"); known < page.Revision {
		t.Errorf("known is %d, when a list was read as of %d", known, page.Revision)
	}
	put("/a/3")
	for batch := range first.Watch(t.Context(), "/a/", page.Revision+1) {
		if batch.Err != nil {
			t.Fatal(batch.Err)
		}
		if len(batch.Events) == 0 {
			continue
		}
		if known := first.knows(t, "/a/"); known < batch.Progress {
			t.Errorf("known is %d, when a change was told at %d", known, batch.Progress)
		}
		return
	}
}

// Of two Stores neither is alone; the one that is left is again.
func TestTwoStores(t *testing.T) {
	t.Parallel()
	address := etcdtest.Serve(t)
	first := joinEtcd(t, address)
	defer first.leave()
	second := joinEtcd(t, address)
	if _, err := first.Revision(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first.Alone() || second.Alone() {
		t.Errorf("of two stores one is alone: the first %t, the second %t", first.Alone(), second.Alone())
	}
	second.leave()
	first.untilAlone(t)
}

// A Store that etcd has forgotten registers again before it writes: another that is
// alone meanwhile would not learn of the write.
func TestWriteOfAForgottenStore(t *testing.T) {
	t.Parallel()
	address := etcdtest.Serve(t)
	forgotten, other := joinEtcd(t, address), joinEtcd(t, address)
	defer forgotten.leave()
	defer other.leave()
	forgotten.proxy.Dark(true)
	other.untilAlone(t)
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	asking.Go(func() { // so that it stays alone for as long as it may
		for ctx.Err() == nil {
			_, _ = other.Revision(ctx)
		}
	})
	defer asking.Wait()
	defer cancel()
	forgotten.proxy.Dark(false)
	var written backend.Result
	for err := backend.ErrUnavailable; err != nil; {
		written, err = forgotten.Commit(t.Context(), backend.Op{Type: backend.Put, Key: "/a", Value: []byte("v"), Expect: backend.Any})
		if err != nil && !errors.Is(err, backend.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if newest, err := other.Revision(t.Context()); err != nil || newest < written.Revision {
		t.Errorf("after a write at %d the newest revision is told to be %d, %v", written.Revision, newest, err)
	}
}
