package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/backend/etcd"
	"navarch.dev/navarch/services/store/backend/memory"
	"navarch.dev/navarch/services/store/storetest"
)

// The model test lets writers and watchers loose on a Store that is restarted
// and compacted under them. Whatever happens, what a watcher has put together
// from the events it got is what a list shows at the revision of its last
// event, and no event contradicts those before it.

const (
	modelGenerations = 4
	modelWriters     = 4
	modelWrites      = 60
	modelNames       = 12
	sentinel         = "the-end"
)

func configMaps() *storev1.Resource { return &storev1.Resource{Version: "v1", Resource: "configmaps"} }

func TestWatchersSeeWhatListsShow(t *testing.T) {
	t.Run("memory", func(t *testing.T) { watchersSeeWhatListsShow(t, memory.New()) })
	t.Run("etcd", func(t *testing.T) { watchersSeeWhatListsShow(t, openEtcd(t)) })
}

func openEtcd(t testing.TB) backend.Backend {
	t.Helper()
	cfg := etcd.DefaultConfig()
	cfg.Dir = t.TempDir()
	b, err := etcd.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func watchersSeeWhatListsShow(t *testing.T, b backend.Backend) {
	t.Cleanup(func() { _ = b.Close() })
	watchers := []*modelWatcher{
		{seed: 1}, {seed: 2}, {seed: 3, selector: "color=red"}, {seed: 4, selector: "color!=red"}, {seed: 5, fields: "metadata.name=n3"},
	}
	for generation := range modelGenerations {
		runGeneration(t, b, watchers, generation == modelGenerations-1)
	}
}

// runGeneration is the life of one Store. In the last, a sentinel ends the
// watches and the outcomes are compared.
func runGeneration(t *testing.T, b backend.Backend, watchers []*modelWatcher, last bool) {
	ctx, cancel := context.WithCancel(t.Context())
	s := startStore(ctx, t, b)
	c := s.Client(storetest.Admin())
	var watching, writing sync.WaitGroup
	for _, w := range watchers {
		watching.Go(func() { w.run(ctx, t, c) })
	}
	for i := range modelWriters {
		writing.Go(func() { write(ctx, t, c, uint64(i)) })
	}
	writing.Go(func() { compactNow(ctx, t, b) })
	writing.Wait()
	if !last {
		cancel()
		watching.Wait()
		return
	}
	// Each watcher must see an object of its own last: one that it selects.
	for _, name := range []string{"n3", sentinel} {
		for _, color := range []string{"red", "green"} {
			cm := configMap(name, map[string]string{"end": color})
			cm.Labels = map[string]string{"color": color}
			err := c.Create(ctx, cm)
			if apierrors.IsAlreadyExists(err) {
				err = c.Update(ctx, cm)
			}
			if err != nil {
				t.Error(err)
			}
			for _, w := range watchers {
				if w.selects(cm) {
					w.stopAt(cm.ResourceVersion)
				}
			}
		}
	}
	watching.Wait()
	for _, w := range watchers {
		w.compare(t, c, strconv.FormatInt(w.revision, 10))
	}
	cancel()
}

func startStore(ctx context.Context, t *testing.T, b backend.Backend) *storetest.Store {
	t.Helper()
	masters := func(access.Reader) (access.Control, error) {
		return access.Control{Authorizer: access.MastersOnly{}}, nil
	}
	s, err := store.New(store.DefaultConfig(), telemetry.Discard("store"), b, masters)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			t.Errorf("the store ended: %v", err)
		}
	}()
	t.Cleanup(func() { <-done })
	<-s.Ready()
	return &storetest.Store{Store: s, Backend: b}
}

// write makes random changes. Losing to another writer is part of the game.
func write(ctx context.Context, t *testing.T, c *client.Client, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 7))
	for i := range modelWrites {
		cm := configMap(fmt.Sprintf("n%d", rnd.IntN(modelNames)), map[string]string{"i": strconv.Itoa(i)})
		cm.Labels = map[string]string{"color": []string{"red", "green"}[rnd.IntN(2)]}
		var err error
		switch rnd.IntN(4) {
		case 0:
			err = c.Delete(ctx, cm, client.DeleteOptions{})
		case 1:
			err = c.Update(ctx, cm)
		default:
			err = c.Create(ctx, cm)
		}
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsConflict(err) {
			t.Errorf("write %s: %v", cm.Name, err)
		}
	}
}

func compactNow(ctx context.Context, t *testing.T, b backend.Backend) {
	revision, err := b.Revision(ctx)
	if err == nil {
		err = b.Compact(ctx, revision)
	}
	if err != nil {
		t.Errorf("compact: %v", err)
	}
}

// modelWatcher puts the state together from events.
type modelWatcher struct {
	seed             uint64
	selector, fields string

	// state maps names to resourceVersions as of revision.
	state    map[string]string
	revision int64

	mu   sync.Mutex // guards stop
	stop int64
}

func (w *modelWatcher) stopAt(rv string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stop, _ = strconv.ParseInt(rv, 10, 64)
}

// selects says whether the watcher is told of an object.
func (w *modelWatcher) selects(cm *corev1.ConfigMap) bool {
	red := cm.Labels["color"] == "red"
	switch {
	case w.fields != "":
		return cm.Name == "n3"
	case w.selector == "color=red":
		return red
	case w.selector == "color!=red":
		return !red
	}
	return true
}

func (w *modelWatcher) finished() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stop > 0 && w.revision >= w.stop
}

// run watches, leaves at random and comes back, until ctx or the test ends.
func (w *modelWatcher) run(ctx context.Context, t *testing.T, c *client.Client) {
	rnd := rand.New(rand.NewPCG(w.seed, uint64(w.revision)))
	for ctx.Err() == nil && !w.finished() {
		err := w.follow(ctx, t, c, 1+rnd.IntN(40))
		switch {
		case apierrors.IsResourceExpired(err):
			w.state, w.revision = nil, 0
		case err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF):
			t.Errorf("watcher %d: %v", w.seed, err)
			return
		}
	}
}

// follow takes part in one watch for a number of messages.
func (w *modelWatcher) follow(ctx context.Context, t *testing.T, c *client.Client, messages int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req := &storev1.WatchRequest{
		Resource: configMaps(), Namespace: "default", LabelSelector: w.selector, FieldSelector: w.fields, AllowBookmarks: true,
	}
	initial := w.revision == 0
	if initial {
		req.SendInitialEvents, w.state = true, make(map[string]string)
	} else {
		req.ResourceVersion = strconv.FormatInt(w.revision, 10)
	}
	stream, err := c.Store().Watch(ctx, req)
	if err != nil {
		return apistatus.FromGRPC(err)
	}
	for range messages {
		resp, err := stream.Recv()
		if err != nil {
			return apistatus.FromGRPC(err)
		}
		for _, e := range resp.GetEvents().GetEvents() {
			if initial = w.take(t, e, initial); t.Failed() {
				return nil
			}
		}
		if w.finished() {
			return nil
		}
	}
	if initial {
		w.state, w.revision = nil, 0
	}
	return nil
}

// take applies an event and checks it against those before.
func (w *modelWatcher) take(t *testing.T, e *storev1.WatchEvent, initial bool) (stillInitial bool) {
	revision, err := strconv.ParseInt(e.GetResourceVersion(), 10, 64)
	if err != nil {
		t.Errorf("watcher %d: event %v", w.seed, e)
	}
	if e.GetType() == storev1.WatchEvent_TYPE_BOOKMARK {
		w.revision = max(w.revision, revision)
		return initial && !e.GetInitialEventsEnd()
	}
	var cm corev1.ConfigMap
	if err := kinds.Decode(e.GetObject().GetObject(), &cm); err != nil {
		t.Errorf("watcher %d: %v", w.seed, err)
		return initial
	}
	if cm.ResourceVersion != e.GetResourceVersion() {
		t.Errorf("watcher %d: an event of %s holds an object of %s", w.seed, e.GetResourceVersion(), cm.ResourceVersion)
	}
	if !initial && revision <= w.revision {
		t.Errorf("watcher %d at %d: event of %d again", w.seed, w.revision, revision)
	}
	_, known := w.state[cm.Name]
	if known != (e.GetType() != storev1.WatchEvent_TYPE_ADDED) {
		t.Errorf("watcher %d: %s of %s at %d, known: %t", w.seed, e.GetType(), cm.Name, revision, known)
	}
	if e.GetType() == storev1.WatchEvent_TYPE_DELETED {
		delete(w.state, cm.Name)
	} else {
		w.state[cm.Name] = cm.ResourceVersion
	}
	if !initial {
		w.revision = revision
	}
	return initial
}

// compare checks the state against a list at the watcher's revision.
func (w *modelWatcher) compare(t *testing.T, c *client.Client, rv string) {
	t.Helper()
	stream, err := c.Store().List(t.Context(), &storev1.ListRequest{
		Resource: configMaps(), Namespace: "default", LabelSelector: w.selector, FieldSelector: w.fields,
		ResourceVersion: rv, ResourceVersionMatch: storev1.ResourceVersionMatch_RESOURCE_VERSION_MATCH_EXACT,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range resp.GetObjects().GetObjects() {
			var cm corev1.ConfigMap
			if err := kinds.Decode(o.GetObject(), &cm); err != nil {
				t.Fatal(err)
			}
			want[cm.Name] = cm.ResourceVersion
		}
	}
	if diff := cmp.Diff(want, w.state); diff != "" {
		t.Errorf("watcher %d (%q %q): the list at %s and the watched state differ (-list +watched):\n%s", w.seed, w.selector, w.fields, rv, diff)
	}
}
