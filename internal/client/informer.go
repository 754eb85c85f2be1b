package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/anypb"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// InformerOptions narrow what an Informer follows.
type InformerOptions struct {
	// Namespace is empty for all.
	Namespace string
	Labels    labels.Selector
	Fields    fields.Selector
	// Indexers are added to the indexer, beside the one by namespace.
	Indexers cache.Indexers
}

// Handler is told of every change, in order, from one goroutine per informer.
// Its functions must return quickly: they enqueue keys. Any may be nil.
// Objects are shared and must not be changed.
type Handler[T kinds.Object] struct {
	OnAdd    func(obj T)
	OnUpdate func(old, obj T)
	OnDelete func(obj T)
}

// Informer keeps a local copy of a resource up to date. It lists and watches
// in one stream, resumes where it was when the stream breaks, and starts over
// when the Store says that it has fallen too far behind; then it tells the
// handlers of just the differences.
type Informer[T kinds.Object] struct {
	client     *Client
	kind       *kinds.Kind
	opts       InformerOptions
	projection storev1.Projection
	newObject  func() (T, error)
	// decode fills an object from its message.
	decode func(*anypb.Any, T) error
	// trim drops what the copy need not hold; nil keeps all.
	trim func(T)
	// quiet passes over updates that change nothing of what is kept.
	quiet   bool
	indexer cache.Indexer
	// reached is the number of the version that the indexer holds.
	reached atomic.Uint64

	mu       sync.RWMutex // guards handlers and traces
	handlers []Handler[T]
	traces   map[string]*storev1.TraceContext

	synced     chan struct{}
	syncedOnce sync.Once
	// revision is the version the copy has reached; only Run's goroutine uses it.
	revision string
}

// NewInformer returns an informer for objects of type T. It does nothing until
// Run is called.
func NewInformer[T kinds.Object](c *Client, opts InformerOptions) (*Informer[T], error) {
	var zero T
	kind, err := c.kinds.ForObject(zero)
	if err != nil {
		return nil, fmt.Errorf("make an informer: %w", err)
	}
	newObject := func() (T, error) {
		obj, ok := kind.New().(T)
		if !ok {
			return obj, errors.New("the kind's constructor does not make the informer's type")
		}
		return obj, nil
	}
	return newInformer(c, kind, opts, newObject), nil
}

// NewTrimmedInformer is NewInformer for a copy that holds less than the Store:
// trim changes each object before it is kept.
func NewTrimmedInformer[T kinds.Object](c *Client, opts InformerOptions, trim func(T)) (*Informer[T], error) {
	i, err := NewInformer[T](c, opts)
	if err != nil {
		return nil, err
	}
	i.trim = trim
	return i, nil
}

func newInformer[T kinds.Object](c *Client, kind *kinds.Kind, opts InformerOptions, newObject func() (T, error)) *Informer[T] {
	indexers := cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}
	for name, f := range opts.Indexers {
		indexers[name] = f
	}
	return &Informer[T]{
		client: c, kind: kind, opts: opts, newObject: newObject,
		decode:  func(message *anypb.Any, obj T) error { return kinds.Decode(message, obj) },
		indexer: cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexers),
		traces:  make(map[string]*storev1.TraceContext),
		synced:  make(chan struct{}),
	}
}

// Kind returns the kind that the informer follows.
func (i *Informer[T]) Kind() *kinds.Kind { return i.kind }

// Indexer returns the local copy, for client-go listers and index look-ups.
func (i *Informer[T]) Indexer() cache.Indexer { return i.indexer }

// AddHandler adds a handler. Call it before Run.
func (i *Informer[T]) AddHandler(h Handler[T]) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.handlers = append(i.handlers, h)
}

// Synced is closed once the copy has been complete for the first time.
func (i *Informer[T]) Synced() <-chan struct{} { return i.synced }

// HasReached says whether the copy holds every change up to a resourceVersion
// that the Store has handed out, for example in answer to a write. Versions are
// ordered over all resources, so a deleted object's version counts as well.
func (i *Informer[T]) HasReached(resourceVersion string) bool {
	version, err := strconv.ParseUint(resourceVersion, 10, 64)
	return err == nil && i.reached.Load() >= version
}

func (i *Informer[T]) reach(resourceVersion string) {
	if version, err := strconv.ParseUint(resourceVersion, 10, 64); err == nil {
		i.reached.Store(version)
	}
}

// Get returns the object by its name.
func (i *Informer[T]) Get(namespace, name string) (obj T, ok bool) {
	return i.GetByKey(cache.NewObjectName(namespace, name).String())
}

// GetByKey returns the object by its "namespace/name" or "name".
func (i *Informer[T]) GetByKey(key string) (obj T, ok bool) {
	v, ok, _ := i.indexer.GetByKey(key) // the error is always nil
	if !ok {
		return obj, false
	}
	return v.(T), true
}

// List returns all objects, in no order.
func (i *Informer[T]) List() []T { return typed[T](i.indexer.List()) }

// ByIndex returns the objects that an indexer puts under value.
func (i *Informer[T]) ByIndex(index, value string) ([]T, error) {
	vs, err := i.indexer.ByIndex(index, value)
	if err != nil {
		return nil, fmt.Errorf("look up %s by %s: %w", i.kind.Resource, index, err)
	}
	return typed[T](vs), nil
}

// InNamespace returns the objects of a namespace.
func (i *Informer[T]) InNamespace(namespace string) []T {
	vs, _ := i.indexer.ByIndex(cache.NamespaceIndex, namespace) // the index is always there
	return typed[T](vs)
}

// TraceContext returns ctx with the trace of the object's last change of
// desired state as the remote parent, so that what is done about the change
// continues its trace. Without one, ctx comes back as it is.
func (i *Informer[T]) TraceContext(ctx context.Context, key string) context.Context {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return WithTrace(ctx, i.traces[key])
}

func typed[T any](vs []any) []T {
	out := make([]T, len(vs))
	for n, v := range vs {
		out[n] = v.(T)
	}
	return out
}

// Run follows the resource until ctx ends. It returns only then.
func (i *Informer[T]) Run(ctx context.Context) {
	const shortest, longest = 50 * time.Millisecond, 5 * time.Second
	delay := shortest
	for ctx.Err() == nil {
		progressed, err := i.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			i.revision = ""
		}
		if progressed {
			delay = shortest
		}
		slog.DebugContext(ctx, "watch ended", "resource", i.kind.Resource, "error", err, "retry", delay)
		select {
		case <-ctx.Done():
		case <-time.After(delay/2 + rand.N(delay/2)):
		}
		delay = min(2*delay, longest)
	}
}

// follow runs one watch until it ends. Without a revision it begins with the
// present objects; what the copy holds beyond them has been deleted.
func (i *Informer[T]) follow(ctx context.Context) (progressed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := i.client.store.Watch(ctx, &storev1.WatchRequest{
		Resource: resourceOf(i.kind), Namespace: i.opts.Namespace,
		LabelSelector: selectorString(i.opts.Labels), FieldSelector: selectorString(i.opts.Fields),
		ResourceVersion: i.revision, SendInitialEvents: i.revision == "", AllowBookmarks: true,
		Projection: i.projection,
	})
	if err != nil {
		return false, apistatus.FromGRPC(err)
	}
	var initial map[string]bool // the keys seen so far; nil once complete
	if i.revision == "" {
		initial = make(map[string]bool)
	}
	for {
		resp, err := stream.Recv()
		if err != nil {
			return progressed, apistatus.FromGRPC(err)
		}
		for _, e := range resp.GetEvents().GetEvents() {
			if e.GetType() == storev1.WatchEvent_TYPE_BOOKMARK {
				if initial != nil && e.GetInitialEventsEnd() {
					i.dropAbsent(initial)
					initial = nil
				}
			} else if err := i.apply(e, initial); err != nil {
				return progressed, err
			}
			if initial == nil {
				i.revision = e.GetResourceVersion()
				i.reach(i.revision)
				progressed = true
			}
		}
		if initial == nil {
			i.syncedOnce.Do(func() { close(i.synced) })
		}
	}
}

// apply takes one change over into the copy and tells the handlers.
func (i *Informer[T]) apply(e *storev1.WatchEvent, initial map[string]bool) error {
	obj, err := i.newObject()
	if err != nil {
		return err
	}
	if err := i.decode(e.GetObject().GetObject(), obj); err != nil {
		return err
	}
	if i.trim != nil {
		i.trim(obj)
	}
	key := cache.MetaObjectToName(obj).String()
	if initial != nil {
		initial[key] = true
	}
	if e.GetType() == storev1.WatchEvent_TYPE_DELETED {
		version := e.GetResourceVersion()
		if initial != nil {
			version = ""
		}
		i.remove(key, obj, version)
		return nil
	}
	old, existed := i.GetByKey(key)
	if existed && old.GetResourceVersion() == obj.GetResourceVersion() {
		return nil
	}
	if existed && i.quiet && alike(old, obj) {
		return nil
	}
	i.mu.Lock()
	if t := e.GetObject().GetTrace(); t.GetTraceparent() != "" {
		i.traces[key] = t
	} else {
		delete(i.traces, key)
	}
	i.mu.Unlock()
	if err := i.indexer.Update(obj); err != nil {
		return fmt.Errorf("index %s %s: %w", i.kind.Resource, key, err)
	}
	if initial == nil { // before the handlers, so that whom they wake sees it
		i.reach(e.GetResourceVersion())
	}
	if existed && old.GetUID() != obj.GetUID() {
		i.notifyDelete(old)
		existed = false
	}
	for _, h := range i.handlersNow() {
		switch {
		case existed && h.OnUpdate != nil:
			h.OnUpdate(old, obj)
		case !existed && h.OnAdd != nil:
			h.OnAdd(obj)
		}
	}
	return nil
}

// sized is what knows how long its encoding is, which is told sooner than the
// encoding.
type sized interface{ Size() int }

// alike says whether two versions are the same but for the resourceVersion. The
// newer one is the caller's own.
func alike(old, obj kinds.Object) bool {
	version := obj.GetResourceVersion()
	obj.SetResourceVersion(old.GetResourceVersion())
	defer obj.SetResourceVersion(version)
	if a, ok := any(old).(sized); ok {
		if b, ok := any(obj).(sized); ok && a.Size() != b.Size() {
			return false
		}
	}
	was, err := kinds.Encode(old)
	if err != nil {
		return false
	}
	is, err := kinds.Encode(obj)
	return err == nil && bytes.Equal(was.GetValue(), is.GetValue())
}

// remove takes an object out of the copy. version is that of its removal, ""
// if that is not known.
func (i *Informer[T]) remove(key string, last T, version string) {
	if _, ok := i.GetByKey(key); !ok {
		return
	}
	_ = i.indexer.Delete(last) // fails only for objects without a key
	i.mu.Lock()
	delete(i.traces, key)
	i.mu.Unlock()
	i.reach(version)
	i.notifyDelete(last)
}

func (i *Informer[T]) notifyDelete(obj T) {
	for _, h := range i.handlersNow() {
		if h.OnDelete != nil {
			h.OnDelete(obj)
		}
	}
}

// dropAbsent removes what was deleted while nobody watched.
func (i *Informer[T]) dropAbsent(present map[string]bool) {
	for _, key := range i.indexer.ListKeys() {
		if present[key] {
			continue
		}
		if obj, ok := i.GetByKey(key); ok {
			i.remove(key, obj, "")
		}
	}
}

func (i *Informer[T]) handlersNow() []Handler[T] {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.handlers
}
