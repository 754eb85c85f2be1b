package store

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/allocator"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/registry"
)

const (
	apiService = "kubernetes"
	dnsService = "kube-dns"
	// dnsOffset is the place of the DNS Service in the range of cluster IPs.
	dnsOffset = 10
)

// newAllocator returns the allocator of the Services' addresses.
func newAllocator(s *Store) *allocator.Allocator {
	ports := allocator.Ports{Min: int32(s.cfg.NodePortMin), Max: int32(s.cfg.NodePortMax)}
	return allocator.New(ports, s.registry.Ledger(fieldManager), s.backend)
}

// firstServices are the Services that every cluster has.
func (s *Store) firstServices() ([]kinds.Object, error) {
	prefix, err := netip.ParsePrefix(s.cfg.ServiceCIDR)
	if err != nil {
		return nil, fmt.Errorf("read the range of cluster IPs: %w", err)
	}
	dnsIP := s.cfg.DNSServiceIP
	if dnsIP == "" {
		dnsIP = allocator.Nth(prefix, dnsOffset).String()
	}
	api := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: apiService, Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"}},
		Spec: corev1.ServiceSpec{
			ClusterIP: allocator.Nth(prefix, 1).String(),
			Ports:     []corev1.ServicePort{{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: intstr.FromInt32(s.gatewayPort())}},
		},
	}
	dns := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: dnsService, Labels: map[string]string{
			"k8s-app": dnsService, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS",
		}},
		Spec: corev1.ServiceSpec{
			ClusterIP: dnsIP,
			Ports: []corev1.ServicePort{
				{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53, TargetPort: intstr.FromInt32(53)},
				{Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: 53, TargetPort: intstr.FromInt32(53)},
			},
		},
	}
	return []kinds.Object{api, dns}, nil
}

// gateways returns the configured addresses, which have been validated.
func (s *Store) gateways() []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range s.cfg.GatewayAddresses {
		if ap, err := netip.ParseAddrPort(a); err == nil {
			out = append(out, ap)
		}
	}
	return out
}

func (s *Store) gatewayPort() int32 {
	if g := s.gateways(); len(g) > 0 {
		return int32(g[0].Port())
	}
	return 443
}

// publishGateways makes the endpoints of default/kubernetes the configured
// gateways. Without any, somebody else sees to them.
func (s *Store) publishGateways(ctx context.Context) error {
	if len(s.gateways()) == 0 {
		return nil
	}
	for _, obj := range []kinds.Object{s.gatewayEndpoints(), s.gatewaySlice()} {
		if err := s.put(ctx, obj); err != nil {
			return err
		}
	}
	return nil
}

// put creates an object or makes the one that there is equal to it.
func (s *Store) put(ctx context.Context, obj kinds.Object) error {
	if err := s.createFirst(ctx, obj); err != nil {
		return err
	}
	kind, err := s.kinds.ForObject(obj)
	if err != nil {
		return err
	}
	w := registry.Write{
		Kind: kind, Namespace: obj.GetNamespace(), Name: obj.GetName(),
		User: identity.Service(identity.Store), Manager: fieldManager, Verb: "update",
	}
	_, err = s.registry.Change(ctx, w, func(*cache.Version) (kinds.Object, error) {
		return obj.DeepCopyObject().(kinds.Object), nil
	})
	if err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("publish %s %s: %w", kind.Kind, obj.GetName(), err)
	}
	return nil
}

func (s *Store) gatewayEndpoints() *corev1.Endpoints {
	e := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{
		Namespace: metav1.NamespaceDefault, Name: apiService,
		Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"},
	}}
	for _, g := range s.gateways() {
		e.Subsets = append(e.Subsets, corev1.EndpointSubset{
			Addresses: []corev1.EndpointAddress{{IP: g.Addr().String()}},
			Ports:     []corev1.EndpointPort{{Name: "https", Port: int32(g.Port()), Protocol: corev1.ProtocolTCP}},
		})
	}
	return e
}

// gatewaySlice holds the gateways that serve on the first one's port: a slice
// has one set of ports.
func (s *Store) gatewaySlice() *discoveryv1.EndpointSlice {
	name, port, protocol, ready := "https", s.gatewayPort(), corev1.ProtocolTCP, true
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceDefault, Name: apiService,
			Labels: map[string]string{discoveryv1.LabelServiceName: apiService},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	}
	for _, g := range s.gateways() {
		if int32(g.Port()) == port {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{g.Addr().String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			})
		}
	}
	return slice
}
