package proxy

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/proxy/conntrack"
	"navarch.dev/navarch/services/proxy/dns"
	"navarch.dev/navarch/services/proxy/healthcheck"
	"navarch.dev/navarch/services/proxy/nftables"
	"navarch.dev/navarch/services/proxy/routes"
)

// router carries changes of Services over into the zone and the kernel. A
// change is applied at once; those that come meanwhile are applied together.
// Only run's goroutine uses it.
type router struct {
	*Proxy
	table *nftables.Table
	// checks answers load balancers.
	checks *healthcheck.Responder
	view   routes.Viewpoint
	// routed is what each Service asks of the node, by key.
	routed map[string]*routes.Service
	// pending are changes that could not be programmed yet.
	pending map[string]map[cause]struct{}
	// udp are the frontends over UDP whose connections are to be swept.
	udp map[routes.Frontend]struct{}
	// started is set once the first state is programmed.
	started bool
}

func newRouter(p *Proxy, table *nftables.Table, dnsPort uint16) *router {
	r := &router{
		Proxy: p, table: table, checks: healthcheck.New(p.listenNode, p.Programmed, p.log),
		view:    routes.Viewpoint{Node: p.cfg.Node, Family: corev1.IPv4Protocol},
		routed:  make(map[string]*routes.Service),
		pending: make(map[string]map[cause]struct{}),
		udp:     make(map[routes.Frontend]struct{}),
	}
	// The key is smaller than every Service's, so that this one has precedence.
	r.routed[""] = dnsRoutes(netip.AddrPortFrom(p.set.dns, dnsPort))
	return r
}

// dnsRoutes leads the name server's address to the server on this node,
// whatever Service has that address.
func dnsRoutes(server netip.AddrPort) *routes.Service {
	out := &routes.Service{}
	for _, protocol := range []corev1.Protocol{corev1.ProtocolUDP, corev1.ProtocolTCP} {
		name := "node/dns/" + strings.ToLower(string(protocol))
		out.Groups = append(out.Groups, routes.Group{Name: name, Addrs: []netip.AddrPort{server}})
		out.Routes = append(out.Routes, routes.Route{
			Frontend: routes.Frontend{Addr: server.Addr(), Protocol: protocol, Port: 53},
			Target:   routes.Target{Action: routes.Forward, Group: name},
		})
	}
	return out
}

// run applies changes until ctx ends. What fails is tried again.
func (r *router) run(ctx context.Context) {
	defer r.checks.Close()
	const shortest, longest = 100 * time.Millisecond, 10 * time.Second
	delay := shortest
	for {
		err := r.step(ctx)
		var again <-chan time.Time
		if err != nil {
			r.log.ErrorContext(ctx, "could not route Services", "error", err, "retry", delay)
			again = time.After(delay)
			delay = min(2*delay, longest)
		} else {
			delay = shortest
			if !r.started {
				r.started = true
				close(r.programmed)
				r.log.InfoContext(ctx, "routing Services", "table", r.set.table, "services", len(r.routed)-1)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-r.waitFor(err):
		}
	}
}

// waitFor returns what wakes the router: after an error, only time does.
func (r *router) waitFor(err error) <-chan struct{} {
	if err != nil {
		return nil
	}
	return r.changes.wake
}

// step applies everything noted so far.
func (r *router) step(ctx context.Context) error {
	r.takeRanges(ctx)
	if err := r.takeChanges(ctx); err != nil {
		return err
	}
	spans := r.startSpans(ctx)
	changed := r.build()
	err := r.program(ctx, changed)
	for _, span := range spans {
		if err != nil {
			span.RecordError(err)
			span.SetStatus(codes.Error, "the kernel did not take the routes")
		}
		span.End()
	}
	if err != nil {
		return err
	}
	for key := range r.pending {
		if err := r.checks.Set(ctx, key, checkOf(r.routed[key])); err != nil {
			r.log.WarnContext(ctx, "load balancers take this node for one without endpoints", "error", err)
		}
		r.board.set(key, r.routed[key])
	}
	clear(r.pending)
	return nil
}

// checkOf returns what load balancers are told of a Service; nil if none asks.
func checkOf(s *routes.Service) *healthcheck.Service {
	if s == nil || s.HealthCheck == nil {
		return nil
	}
	return &healthcheck.Service{Namespace: s.Namespace, Name: s.Name, Port: s.HealthCheck.Port, Endpoints: s.HealthCheck.Endpoints}
}

func (r *router) takeChanges(ctx context.Context) error {
	services, table := r.changes.take()
	for key, causes := range services {
		have, ok := r.pending[key]
		if !ok {
			r.pending[key] = causes
			continue
		}
		for c := range causes {
			have[c] = struct{}{}
		}
	}
	if !table || !r.table.Current() {
		return nil // there is nothing to miss: the next Apply makes the whole table
	}
	exists, err := r.table.Exists()
	if err != nil {
		r.changes.noteTable()
		return err
	}
	if !exists {
		r.log.WarnContext(ctx, "somebody removed the routes of Services; adding them again", "table", r.set.table)
		r.table.Forget()
	}
	return nil
}

// build makes the pending Services' routes and names, and says whether any
// routes differ.
func (r *router) build() (changed bool) {
	for key := range r.pending {
		old, fresh := r.routed[key], r.refresh(key)
		if reflect.DeepEqual(old, fresh) {
			continue
		}
		changed = true
		noteUDP(r.udp, old)
		noteUDP(r.udp, fresh)
		if fresh == nil {
			delete(r.routed, key)
		} else {
			r.routed[key] = fresh
		}
	}
	return changed
}

// refresh takes a Service as it is now over into the zone, and returns its
// routes; nil if it has none.
func (r *router) refresh(key string) *routes.Service {
	namespace, name, _ := strings.Cut(key, "/")
	service, ok := r.services.GetByKey(key)
	if !ok {
		r.zone.Delete(namespace, name)
		return nil
	}
	endpointSlices, err := r.slices.ByIndex(bySlicesService, key)
	if err != nil {
		panic(fmt.Sprintf("the index of slices by Service is missing: %v", err)) // follow adds it
	}
	r.zone.Set(dns.ServiceOf(service, endpointSlices))
	return routes.Build(service, endpointSlices, r.view)
}

// program makes the kernel route as the Services ask.
func (r *router) program(ctx context.Context, changed bool) error {
	if !changed && r.started && r.table.Current() {
		return nil
	}
	start := time.Now()
	state := routes.Merge(r.routed)
	if err := r.table.Apply(state); err != nil {
		r.metrics.failures.Inc()
		return err
	}
	r.metrics.programmed(time.Since(start), len(r.routed)-1)
	r.sweep(ctx, state)
	return nil
}

// sweep makes the kernel forget connections over UDP to backends that are gone.
// If it cannot, the routes are right nevertheless; the next change tries again.
func (r *router) sweep(ctx context.Context, state *routes.State) {
	frontends := slices.Collect(maps.Keys(r.udp))
	swept, err := conntrack.Sweep(r.ns.kernel, frontends, state)
	r.metrics.swept.Add(float64(swept))
	if err != nil {
		r.log.WarnContext(ctx, "connections over UDP may still lead to backends that are gone", "error", err)
		return
	}
	clear(r.udp)
}

// noteUDP adds a Service's frontends over UDP.
func noteUDP(udp map[routes.Frontend]struct{}, s *routes.Service) {
	if s == nil {
		return
	}
	for _, route := range s.Routes {
		if route.Frontend.Protocol == corev1.ProtocolUDP {
			udp[route.Frontend] = struct{}{}
		}
	}
}

// startSpans begins a span in the trace of each change that is about to be
// programmed. What was there before the proxy has long been programmed, by the
// one before it.
func (r *router) startSpans(ctx context.Context) []trace.Span {
	if !r.started {
		return nil
	}
	var spans []trace.Span
	for key, causes := range r.pending {
		namespace, name, _ := strings.Cut(key, "/")
		for c := range causes {
			parent := r.traceOf(ctx, c)
			if !trace.SpanContextFromContext(parent).IsValid() {
				continue
			}
			_, span := r.tel.Tracer().Start(parent, "proxy.program", trace.WithAttributes(
				attribute.String("k8s.namespace.name", namespace),
				attribute.String("k8s.service.name", name),
				attribute.String("k8s.node.name", r.cfg.Node),
			))
			spans = append(spans, span)
		}
	}
	return spans
}

func (r *router) traceOf(ctx context.Context, c cause) context.Context {
	if c.service {
		return r.services.TraceContext(ctx, c.key)
	}
	return r.slices.TraceContext(ctx, c.key)
}
