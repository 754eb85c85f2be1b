// Package allocator hands out the cluster IPs and node ports of Services.
//
// A cluster IP is taken by an IPAddress that is written in the transaction that
// writes the Service, a node port by a key of its own. So no two Services can
// have the same, and none is lost when a Store dies. The addresses are those of
// the cluster's ServiceCIDRs: the transaction is made on condition that the
// ServiceCIDR of an address has not changed, so that none is given out of one
// that is being deleted. Repair puts right what an older version or a hand in
// etcd left; what is done to IPAddresses later, a controller puts right.
package allocator

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/servicecidr"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/backend"
)

// Prefix begins the keys of what is taken by no object.
const Prefix = "/allocations/"

const (
	portPrefix = Prefix + "nodeports/"
	// formerPrefix began the keys by which cluster IPs were taken before there
	// were IPAddresses for them.
	formerPrefix = Prefix + "clusterips/"
)

// Ports is the range of node ports: the first and the last.
type Ports struct{ Min, Max int32 }

// Ledger reads and writes the objects that the allocator works with.
type Ledger interface {
	access.Reader
	// Fresh waits until a List shows all objects of a resource that were written
	// before the call.
	Fresh(ctx context.Context, resource schema.GroupVersionResource) error
	// Stored returns the objects of a cluster-scoped resource as the backend has
	// them, ordered by name.
	Stored(ctx context.Context, resource schema.GroupVersionResource) ([]kinds.Object, error)
	// Creation returns the operation that stores a new object.
	Creation(ctx context.Context, obj kinds.Object) (backend.Op, error)
	// Key returns the backend's key of an object.
	Key(resource schema.GroupVersionResource, namespace, name string) string
}

// Allocator implements registry.ServiceAllocator.
type Allocator struct {
	ports   Ports
	ledger  Ledger
	backend backend.Backend
}

// New returns an allocator.
func New(ports Ports, ledger Ledger, b backend.Backend) *Allocator {
	return &Allocator{ports: ports, ledger: ledger, backend: b}
}

// Claim implements registry.ServiceAllocator.
func (a *Allocator) Claim(ctx context.Context, svc, old *corev1.Service) ([]backend.Op, error) {
	had := a.holdings(old)
	c := claim{Allocator: a, svc: svc, had: had}
	if err := c.families(old); err != nil {
		return nil, err
	}
	if err := c.clusterIP(ctx); err != nil {
		return nil, err
	}
	if err := c.nodePorts(ctx); err != nil {
		return nil, err
	}
	ops, has := c.conditions, a.holdings(svc)
	for key, ip := range has {
		if _, mine := had[key]; mine {
			continue
		}
		op, err := a.taking(ctx, key, ip, svc)
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	for key := range had {
		if _, still := has[key]; !still {
			ops = append(ops, givingBack(key))
		}
	}
	return ops, nil
}

// Release implements registry.ServiceAllocator.
func (a *Allocator) Release(svc *corev1.Service) []backend.Op {
	var ops []backend.Op
	for key := range a.holdings(svc) {
		ops = append(ops, givingBack(key))
	}
	return ops
}

// taking returns the operation by which a Service takes an address, or a node
// port if the address is invalid.
func (a *Allocator) taking(ctx context.Context, key string, ip netip.Addr, svc *corev1.Service) (backend.Op, error) {
	if ip.IsValid() {
		return a.ledger.Creation(ctx, servicecidr.NewIPAddress(ip, svc))
	}
	return backend.Op{Type: backend.Put, Key: key, Value: []byte(owner(svc))}, nil
}

func givingBack(key string) backend.Op {
	return backend.Op{Type: backend.Delete, Key: key, Expect: backend.Any}
}

func owner(svc *corev1.Service) string { return svc.Namespace + "/" + svc.Name }

// holdings returns the keys of what a Service has taken, with its address or,
// of a node port, an invalid one.
func (a *Allocator) holdings(svc *corev1.Service) map[string]netip.Addr {
	keys := make(map[string]netip.Addr)
	if svc == nil {
		return keys
	}
	if ip, ok := clusterIPOf(svc); ok {
		keys[a.ipKey(ip)] = ip
	}
	for _, p := range svc.Spec.Ports {
		if p.NodePort != 0 && takesNodePorts(svc) {
			keys[portKey(p.NodePort)] = netip.Addr{}
		}
	}
	if port := svc.Spec.HealthCheckNodePort; port != 0 && kinds.NeedsHealthCheck(&svc.Spec) {
		keys[portKey(port)] = netip.Addr{}
	}
	return keys
}

func (a *Allocator) ipKey(ip netip.Addr) string {
	return a.ledger.Key(addressResource(), "", ip.String())
}

func portKey(port int32) string { return portPrefix + strconv.Itoa(int(port)) }

// clusterIPOf returns the cluster IP that a Service has.
func clusterIPOf(svc *corev1.Service) (netip.Addr, bool) {
	if !takesIP(svc) {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(svc.Spec.ClusterIP)
	return ip, err == nil
}

// takesIP says whether a Service has a cluster IP: all but those that are only
// a name in DNS.
func takesIP(svc *corev1.Service) bool {
	return svc.Spec.Type != corev1.ServiceTypeExternalName && svc.Spec.ClusterIP != corev1.ClusterIPNone
}

func takesNodePorts(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeNodePort || svc.Spec.Type == corev1.ServiceTypeLoadBalancer
}

// claim is one Service's wish for addresses.
type claim struct {
	*Allocator
	svc *corev1.Service
	// had holds what is the Service's already.
	had map[string]netip.Addr
	// used has the keys of all that is taken; nil until it is needed.
	used map[string]bool
	// conditions must hold for what is claimed.
	conditions []backend.Op
}

// survey reads what is taken. A Service's address counts also where somebody
// removed its IPAddress.
func (c *claim) survey(ctx context.Context) error {
	if c.used != nil {
		return nil
	}
	services, err := c.ledger.List(ctx, serviceResource(), "")
	if err != nil {
		return err
	}
	addresses, err := c.ledger.List(ctx, addressResource(), "")
	if err != nil {
		return err
	}
	c.used = make(map[string]bool, len(services)+len(addresses))
	for _, obj := range services {
		for key := range c.holdings(obj.(*corev1.Service)) {
			c.used[key] = true
		}
	}
	for _, obj := range addresses {
		c.used[c.ledger.Key(addressResource(), "", obj.GetName())] = true
	}
	return nil
}

// surveyAgain is survey for whoever found nothing free: what has just been given
// back counts.
func (c *claim) surveyAgain(ctx context.Context) error {
	for _, resource := range []schema.GroupVersionResource{serviceResource(), addressResource()} {
		if err := c.ledger.Fresh(ctx, resource); err != nil {
			return err
		}
	}
	c.used = nil
	return c.survey(ctx)
}

// pick calls choose, which returns the key of something that is not used, until
// that is really free. It returns false if there is nothing.
func (c *claim) pick(ctx context.Context, choose func() (key string, ok bool)) (bool, error) {
	for _, survey := range []func(context.Context) error{c.survey, c.surveyAgain} {
		if err := survey(ctx); err != nil {
			return false, err
		}
		for key, ok := choose(); ok; key, ok = choose() {
			taken, err := c.isTaken(ctx, key)
			if err != nil || !taken {
				return err == nil, err
			}
			c.used[key] = true
		}
	}
	return false, nil
}

// isTaken asks the backend, since what the caches show may lag behind.
func (c *claim) isTaken(ctx context.Context, key string) (bool, error) {
	kv, err := c.backend.Get(ctx, key, 0)
	if err != nil {
		return false, fmt.Errorf("look whether %s is taken: %w", key, err)
	}
	return kv != nil, nil
}

// isUsed says whether a key is taken, or what it stands for a Service's all the
// same.
func (c *claim) isUsed(ctx context.Context, key string) (bool, error) {
	taken, err := c.isTaken(ctx, key)
	if err != nil || taken {
		return taken, err
	}
	if err := c.survey(ctx); err != nil || !c.used[key] {
		return false, err
	}
	err = c.surveyAgain(ctx)
	return c.used[key], err
}

func (c *claim) invalid(errs ...*field.Error) error {
	return apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, c.svc.Name, errs)
}

func serviceResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: "services"}
}

func addressResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "ipaddresses"}
}

func rangeResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "servicecidrs"}
}
