package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/telemetry"
	proxyv1 "navarch.dev/navarch/proto/navarch/proxy/v1"
	"navarch.dev/navarch/services/proxy/dns"
	"navarch.dev/navarch/services/proxy/nftables"
)

// Proxy routes connections to Services on one node and answers their names.
type Proxy struct {
	cfg Config
	set settings
	tel telemetry.Set
	log *slog.Logger
	ns  *namespace

	informers *client.Informers
	services  *client.Informer[*corev1.Service]
	slices    *client.Informer[*discoveryv1.EndpointSlice]
	cidrs     *client.Informer[*networkingv1.ServiceCIDR]

	// ranges are where Services have addresses.
	ranges  atomic.Pointer[[]netip.Prefix]
	changes *changes
	board   *board
	zone    *dns.Zone
	names   *dns.Server
	metrics *metrics
	// programmed is closed once the kernel routes all Services.
	programmed chan struct{}
}

// bySlicesService is the index of EndpointSlices by their Service.
const bySlicesService = "service"

// New returns a proxy that follows the Services of the Store behind the
// connection. It does nothing until Run is called.
func New(cfg Config, tel telemetry.Set, store grpc.ClientConnInterface) (*Proxy, error) {
	set, err := cfg.settings()
	if err != nil {
		return nil, fmt.Errorf("configure the proxy: %w", err)
	}
	p := &Proxy{
		cfg: cfg, set: set, tel: tel, log: tel.Log,
		informers: client.NewInformers(client.New(store, "proxy")),
		changes:   newChanges(), board: newBoard(), zone: dns.NewZone(cfg.ClusterDomain),
		programmed: make(chan struct{}),
	}
	p.ranges.Store(&[]netip.Prefix{set.services})
	if p.metrics, err = newMetrics(tel.Metrics); err != nil {
		return nil, err
	}
	if err := p.follow(); err != nil {
		return nil, err
	}
	p.names, err = dns.NewServer(dns.Options{
		Zone:     p.zone,
		Upstream: dns.NewForwarder(cfg.ResolvConf, []netip.Addr{set.dns}, tel.Log),
		Address:  set.dns, Owned: p.ownedRanges,
		Synced: p.Programmed, Log: tel.Log, Metrics: tel.Metrics,
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// follow sets up the informers.
func (p *Proxy) follow() error {
	var err error
	if p.services, err = client.InformerFor[*corev1.Service](p.informers, nil); err != nil {
		return err
	}
	p.slices, err = client.InformerFor[*discoveryv1.EndpointSlice](p.informers, cache.Indexers{
		bySlicesService: func(obj any) ([]string, error) {
			return []string{serviceOf(obj.(*discoveryv1.EndpointSlice))}, nil
		},
	})
	if err != nil {
		return err
	}
	if p.cidrs, err = client.InformerFor[*networkingv1.ServiceCIDR](p.informers, nil); err != nil {
		return err
	}
	p.cidrs.AddHandler(client.Handler[*networkingv1.ServiceCIDR]{
		OnAdd:    func(*networkingv1.ServiceCIDR) { p.changes.signal() },
		OnUpdate: func(_, _ *networkingv1.ServiceCIDR) { p.changes.signal() },
		OnDelete: func(*networkingv1.ServiceCIDR) { p.changes.signal() },
	})
	p.services.AddHandler(client.Handler[*corev1.Service]{
		OnAdd:    func(s *corev1.Service) { p.changes.note(keyOf(s), cause{service: true, key: keyOf(s)}) },
		OnUpdate: func(_, s *corev1.Service) { p.changes.note(keyOf(s), cause{service: true, key: keyOf(s)}) },
		OnDelete: func(s *corev1.Service) { p.changes.note(keyOf(s)) },
	})
	p.slices.AddHandler(client.Handler[*discoveryv1.EndpointSlice]{
		OnAdd: func(s *discoveryv1.EndpointSlice) { p.changes.note(serviceOf(s), cause{key: keyOf(s)}) },
		OnUpdate: func(old, s *discoveryv1.EndpointSlice) {
			if serviceOf(old) != serviceOf(s) {
				p.changes.note(serviceOf(old))
			}
			p.changes.note(serviceOf(s), cause{key: keyOf(s)})
		},
		OnDelete: func(s *discoveryv1.EndpointSlice) { p.changes.note(serviceOf(s)) },
	})
	return nil
}

// Register adds the ProxyService to a server.
func (p *Proxy) Register(r grpc.ServiceRegistrar) {
	proxyv1.RegisterProxyServiceServer(r, &proxyServer{proxy: p})
}

// Programmed says whether the kernel has routed all Services once.
func (p *Proxy) Programmed() bool {
	select {
	case <-p.programmed:
		return true
	default:
		return false
	}
}

// Ready is closed once the kernel routes all Services.
func (p *Proxy) Ready() <-chan struct{} { return p.programmed }

// Run routes and answers until ctx ends. The routes stay in the kernel then.
func (p *Proxy) Run(ctx context.Context) error {
	var err error
	if p.ns, err = openNamespace(p.cfg.NetNS); err != nil {
		return err
	}
	defer p.ns.close()
	opts := nftables.Options{
		Name: p.set.table, NetNS: p.ns.fd(), PodCIDR: p.set.pods, ServiceCIDRs: p.serviceRanges(),
		MasqueradeMark: p.set.mark, LocalhostNodePorts: p.cfg.LocalhostNodePorts,
	}
	if err := p.prepare(ctx, &opts); err != nil {
		return err
	}
	if err := addDNSAddress(p.ns.kernel, p.set.dns); err != nil {
		return err
	}
	sockets, port, err := p.listenDNS(ctx)
	if err != nil {
		return err
	}
	table := nftables.New(opts)
	router := newRouter(p, table, port)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.names.Serve(ctx, sockets.packets, sockets.listener) })
	group.Go(func() error { return untilDone(ctx, table.WatchDeletions(ctx, p.changes.noteTable)) })
	group.Go(func() error {
		if err := p.informers.Start(ctx); err != nil {
			return untilDone(ctx, err)
		}
		router.run(ctx)
		return nil
	})
	return group.Wait()
}

// untilDone leaves out errors that are only about the end of ctx.
func untilDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // see above
	}
	return err
}

// keyOf is an object's "namespace/name".
func keyOf(obj metav1.Object) string { return obj.GetNamespace() + "/" + obj.GetName() }

// serviceOf is the key of the Service that a slice belongs to.
func serviceOf(s *discoveryv1.EndpointSlice) string {
	return s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]
}
