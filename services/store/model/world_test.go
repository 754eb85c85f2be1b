package model_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/internal/testseed"
	"navarch.dev/navarch/services/store"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/backend/etcd"
	"navarch.dev/navarch/services/store/backend/etcdtest"
	"navarch.dev/navarch/services/store/backend/failpoint"
	"navarch.dev/navarch/services/store/backend/memory"
	"navarch.dev/navarch/services/store/storetest"
)

const (
	writers = 4
	readers = 2
	names   = 8
)

func TestOnMemory(t *testing.T) {
	b := memory.New()
	t.Cleanup(func() { _ = b.Close() })
	newWorld(t, b, shared(b)).run(testseed.Times(t, 100))
}

func TestOnEmbeddedEtcd(t *testing.T) {
	cfg := etcd.DefaultConfig()
	cfg.Dir = t.TempDir()
	b := openEtcd(t, cfg)
	newWorld(t, b, shared(b)).run(testseed.Times(t, 40))
}

// The Stores reach etcd over connections that are cut.
func TestOnExternalEtcd(t *testing.T) {
	address := etcdtest.Serve(t)
	direct := openEtcd(t, etcdtest.Config(address))
	newWorld(t, direct, func(t *testing.T) connection {
		p := etcdtest.NewProxy(t, address)
		b, err := etcd.Open(context.Background(), etcdtest.Config(p.Address()), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return connection{Backend: b, cut: p.Cut, close: func() { _ = b.Close(); p.Close() }}
	}).run(testseed.Times(t, 40))
}

// connection is how one Store reaches the backend.
type connection struct {
	backend.Backend
	// cut breaks it for a moment, if it is one that can break.
	cut   func()
	close func()
}

func shared(b backend.Backend) func(*testing.T) connection {
	return func(*testing.T) connection { return connection{Backend: b, cut: func() {}, close: func() {}} }
}

// node is one Store while it runs.
type node struct {
	ctx    context.Context //nolint:containedctx // what is asked of a Store ends with it
	stop   func()
	client *client.Client
	points *failpoint.Backend
	cut    func()
}

// world is everything that takes part in a check.
type world struct {
	t       *testing.T
	seed    uint64
	backend backend.Backend
	connect func(*testing.T) connection
	truth   *truth
	history history
	// acked is the newest revision that a writer was told of.
	acked atomic.Int64
	nodes [2]atomic.Pointer[node]

	mu sync.Mutex // one disturbance at a time
}

func newWorld(t *testing.T, b backend.Backend, connect func(*testing.T) connection) *world {
	w := &world{t: t, seed: testseed.Of(t), backend: b, connect: connect, truth: observe(t, b)}
	for i := range w.nodes {
		w.nodes[i].Store(w.startNode())
	}
	t.Cleanup(func() {
		for i := range w.nodes {
			w.nodes[i].Load().stop()
		}
	})
	return w
}

// random returns a source of choices of one participant.
func (w *world) random(participant string, n int) *rand.Rand {
	for _, c := range participant {
		n = n*257 + int(c)
	}
	return rand.New(rand.NewPCG(w.seed, uint64(n)))
}

// node returns one of the Stores.
func (w *world) node(rnd *rand.Rand) *node { return w.nodes[rnd.IntN(len(w.nodes))].Load() }

func (w *world) startNode() *node {
	masters := func(access.Reader) (access.Control, error) {
		return access.Control{Authorizer: access.MastersOnly{}}, nil
	}
	conn := w.connect(w.t)
	n := &node{points: failpoint.New(conn.Backend), cut: conn.cut}
	cfg := store.DefaultConfig()
	cfg.BookmarkInterval = time.Second
	cfg.CompactInterval = 0 // compaction is one of the disturbances
	s, err := store.New(cfg, telemetry.Discard("store"), n.points, masters)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-done:
		cancel()
		w.t.Fatalf("a Store ended at start: %v", err)
	}
	n.ctx, n.client = ctx, (&storetest.Store{Store: s, Backend: n.points}).Client(storetest.Admin())
	n.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("a Store ended: %v", err)
		}
		conn.close()
	}
	return n
}

// disturb does one of the things that must not matter.
func (w *world) disturb(rnd *rand.Rand) {
	w.mu.Lock()
	defer w.mu.Unlock()
	slot := rnd.IntN(len(w.nodes))
	n := w.nodes[slot].Load()
	points := failpoint.Points()
	point, times := points[rnd.IntN(len(points))], 1+rnd.IntN(2)
	switch rnd.IntN(10) {
	case 0:
		n.stop()
		w.nodes[slot].Store(w.startNode())
	case 1, 2:
		w.compact()
	case 3, 4:
		n.cut()
	default:
		n.points.Arm(point, times)
	}
}

// compact drops the past, as far as the observer has seen it.
func (w *world) compact() {
	if err := w.backend.Compact(context.Background(), w.truth.reached()); err != nil {
		w.t.Errorf("compact: %v", err)
	}
}

// run lets everybody loose, each writer for a number of operations, and judges
// what they have seen.
func (w *world) run(operations int) {
	var writing, watching, reading sync.WaitGroup
	watchers := newWatchers()
	for _, o := range watchers {
		watching.Go(func() { o.run(w, w.random("watcher", o.number)) })
	}
	lists := make([]*reader, readers)
	ended := make(chan struct{})
	for i := range lists {
		lists[i] = &reader{}
		reading.Go(func() { lists[i].run(w, w.random("reader", i), ended) })
	}
	for i := range writers {
		writing.Go(func() { w.write(i, operations) })
	}
	writing.Wait()
	close(ended)
	reading.Wait()
	for i := range w.nodes {
		w.nodes[i].Load().points.Disarm()
	}
	w.finish(watchers)
	watching.Wait()
	w.judge(watchers, lists)
}

// finish writes, for each watcher, an object that it selects: the last that it
// waits for.
func (w *world) finish(watchers []*watcher) {
	rnd := w.random("finish", 0)
	for i, o := range watchers {
		cm := o.sample()
		cm.Data = map[string]string{valueKey: fmt.Sprintf("end.%d", i)}
		n := w.node(rnd)
		err := n.client.Create(n.ctx, cm)
		if err != nil {
			w.t.Fatalf("the last write for watcher %d: %v", i, err)
		}
		o.until(revisionOf(w.t, cm.ResourceVersion))
	}
}

func (w *world) judge(watchers []*watcher, lists []*reader) {
	newest, err := w.backend.Revision(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	w.truth.reach(w.t, newest)
	changes, events, shown := len(w.truth.all()), 0, 0
	for _, o := range watchers {
		events += o.judge(w.t, w.truth)
	}
	for _, r := range lists {
		shown += r.judge(w.t, w.truth)
	}
	w.history.judge(w.t)
	w.t.Logf("%d changes, %d events, %d lists, %d operations", changes, events, shown, w.history.size())
}
