package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/allocator"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/customresource"
	"navarch.dev/navarch/services/store/flowcontrol"
	"navarch.dev/navarch/services/store/registry"
)

// NewControl makes what decides about the Store's callers. It gets the Store's
// own objects to decide by, and must not read them before the Store runs.
type NewControl func(access.Reader) (access.Control, error)

// Store is the service. Make one with New, register it with a gRPC server, and
// Run it.
type Store struct {
	storev1.UnimplementedStoreServiceServer

	cfg       Config
	tel       telemetry.Set
	tracer    trace.Tracer
	kinds     *kinds.Registry
	backend   backend.Backend
	refusals  *refusals // the same backend
	registry  *registry.Registry
	allocator *allocator.Allocator
	// definitions keeps the custom kinds what their definitions say.
	definitions *customresource.Follower
	control     access.Control
	flow        *flowcontrol.Controller
	followers   *followers
	seed        []kinds.Object
	metrics     *metrics
	// oldest is the revision before which none is promised to be there.
	oldest atomic.Int64
	ready  chan struct{}
	ended  chan struct{} // closed when Run's context has ended
}

// New returns a Store on a backend, which stays the caller's to close. control
// nil lets only system:masters in. seed are objects to create at start where
// they do not exist (the RBAC bootstrap policy), beside those that every
// cluster has.
func New(cfg Config, tel telemetry.Set, b backend.Backend, control NewControl, seed ...kinds.Object) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure the store: %w", err)
	}
	refusals := newRefusals(b)
	b = refusals
	s := &Store{
		cfg: cfg, tel: tel, tracer: tel.Tracer(), kinds: kinds.NewRegistry(), backend: b, refusals: refusals, seed: seed, followers: newFollowers(),
		ready: make(chan struct{}), ended: make(chan struct{}),
	}
	s.registry = registry.New(registry.Options{
		Kinds: s.kinds, Backend: b, Log: tel.Log, Tracer: s.tracer, EventTTL: cfg.EventTTL,
		Admission: cfg.admission(), Dialer: serviceDialer{s}, Authorizer: lateAuthorizer{s},
	})
	var err error
	if s.definitions, err = newDefinitions(s); err != nil {
		return nil, err
	}
	s.allocator = newAllocator(s)
	s.registry.Services, s.registry.Removed = s.allocator, s.restore
	if s.metrics, err = newMetrics(tel.Metrics); err != nil {
		return nil, err
	}
	if s.flow, err = flowcontrol.New(cfg.Flow, tel.Metrics); err != nil {
		return nil, err
	}
	s.control = access.Control{Authorizer: access.MastersOnly{}}
	if control != nil {
		if s.control, err = control(s.registry.Reader()); err != nil {
			return nil, fmt.Errorf("set up access control: %w", err)
		}
	}
	if s.control.Guard != nil {
		s.registry.Guard(s.control.Guard)
	}
	return s, nil
}

// Reader returns the Store's objects, read from memory, for parts of the same
// process.
func (s *Store) Reader() access.Reader { return s.registry.Reader() }

// Register adds the Store's service to a server.
func (s *Store) Register(r grpc.ServiceRegistrar) { storev1.RegisterStoreServiceServer(r, s) }

// Ready is closed once the Store has made the objects that every cluster has.
// It answers requests before.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Run feeds the watch caches and keeps house until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { close(s.ended) })
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { s.registry.Run(ctx) })
	wg.Go(func() { s.definitions.Run(ctx) })
	if err := s.bootstrap(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	close(s.ready)
	wg.Go(func() { s.compact(ctx) })
	wg.Go(func() { s.boundEvents(ctx) })
	wg.Go(func() { s.followFlows(ctx) })
	wg.Go(func() { s.flow.Run(ctx) })
	<-ctx.Done()
	return nil
}
