// Package aggregation makes one API of the cluster's own and of what other API
// servers serve: those that APIServices name. It stands before all that serves
// the cluster's own API.
//
// A request for a group and version that another server serves is
// authenticated and authorized by the Store, and then passed on, body, watch,
// upgrade and all, with the user in the headers that the front proxy's
// certificate vouches for. Discovery and OpenAPI documents are put together
// from the cluster's own and from what the other servers say, which is asked
// for when somebody asks, and kept for a while.
//
// The parts:
//
//	aggregation.go  which server serves what
//	request.go      what a path and a method ask for
//	proxy.go        passing requests on
//	ask.go          what other servers say of themselves
//	discovery.go    /apis
//	openapi.go      /openapi
package aggregation

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	registrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/extension"
	"navarch.dev/navarch/internal/podconn"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// fieldManager names the gateway to the Store. It writes nothing.
const fieldManager = "navarch-gateway"

// Options are what an Aggregator works with.
type Options struct {
	Store  grpc.ClientConnInterface
	Agents podconn.AgentDialer
	// Certificate returns the front proxy's certificate; nil: there is none.
	Certificate func() *tls.Certificate
	Log         *slog.Logger
	// Stopping is closed when the server shuts down: what lasts ends then.
	Stopping <-chan struct{}
}

// Aggregator knows which server serves what.
type Aggregator struct {
	store     storev1.StoreServiceClient
	connector extension.Connector
	log       *slog.Logger
	stopping  <-chan struct{}
	informer  *client.Informer[*registrationv1.APIService]

	mu sync.Mutex // held by who changes servers
	// servers are the versions that other servers serve. The map is never changed.
	servers atomic.Pointer[map[schema.GroupVersion]*server]
}

// New returns an Aggregator. It knows of no server before Run.
func New(o Options) (*Aggregator, error) {
	store := storev1.NewStoreServiceClient(o.Store)
	a := &Aggregator{
		store: store, log: o.Log, stopping: o.Stopping,
		connector: extension.Connector{Services: extension.Services{Store: store, Agents: o.Agents}, Certificate: o.Certificate},
	}
	a.servers.Store(&map[schema.GroupVersion]*server{})
	informer, err := client.NewInformer[*registrationv1.APIService](client.New(o.Store, fieldManager), client.InformerOptions{})
	if err != nil {
		return nil, fmt.Errorf("follow the APIServices: %w", err)
	}
	informer.AddHandler(client.Handler[*registrationv1.APIService]{
		OnAdd: a.set, OnUpdate: func(_, now *registrationv1.APIService) { a.set(now) }, OnDelete: a.remove,
	})
	a.informer = informer
	return a, nil
}

// Run follows the APIServices until ctx ends.
func (a *Aggregator) Run(ctx context.Context) { a.informer.Run(ctx) }

// Ready returns an error as long as the APIServices are not known.
func (a *Aggregator) Ready(context.Context) error {
	select {
	case <-a.informer.Synced():
		return nil
	default:
		return fmt.Errorf("the APIServices are not known yet")
	}
}

// server serves a version of an API.
type server struct {
	gv        schema.GroupVersion
	spec      registrationv1.APIServiceSpec
	available bool
	transport *http.Transport
	// broken is why there is no transport.
	broken error

	resources asked[resources]
	v3        asked[string]
	v2        asked[map[string]any]
}

// set takes over what an APIService says.
func (a *Aggregator) set(api *registrationv1.APIService) {
	gv := schema.GroupVersion{Group: api.Spec.Group, Version: api.Spec.Version}
	if api.Spec.Service == nil {
		a.change(gv, nil)
		return
	}
	s := &server{gv: gv, spec: api.Spec, available: isAvailable(api)}
	if old := a.server(gv); old != nil && equality.Semantic.DeepEqual(old.spec, s.spec) {
		if old.available == s.available {
			return
		}
		s.transport, s.broken = old.transport, old.broken
	} else if s.transport, s.broken = a.connector.Transport(&s.spec); s.broken != nil {
		a.log.Warn("another API server cannot be called", "api", gv.String(), "error", s.broken)
	}
	a.change(gv, s)
}

func (a *Aggregator) remove(api *registrationv1.APIService) {
	a.change(schema.GroupVersion{Group: api.Spec.Group, Version: api.Spec.Version}, nil)
}

// change makes s serve a version, the cluster itself if s is nil.
func (a *Aggregator) change(gv schema.GroupVersion, s *server) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := *a.servers.Load()
	was := old[gv]
	if was == nil && s == nil {
		return
	}
	servers := make(map[schema.GroupVersion]*server, len(old)+1)
	for other, have := range old {
		if other != gv {
			servers[other] = have
		}
	}
	if s != nil {
		servers[gv] = s
	}
	a.servers.Store(&servers)
	if was != nil && was.transport != nil && (s == nil || s.transport != was.transport) {
		was.transport.CloseIdleConnections()
	}
}

// server returns who serves a version, nil if the cluster does itself.
func (a *Aggregator) server(gv schema.GroupVersion) *server { return (*a.servers.Load())[gv] }

func isAvailable(api *registrationv1.APIService) bool {
	for _, c := range api.Status.Conditions {
		if c.Type == registrationv1.Available {
			return c.Status == registrationv1.ConditionTrue
		}
	}
	return false
}
