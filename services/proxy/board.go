package proxy

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	proxyv1 "navarch.dev/navarch/proto/navarch/proxy/v1"
	"navarch.dev/navarch/services/proxy/routes"
)

// routeKey names one port of one Service.
type routeKey struct{ namespace, service, protocol, port string }

// board shows what is programmed, and tells watchers of changes. A slow
// watcher misses what happened in between, never where it ended.
type board struct {
	mu       sync.Mutex // guards what follows
	routes   map[routeKey]*proxyv1.ServiceRoute
	keys     map[string][]routeKey // by Service
	watchers map[*watcher]struct{}
}

// watcher is one follower of the board.
type watcher struct {
	filter func(routeKey) bool
	// changed are the routes to be told of; board.mu guards it.
	changed map[routeKey]struct{}
	// wake holds a token while changed is not empty.
	wake chan struct{}
}

func newBoard() *board {
	return &board{
		routes:   make(map[routeKey]*proxyv1.ServiceRoute),
		keys:     make(map[string][]routeKey),
		watchers: make(map[*watcher]struct{}),
	}
}

// set shows a Service's routes as they now are; nil removes them.
func (b *board) set(key string, service *routes.Service) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh := make(map[routeKey]*proxyv1.ServiceRoute)
	if service != nil {
		for _, port := range service.Ports {
			k := routeKey{service.Namespace, service.Name, string(port.Protocol), port.Name}
			fresh[k] = routeMessage(service, port)
		}
	}
	for _, k := range b.keys[key] {
		if _, stays := fresh[k]; !stays {
			delete(b.routes, k)
			b.tell(k)
		}
	}
	delete(b.keys, key)
	for k, route := range fresh {
		b.keys[key] = append(b.keys[key], k)
		if !proto.Equal(b.routes[k], route) {
			b.routes[k] = route
			b.tell(k)
		}
	}
}

// tell marks a route as changed for all who follow it; b.mu is held.
func (b *board) tell(k routeKey) {
	for w := range b.watchers {
		if w.filter(k) {
			w.mark(k)
		}
	}
}

func (w *watcher) mark(k routeKey) {
	w.changed[k] = struct{}{}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// list returns the routes that filter accepts, in order of their names.
func (b *board) list(filter func(routeKey) bool) []*proxyv1.ServiceRoute {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []*proxyv1.ServiceRoute
	for k, route := range b.routes {
		if filter(k) {
			out = append(out, route)
		}
	}
	slices.SortFunc(out, func(x, y *proxyv1.ServiceRoute) int {
		return cmp.Or(strings.Compare(x.GetNamespace(), y.GetNamespace()), strings.Compare(x.GetName(), y.GetName()), cmp.Compare(x.GetPort(), y.GetPort()))
	})
	return out
}

// watch sends the routes that filter accepts, then their changes, until ctx
// ends or send fails.
func (b *board) watch(ctx context.Context, filter func(routeKey) bool, send func(*proxyv1.WatchBackendsResponse) error) error {
	w := &watcher{filter: filter, changed: make(map[routeKey]struct{}), wake: make(chan struct{}, 1)}
	b.mu.Lock()
	b.watchers[w] = struct{}{}
	for k := range b.routes {
		if filter(k) {
			w.mark(k)
		}
	}
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.watchers, w)
		b.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		}
		for _, event := range b.takeEvents(w) {
			if err := send(event); err != nil {
				return err
			}
		}
	}
}

func (b *board) takeEvents(w *watcher) []*proxyv1.WatchBackendsResponse {
	b.mu.Lock()
	defer b.mu.Unlock()
	events := make([]*proxyv1.WatchBackendsResponse, 0, len(w.changed))
	for k := range w.changed {
		event := &proxyv1.WatchBackendsResponse{Service: b.routes[k]}
		if event.Service == nil {
			event.Removed = true
			event.Service = &proxyv1.ServiceRoute{Namespace: k.namespace, Name: k.service, PortName: k.port, Protocol: k.protocol}
		}
		events = append(events, event)
	}
	clear(w.changed)
	return events
}

func routeMessage(service *routes.Service, port routes.Port) *proxyv1.ServiceRoute {
	m := &proxyv1.ServiceRoute{
		Namespace: service.Namespace, Name: service.Name, PortName: port.Name, Protocol: string(port.Protocol),
		Port: uint32(port.Port), NodePort: uint32(port.NodePort), SessionAffinity: string(port.Affinity),
	}
	for _, ip := range port.ClusterIPs {
		m.ClusterIps = append(m.ClusterIps, ip.String())
	}
	for _, backend := range port.Backends {
		m.Backends = append(m.Backends, &proxyv1.Backend{
			Address: backend.Addr.String(), NodeName: backend.Node, Target: backend.Target,
		})
	}
	return m
}
