// Package storetest runs a Store in the test's process, on an in-memory
// backend. Connections to it carry whatever identity the test asks for.
package storetest

import (
	"context"
	"testing"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"google.golang.org/grpc"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/store"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/backend/memory"
)

// Store is a running Store. It stops when the test ends.
type Store struct {
	*store.Store
	// Backend is what it keeps its data in.
	Backend backend.Backend

	// unary and stream are passed before it; nil is nothing.
	unary  grpc.UnaryServerInterceptor
	stream grpc.StreamServerInterceptor
}

// Option changes what New starts.
type Option func(*options)

type options struct {
	config    store.Config
	telemetry telemetry.Set
	backend   backend.Backend
	control   store.NewControl
	seed      []kinds.Object
	accounts  bool
	unary     grpc.UnaryServerInterceptor
	stream    grpc.StreamServerInterceptor
}

// WithConfig sets the Store's configuration.
func WithConfig(c store.Config) Option { return func(o *options) { o.config = c } }

// WithTelemetry makes the Store report to t, for tests about traces.
func WithTelemetry(t telemetry.Set) Option { return func(o *options) { o.telemetry = t } }

// WithBackend sets the backend, which the caller closes.
func WithBackend(b backend.Backend) Option { return func(o *options) { o.backend = b } }

// WithControl sets access control. Without it, everything is allowed.
func WithControl(c store.NewControl) Option { return func(o *options) { o.control = c } }

// WithSeed adds objects that the Store makes at start.
func WithSeed(objs ...kinds.Object) Option { return func(o *options) { o.seed = objs } }

// WithServiceAccounts makes pods need a service account that exists. Without
// it they do not, since no controller makes the default ones.
func WithServiceAccounts() Option { return func(o *options) { o.accounts = true } }

// WithInterceptors puts interceptors before the Store, which know the caller.
func WithInterceptors(unary grpc.UnaryServerInterceptor, stream grpc.StreamServerInterceptor) Option {
	return func(o *options) { o.unary, o.stream = unary, stream }
}

// WithoutRules switches rules of admission off, for tests without what those
// rules count on.
func WithoutRules(names ...string) Option {
	return func(o *options) {
		o.config.DisableAdmissionPlugins = append(o.config.DisableAdmissionPlugins, names...)
	}
}

// New starts a Store and waits until it has made the objects that every
// cluster has. Everybody may do everything, unless WithControl says otherwise.
func New(t testing.TB, opts ...Option) *Store {
	t.Helper()
	o := options{config: store.DefaultConfig(), telemetry: telemetry.Discard("store"), control: allowAll}
	for _, opt := range opts {
		opt(&o)
	}
	if !o.accounts {
		o.config.DisableAdmissionPlugins = append(o.config.DisableAdmissionPlugins, admission.ServiceAccount)
	}
	if o.backend == nil {
		o.backend = memory.New()
		t.Cleanup(func() { _ = o.backend.Close() })
	}
	s, err := store.New(o.config, o.telemetry, o.backend, o.control, o.seed...)
	if err != nil {
		t.Fatalf("make a store: %v", err)
	}
	run(t, s)
	return &Store{Store: s, Backend: o.backend, unary: o.unary, stream: o.stream}
}

// run runs the Store until the test ends.
func run(t testing.TB, s *store.Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the store ended: %v", err)
		}
	})
	select {
	case <-s.Ready():
	case err := <-done:
		done <- nil
		t.Fatalf("the store ended at start: %v", err)
	}
}

// Conn returns a connection on which calls are made by id.
func (s *Store) Conn(id identity.Identity) grpc.ClientConnInterface {
	channel := &inprocgrpc.Channel{}
	channel.WithServerUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		ctx = identity.NewContext(ctx, id)
		if s.unary == nil {
			resp, err := handler(ctx, req)
			return resp, apistatus.ToGRPC(err)
		}
		resp, err := s.unary(ctx, req, info, handler)
		return resp, apistatus.ToGRPC(err)
	})
	channel.WithServerStreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if s.stream == nil {
			return apistatus.ToGRPC(handler(srv, identified{stream, id}))
		}
		return apistatus.ToGRPC(s.stream(srv, identified{stream, id}, info, handler))
	})
	s.Register(channel)
	return ending{channel}
}

// Client returns a typed client whose calls are made by id.
func (s *Store) Client(id identity.Identity) *client.Client {
	return client.New(s.Conn(id), "storetest")
}

// Admin is a member of system:masters.
func Admin() identity.Identity {
	return identity.Identity{Name: "admin", Groups: []string{identity.GroupMasters, identity.GroupAuthenticated}}
}

// identified is a stream whose context carries the caller's identity.
type identified struct {
	grpc.ServerStream
	id identity.Identity
}

func (s identified) Context() context.Context {
	return identity.NewContext(s.ServerStream.Context(), s.id)
}

type everybody struct{}

func (everybody) Authorize(context.Context, access.Attributes) (access.Decision, error) {
	return access.Decision{Allowed: true}, nil
}

func allowAll(access.Reader) (access.Control, error) {
	return access.Control{Authorizer: everybody{}}, nil
}
