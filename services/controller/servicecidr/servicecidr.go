// Package servicecidr looks after the ranges of cluster IPs and the addresses
// that Services have of them (KEP-1880).
//
// One controller makes ServiceCIDRs ready, and holds one that is deleted until
// no Service is left with an address of no range. The other makes IPAddresses
// and Services agree where somebody has made them differ: the Store writes them
// together.
package servicecidr

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/servicecidr"
	"navarch.dev/navarch/services/controller/runner"
)

type reconciler struct {
	client    *client.Client
	cidrs     *client.Informer[*networkingv1.ServiceCIDR]
	addresses *client.Informer[*networkingv1.IPAddress]
}

// New returns the controller of ServiceCIDRs. Its keys name them.
func New(deps runner.Deps) (*runner.Controller, error) {
	cidrs, err := client.InformerFor[*networkingv1.ServiceCIDR](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	addresses, err := client.InformerFor[*networkingv1.IPAddress](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	r := &reconciler{client: deps.Client, cidrs: cidrs, addresses: addresses}
	c := runner.New("servicecidr", r, deps, runner.Options{Trace: cidrs.TraceContext})
	runner.Watch(c, cidrs, runner.Input[*networkingv1.ServiceCIDR]{Keys: r.overlapping})
	runner.Watch(c, addresses, runner.Input[*networkingv1.IPAddress]{Keys: r.endingWith})
	return c, nil
}

// overlapping returns the names of a ServiceCIDR and of those that may wait for
// one that covers what they do.
func (r *reconciler) overlapping(cidr *networkingv1.ServiceCIDR) []string {
	names := []string{cidr.Name}
	for _, other := range r.cidrs.List() {
		if other.Name != cidr.Name && other.DeletionTimestamp != nil && overlap(other, cidr) {
			names = append(names, other.Name)
		}
	}
	return names
}

func overlap(a, b *networkingv1.ServiceCIDR) bool {
	return slices.ContainsFunc(servicecidr.Prefixes(a), func(p netip.Prefix) bool {
		return slices.ContainsFunc(servicecidr.Prefixes(b), p.Overlaps)
	})
}

// endingWith returns the names of the deleted ServiceCIDRs that an address may
// hold.
func (r *reconciler) endingWith(address *networkingv1.IPAddress) (names []string) {
	ip, err := netip.ParseAddr(address.Name)
	if err != nil || !servicecidr.Managed(address) {
		return nil
	}
	for _, cidr := range r.cidrs.List() {
		if cidr.DeletionTimestamp != nil && servicecidr.Holds(cidr, ip) {
			names = append(names, cidr.Name)
		}
	}
	return names
}

// Reconcile makes a ServiceCIDR ready, or lets a deleted one go.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	cidr, ok := r.cidrs.GetByKey(key)
	if !ok {
		return runner.Done(), nil
	}
	cidr = cidr.DeepCopy()
	if cidr.DeletionTimestamp != nil {
		return runner.Done(), r.end(ctx, cidr)
	}
	if !slices.Contains(cidr.Finalizers, servicecidr.Finalizer) {
		cidr.Finalizers = append(cidr.Finalizers, servicecidr.Finalizer)
		if err := r.client.Update(ctx, cidr); err != nil {
			return runner.Done(), fmt.Errorf("protect ServiceCIDR %s: %w", key, err)
		}
	}
	return runner.Done(), r.report(ctx, cidr, metav1.Condition{Status: metav1.ConditionTrue, Message: "Kubernetes Service CIDR is ready"})
}

// end lets a deleted ServiceCIDR go, unless it is needed. From the moment that it
// was deleted the Store gives out no address of it.
func (r *reconciler) end(ctx context.Context, cidr *networkingv1.ServiceCIDR) error {
	if !slices.Contains(cidr.Finalizers, servicecidr.Finalizer) {
		return nil
	}
	needed, err := r.needed(ctx, cidr)
	if err != nil {
		return err
	}
	if needed {
		return r.report(ctx, cidr, metav1.Condition{
			Status: metav1.ConditionFalse, Reason: networkingv1.ServiceCIDRReasonTerminating,
			Message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
		})
	}
	cidr.Finalizers = slices.DeleteFunc(cidr.Finalizers, func(f string) bool { return f == servicecidr.Finalizer })
	if err := r.client.Update(ctx, cidr); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("let ServiceCIDR %s go: %w", cidr.Name, err)
	}
	return nil
}

// report sets the condition Ready.
func (r *reconciler) report(ctx context.Context, cidr *networkingv1.ServiceCIDR, ready metav1.Condition) error {
	ready.Type = networkingv1.ServiceCIDRConditionReady
	if !meta.SetStatusCondition(&cidr.Status.Conditions, ready) {
		return nil
	}
	if err := r.client.UpdateStatus(ctx, cidr); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("report on ServiceCIDR %s: %w", cidr.Name, err)
	}
	return nil
}

// needed says whether Services have addresses that no ServiceCIDR would hold
// without this one. Those that are being deleted too do not count: of several
// that hold an address, one has to stay.
func (r *reconciler) needed(ctx context.Context, cidr *networkingv1.ServiceCIDR) (bool, error) {
	var lasting []*networkingv1.ServiceCIDR
	for _, other := range r.cidrs.List() {
		if other.Name != cidr.Name && other.DeletionTimestamp == nil {
			lasting = append(lasting, other)
		}
	}
	needs := func(address *networkingv1.IPAddress) bool {
		ip, err := netip.ParseAddr(address.Name)
		return err == nil && servicecidr.Managed(address) && servicecidr.Holds(cidr, ip) &&
			!slices.ContainsFunc(lasting, func(s *networkingv1.ServiceCIDR) bool { return servicecidr.Holds(s, ip) })
	}
	if slices.ContainsFunc(r.addresses.List(), needs) {
		return true, nil
	}
	// The copies may not show yet what was given out just before the deletion.
	var all networkingv1.IPAddressList
	if err := r.client.List(ctx, &all, client.ListOptions{}); err != nil {
		return false, fmt.Errorf("look for addresses of ServiceCIDR %s: %w", cidr.Name, err)
	}
	return slices.ContainsFunc(all.Items, func(a networkingv1.IPAddress) bool { return needs(&a) }), nil
}
