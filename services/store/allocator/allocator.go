// Package allocator hands out the cluster IPs and node ports of Services. An
// address is taken by a key in the backend that is written in the transaction
// that writes the Service, so that no two Services can have it and none is
// lost when a Store dies. Which ones are free is read from the Services
// themselves; Repair puts right what an older version or a hand in etcd left.
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

	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/backend"
)

// Prefix begins the keys of everything that is taken.
const Prefix = "/allocations/"

const (
	ipPrefix   = Prefix + "clusterips/"
	portPrefix = Prefix + "nodeports/"
)

// Range is what there is to hand out.
type Range struct {
	// IPs is the range of cluster IPs; its first and last address are not
	// used.
	IPs netip.Prefix
	// PortMin and PortMax are the first and the last node port.
	PortMin, PortMax int32
}

// Allocator implements registry.ServiceAllocator.
type Allocator struct {
	rng     Range
	reader  access.Reader
	backend backend.Backend
}

// New returns an allocator. reader shows the Services that there are.
func New(rng Range, reader access.Reader, b backend.Backend) *Allocator {
	return &Allocator{rng: rng, reader: reader, backend: b}
}

// Claim implements registry.ServiceAllocator.
func (a *Allocator) Claim(ctx context.Context, svc, old *corev1.Service) ([]backend.Op, error) {
	had := keysOf(old)
	c := claim{allocator: a, svc: svc, had: had}
	if err := c.clusterIP(ctx); err != nil {
		return nil, err
	}
	if err := c.nodePorts(ctx); err != nil {
		return nil, err
	}
	has := keysOf(svc)
	var ops []backend.Op
	for key := range has {
		if !had[key] {
			ops = append(ops, backend.Op{Type: backend.Put, Key: key, Value: []byte(owner(svc))})
		}
	}
	for key := range had {
		if !has[key] {
			ops = append(ops, backend.Op{Type: backend.Delete, Key: key, Expect: backend.Any})
		}
	}
	return ops, nil
}

// Release implements registry.ServiceAllocator.
func (a *Allocator) Release(svc *corev1.Service) []backend.Op {
	var ops []backend.Op
	for key := range keysOf(svc) {
		ops = append(ops, backend.Op{Type: backend.Delete, Key: key, Expect: backend.Any})
	}
	return ops
}

func owner(svc *corev1.Service) string { return svc.Namespace + "/" + svc.Name }

// keysOf returns the keys of what a Service has taken.
func keysOf(svc *corev1.Service) map[string]bool {
	keys := make(map[string]bool)
	if svc == nil {
		return keys
	}
	if takesIP(svc) && svc.Spec.ClusterIP != "" {
		keys[ipPrefix+svc.Spec.ClusterIP] = true
	}
	for _, p := range svc.Spec.Ports {
		if p.NodePort != 0 && takesNodePorts(svc) {
			keys[portKey(p.NodePort)] = true
		}
	}
	return keys
}

func portKey(port int32) string { return portPrefix + strconv.Itoa(int(port)) }

// takesIP says whether a Service has a cluster IP: all but those that are only
// a name in DNS.
func takesIP(svc *corev1.Service) bool {
	return svc.Spec.Type != corev1.ServiceTypeExternalName && svc.Spec.ClusterIP != corev1.ClusterIPNone
}

func takesNodePorts(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeNodePort || svc.Spec.Type == corev1.ServiceTypeLoadBalancer
}

// picksNodePorts says whether ports that name no node port get one.
func picksNodePorts(svc *corev1.Service) bool {
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.AllocateLoadBalancerNodePorts != nil {
		return *svc.Spec.AllocateLoadBalancerNodePorts
	}
	return takesNodePorts(svc)
}

// claim is one Service's wish for addresses.
type claim struct {
	allocator *Allocator
	svc       *corev1.Service
	// had are the keys that are the Service's already.
	had map[string]bool
	// used are the keys of all Services; nil until they are needed.
	used map[string]bool
}

func (c *claim) clusterIP(ctx context.Context) error {
	if !takesIP(c.svc) {
		return nil
	}
	spec := &c.svc.Spec
	if spec.ClusterIP == "" {
		ip, err := c.pickIP(ctx)
		if err != nil {
			return err
		}
		spec.ClusterIP, spec.ClusterIPs = ip, []string{ip}
		return nil
	}
	if c.had[ipPrefix+spec.ClusterIP] {
		return nil
	}
	return c.chosenIP(ctx, spec.ClusterIP)
}

// chosenIP checks a cluster IP that the user asks for.
func (c *claim) chosenIP(ctx context.Context, text string) error {
	problem := ""
	ip, err := netip.ParseAddr(text)
	switch {
	case err != nil || !c.allocator.usable(ip):
		problem = "the provided network does not match the current range"
	case text != ip.String():
		problem = "the address is not in its canonical form"
	default:
		taken, err := c.taken(ctx, ipPrefix+text)
		if err != nil {
			return err
		}
		if taken {
			problem = "provided IP is already allocated"
		}
	}
	if problem == "" {
		return nil
	}
	return c.invalid(field.Invalid(field.NewPath("spec", "clusterIPs").Index(0), []string{text},
		fmt.Sprintf("failed to allocate IP %s: %s", text, problem)))
}

func (c *claim) nodePorts(ctx context.Context) error {
	if !takesNodePorts(c.svc) {
		return nil
	}
	mine := make(map[int32]bool)
	for i := range c.svc.Spec.Ports {
		p := &c.svc.Spec.Ports[i]
		at := field.NewPath("spec", "ports").Index(i).Child("nodePort")
		switch {
		case p.NodePort != 0:
			if err := c.chosenPort(ctx, p.NodePort, mine, at); err != nil {
				return err
			}
		case picksNodePorts(c.svc):
			port, err := c.pickPort(ctx, mine)
			if err != nil {
				return err
			}
			p.NodePort = port
		}
		mine[p.NodePort] = true
	}
	return nil
}

// chosenPort checks a node port that the user asks for.
func (c *claim) chosenPort(ctx context.Context, port int32, mine map[int32]bool, at *field.Path) error {
	if c.had[portKey(port)] || mine[port] {
		return nil
	}
	if rng := c.allocator.rng; port < rng.PortMin || port > rng.PortMax {
		return c.invalid(field.Invalid(at, port, fmt.Sprintf(
			"provided port is not in the valid range. The range of valid ports is %d-%d", rng.PortMin, rng.PortMax)))
	}
	taken, err := c.taken(ctx, portKey(port))
	if err != nil {
		return err
	}
	if taken {
		return c.invalid(field.Invalid(at, port, "provided port is already allocated"))
	}
	return nil
}

// taken asks the backend, since what the caches show may lag behind.
func (c *claim) taken(ctx context.Context, key string) (bool, error) {
	kv, err := c.allocator.backend.Get(ctx, key, 0)
	if err != nil {
		return false, fmt.Errorf("look whether %s is taken: %w", key, err)
	}
	return kv != nil, nil
}

func (c *claim) invalid(err *field.Error) error {
	return apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, c.svc.Name, field.ErrorList{err})
}
