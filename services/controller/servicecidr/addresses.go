package servicecidr

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/servicecidr"
	"navarch.dev/navarch/services/controller/runner"
)

// byClusterIP is the index of Services by their addresses.
const byClusterIP = "servicecidr/clusterip"

type repairer struct {
	client    *client.Client
	events    runner.EventRecorder
	services  *client.Informer[*corev1.Service]
	cidrs     *client.Informer[*networkingv1.ServiceCIDR]
	addresses *client.Informer[*networkingv1.IPAddress]
}

// NewAddresses returns the controller that makes the IPAddresses agree with what
// the Services have. Its keys are addresses.
func NewAddresses(deps runner.Deps) (*runner.Controller, error) {
	services, err := client.InformerFor[*corev1.Service](deps.Informers, cache.Indexers{byClusterIP: func(v any) ([]string, error) {
		svc, ok := v.(*corev1.Service)
		if !ok {
			return nil, fmt.Errorf("index a %T: not a Service", v)
		}
		return clusterIPs(svc), nil
	}})
	if err != nil {
		return nil, err
	}
	cidrs, err := client.InformerFor[*networkingv1.ServiceCIDR](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	addresses, err := client.InformerFor[*networkingv1.IPAddress](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &repairer{
		client: deps.Client, events: deps.Events("ipallocator-repair-controller"),
		services: services, cidrs: cidrs, addresses: addresses,
	}
	c := runner.New("ipaddress", r, deps, runner.Options{Trace: addresses.TraceContext})
	runner.Primary(c, addresses)
	runner.Watch(c, services, runner.Input[*corev1.Service]{
		Keys:    clusterIPs,
		Changed: func(old, svc *corev1.Service) bool { return !slices.Equal(clusterIPs(old), clusterIPs(svc)) },
	})
	return c, nil
}

// clusterIPs returns the addresses that a Service has, in their canonical form.
func clusterIPs(svc *corev1.Service) (ips []string) {
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	for _, text := range svc.Spec.ClusterIPs {
		if ip, err := netip.ParseAddr(text); err == nil {
			ips = append(ips, ip.String())
		}
	}
	return ips
}

// Reconcile sees to the IPAddress of an address.
func (r *repairer) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	ip, err := netip.ParseAddr(key)
	if err != nil {
		return runner.Done(), nil //nolint:nilerr // the name of an IPAddress is one
	}
	holders, err := r.services.ByIndex(byClusterIP, key)
	if err != nil {
		return runner.Done(), err
	}
	address, _ := r.addresses.GetByKey(key)
	r.complain(ip, holders, address)
	if agree(holders, address) {
		return runner.Done(), nil
	}
	// Services and IPAddresses come as two streams, of which one may be behind.
	if holders, address, err = r.newest(ctx, ip, holders, address); err != nil || agree(holders, address) {
		return runner.Done(), err
	}
	if err := r.repair(ctx, ip, holders, address); err != nil && !apierrors.IsNotFound(err) {
		return runner.Done(), fmt.Errorf("repair IPAddress %s: %w", key, err)
	}
	return runner.Done(), nil
}

// agree says whether an address is where the Services that have it say. What
// somebody else has made for other things is his own.
func agree(holders []*corev1.Service, address *networkingv1.IPAddress) bool {
	if len(holders) == 0 {
		return address == nil || !servicecidr.Managed(address)
	}
	if address == nil {
		return false
	}
	ip, err := netip.ParseAddr(address.Name)
	return err == nil && servicecidr.Managed(address) && owns(holders, address) &&
		address.Labels[networkingv1.LabelIPAddressFamily] == string(servicecidr.FamilyOf(ip))
}

func owns(holders []*corev1.Service, address *networkingv1.IPAddress) bool {
	return slices.ContainsFunc(holders, func(svc *corev1.Service) bool { return servicecidr.Owner(address) == keyOf(svc) })
}

func keyOf(svc *corev1.Service) string { return svc.Namespace + "/" + svc.Name }

// complain tells of what only the Services' owners can put right.
func (r *repairer) complain(ip netip.Addr, holders []*corev1.Service, address *networkingv1.IPAddress) {
	covered := slices.ContainsFunc(r.cidrs.List(), func(s *networkingv1.ServiceCIDR) bool { return servicecidr.Holds(s, ip) })
	for _, svc := range holders {
		if !covered {
			r.warn(svc, "ClusterIPOutOfRange", "Cluster IP [%s]: %s is not within any configured Service CIDR; please recreate service", servicecidr.FamilyOf(ip), ip)
		}
		if address != nil && owns(holders, address) && servicecidr.Owner(address) != keyOf(svc) {
			r.warn(svc, "ClusterIPAlreadyAllocated", "Cluster IP [%s]: %s was assigned to multiple services; please recreate service", servicecidr.FamilyOf(ip), ip)
		}
	}
}

// newest reads an address and those who may have it from the Store.
func (r *repairer) newest(ctx context.Context, ip netip.Addr, holders []*corev1.Service, address *networkingv1.IPAddress) ([]*corev1.Service, *networkingv1.IPAddress, error) {
	fresh := &networkingv1.IPAddress{}
	err := r.client.Get(ctx, "", ip.String(), fresh)
	switch {
	case apierrors.IsNotFound(err):
		fresh = nil
	case err != nil:
		return nil, nil, fmt.Errorf("read IPAddress %s: %w", ip, err)
	}
	names := make(map[string]bool)
	for _, svc := range holders {
		names[keyOf(svc)] = true
	}
	for _, a := range []*networkingv1.IPAddress{address, fresh} {
		if a != nil && servicecidr.Owner(a) != "" {
			names[servicecidr.Owner(a)] = true
		}
	}
	var now []*corev1.Service
	for key := range names {
		namespace, name, _ := strings.Cut(key, "/")
		svc := &corev1.Service{}
		err := r.client.Get(ctx, namespace, name, svc)
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, nil, fmt.Errorf("read service %s: %w", key, err)
		}
		if err == nil && slices.Contains(clusterIPs(svc), ip.String()) {
			now = append(now, svc)
		}
	}
	return now, fresh, nil
}

// repair makes the IPAddress what it should be. It is deleted only as it was
// read; a Service that goes meanwhile makes the next reconcile.
func (r *repairer) repair(ctx context.Context, ip netip.Addr, holders []*corev1.Service, address *networkingv1.IPAddress) error {
	if address != nil {
		opts := client.DeleteOptions{UID: address.UID, ResourceVersion: address.ResourceVersion}
		if err := r.client.Delete(ctx, address, opts); err != nil {
			return err
		}
	}
	if len(holders) == 0 {
		r.events.Event(address, corev1.EventTypeWarning, "IPAddressNotAllocated",
			fmt.Sprintf("IPAddress: %s for Service %s appears to have leaked: cleaning up", ip, servicecidr.Owner(address)))
		return nil
	}
	svc := holders[0]
	err := r.client.Create(ctx, servicecidr.NewIPAddress(ip, svc))
	switch {
	case apierrors.IsAlreadyExists(err):
		return nil // whoever made it makes the next reconcile
	case err != nil:
		return err
	case address == nil:
		r.warn(svc, "ClusterIPNotAllocated", "Cluster IP [%s]: %s is not allocated; repairing", servicecidr.FamilyOf(ip), ip)
	default:
		r.warn(svc, "ClusterIPNotAllocated", "the ClusterIP [%s]: %s for Service %s has a wrong reference; repairing", servicecidr.FamilyOf(ip), ip, keyOf(svc))
	}
	return nil
}

func (r *repairer) warn(svc *corev1.Service, reason, format string, args ...any) {
	r.events.Event(svc, corev1.EventTypeWarning, reason, fmt.Sprintf(format, args...))
}
