package client

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"sync"

	"google.golang.org/protobuf/types/known/anypb"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client/interning"
	"navarch.dev/navarch/internal/kinds"
)

// Informers shares one informer per kind among the parts of a process, and what
// many objects have in common among these. Ask for informers with InformerFor,
// then Start them all.
type Informers struct {
	client *Client
	parts  interning.Pool

	mu      sync.Mutex
	byType  map[reflect.Type]runner
	started bool

	deriving sync.Mutex // guards derived; mu is taken under it
	// derived is what Shared has made, by its type.
	derived map[reflect.Type]any
}

type runner interface {
	Run(context.Context)
	Synced() <-chan struct{}
}

// NewInformers returns an empty set.
func NewInformers(c *Client) *Informers {
	return &Informers{client: c, byType: make(map[reflect.Type]runner), derived: make(map[reflect.Type]any)}
}

// TrimmedInformerFor is InformerFor, asked for before any other of T, of a copy
// that holds less than the Store: trim changes each object before it is kept. An
// update that changes nothing of what is kept is passed over, and the copy goes
// on showing the version before, with its resourceVersion.
func TrimmedInformerFor[T kinds.Object](s *Informers, trim func(T)) (*Informer[T], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.byType[reflect.TypeFor[T]()]; ok || s.started {
		return nil, fmt.Errorf("trimmed informer for %v asked for after another", reflect.TypeFor[T]())
	}
	i, err := addInformer(s, nil, trim)
	if err != nil {
		return nil, err
	}
	i.quiet = true
	return i, nil
}

// addInformer adds the set's informer for objects of type T. The caller holds
// mu.
func addInformer[T kinds.Object](s *Informers, indexers cache.Indexers, trim func(T)) (*Informer[T], error) {
	i, err := NewTrimmedInformer(s.client, InformerOptions{Indexers: indexers}, func(obj T) {
		if trim != nil {
			trim(obj)
		}
		s.parts.Share(obj)
	})
	if err != nil {
		return nil, err
	}
	if pods, ok := any(i).(*Informer[*corev1.Pod]); ok {
		trimPod, _ := any(trim).(func(*corev1.Pod))
		pods.trim, pods.decode = nil, s.podDecoder(trimPod)
	}
	s.byType[reflect.TypeFor[T]()] = i
	return i, nil
}

// podDecoder decodes pods that share what they have in common.
func (s *Informers) podDecoder(trim func(*corev1.Pod)) func(*anypb.Any, *corev1.Pod) error {
	return func(message *anypb.Any, pod *corev1.Pod) error {
		if err := kinds.CheckMessage(message, pod); err != nil {
			return err
		}
		return s.parts.Decode(message.GetValue(), pod, trim)
	}
}

// InformerFor returns the set's informer for all objects of type T, with the
// given indexers added. It must be called before Start.
func InformerFor[T kinds.Object](s *Informers, indexers cache.Indexers) (*Informer[T], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started {
		return nil, fmt.Errorf("informer for %v asked for after the informers were started", reflect.TypeFor[T]())
	}
	if have, ok := s.byType[reflect.TypeFor[T]()]; ok {
		i := have.(*Informer[T])
		fresh := maps.Clone(indexers)
		for name := range i.indexer.GetIndexers() {
			delete(fresh, name)
		}
		if err := i.indexer.AddIndexers(fresh); err != nil {
			return nil, fmt.Errorf("add indexers to the informer of %s: %w", i.kind.Resource, err)
		}
		return i, nil
	}
	return addInformer[T](s, indexers, nil)
}

// Shared returns what the parts of a process derive from the set's informers
// together, for example an index that is costly to keep: the V that was made for
// the first who asked. What make makes must not ask for another shared thing.
func Shared[V any](s *Informers, make func() (V, error)) (V, error) {
	s.deriving.Lock()
	defer s.deriving.Unlock()
	if have, ok := s.derived[reflect.TypeFor[V]()].(V); ok {
		return have, nil
	}
	v, err := make()
	if err == nil {
		s.derived[reflect.TypeFor[V]()] = v
	}
	return v, err
}

// Start runs every informer until ctx ends and returns once all are synced, or
// with ctx's error.
func (s *Informers) Start(ctx context.Context) error {
	s.mu.Lock()
	s.started = true
	all := make([]runner, 0, len(s.byType))
	for _, r := range s.byType {
		all = append(all, r)
	}
	s.mu.Unlock()
	for _, r := range all {
		go r.Run(ctx)
	}
	for _, r := range all {
		select {
		case <-r.Synced():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
