package servicecidr_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	ranges "navarch.dev/navarch/internal/servicecidr"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/servicecidr"
)

func cidr(name string, prefixes ...string) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: prefixes}}
}

func service(name, ip string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

func start(t *testing.T) *controllertest.Cluster {
	c := controllertest.New(t)
	c.Start(c.Controller(servicecidr.New(c.Deps)), c.Controller(servicecidr.NewAddresses(c.Deps)))
	return c
}

// find returns the object of a name, nil if there is none.
func find[T metav1.Object](all []T, name string) (found T) {
	if i := slices.IndexFunc(all, func(o T) bool { return o.GetName() == name }); i >= 0 {
		return all[i]
	}
	return found
}

func awaitReady(c *controllertest.Cluster, name string) {
	controllertest.Await(c, name+" to be ready", func(all []*networkingv1.ServiceCIDR) bool {
		s := find(all, name)
		return s != nil && ranges.Gives(s) && slices.Contains(s.Finalizers, ranges.Finalizer)
	})
}

func awaitEnd(c *controllertest.Cluster, name string) {
	controllertest.Await(c, "the end of "+name, func(all []*networkingv1.ServiceCIDR) bool { return find(all, name) == nil })
}

// awaitHeld waits until a deleted ServiceCIDR says that it is needed.
func awaitHeld(c *controllertest.Cluster, name string) {
	controllertest.Await(c, name+" to say why it stays", func(all []*networkingv1.ServiceCIDR) bool {
		s := find(all, name)
		if s == nil || s.DeletionTimestamp == nil {
			return false
		}
		ready := meta.FindStatusCondition(s.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
		return ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == networkingv1.ServiceCIDRReasonTerminating
	})
}

// What Kubernetes' test "should create Services and serve on different Service
// CIDRs" asks of the API, and the end of such a range.
func TestServicesOfAnotherRange(t *testing.T) {
	c := start(t)
	c.Apply(cidr("more", "203.0.113.0/24"))
	awaitReady(c, "more")
	a := service("a", "203.0.113.10")
	c.Apply(a)
	controllertest.Await(c, "the address of a", func(all []*networkingv1.IPAddress) bool {
		ip := find(all, "203.0.113.10")
		return ip != nil && ranges.Owner(ip) == "default/a" && ranges.Managed(ip)
	})
	c.Remove(cidr("more"), "")
	awaitHeld(c, "more")
	err := c.Create(t.Context(), service("b", "203.0.113.11"))
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "failed to allocate IP 203.0.113.11: the provided network does not match the current range") {
		t.Errorf("an address of a range that ends: %v", err)
	}
	c.Remove(a, "")
	awaitEnd(c, "more")
}

func TestDeletedRangeGoes(t *testing.T) {
	c := start(t)
	c.Apply(cidr("unused", "203.0.113.0/24"), cidr("covered", "198.51.100.0/24"), cidr("covers", "198.51.100.0/23"))
	for _, name := range []string{"unused", "covered", "covers"} {
		awaitReady(c, name)
	}
	c.Apply(service("a", "198.51.100.7"))
	c.Remove(cidr("unused"), "")
	awaitEnd(c, "unused")
	c.Remove(cidr("covered"), "")
	awaitEnd(c, "covered")
	c.Remove(cidr("covers"), "")
	awaitHeld(c, "covers")
	c.Apply(cidr("again", "198.51.100.0/24"))
	awaitEnd(c, "covers")
}

// Of two ranges that hold an address and are both deleted, none goes while a
// Service has it.
func TestDeletedRangesDoNotCoverForEachOther(t *testing.T) {
	c := controllertest.New(t)
	c.Apply(cidr("one", "198.51.100.0/24"), cidr("other", "198.51.100.0/24"))
	for _, name := range []string{"one", "other"} {
		controllertest.Change(c, cidr(name), "", func(s *networkingv1.ServiceCIDR) { s.Finalizers = []string{ranges.Finalizer} })
	}
	controllertest.Change(c, cidr("one"), "status", func(s *networkingv1.ServiceCIDR) {
		s.Status.Conditions = []metav1.Condition{{Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, LastTransitionTime: metav1.Now()}}
	})
	a := service("a", "198.51.100.7")
	c.Apply(a)
	c.Remove(cidr("one"), "")
	c.Remove(cidr("other"), "")
	c.Start(c.Controller(servicecidr.New(c.Deps)))
	awaitHeld(c, "one")
	awaitHeld(c, "other")
	c.Remove(a, "")
	awaitEnd(c, "one")
	awaitEnd(c, "other")
}

func TestTheConfiguredRangeComesBack(t *testing.T) {
	c := start(t)
	awaitReady(c, ranges.Default)
	c.Apply(cidr("more", "10.96.0.0/15"))
	awaitReady(c, "more")
	before := &networkingv1.ServiceCIDR{}
	if err := c.Get(t.Context(), "", ranges.Default, before); err != nil {
		t.Fatal(err)
	}
	c.Remove(cidr(ranges.Default), "")
	controllertest.Await(c, "the configured range", func(all []*networkingv1.ServiceCIDR) bool {
		s := find(all, ranges.Default)
		return s != nil && s.UID != before.UID && ranges.Gives(s)
	})
}

func TestAddressesAreRepaired(t *testing.T) {
	c := controllertest.New(t)
	c.Apply(service("a", "10.96.7.1"), service("b", "10.96.7.2"), service("c", "10.96.7.3"))
	leaked := ranges.NewIPAddress(netip.MustParseAddr("10.96.7.9"), service("gone", ""))
	others := ranges.NewIPAddress(netip.MustParseAddr("10.96.7.8"), service("gone", ""))
	others.Labels = nil

	c.Remove(&networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: "10.96.7.1"}}, "")
	controllertest.Change(c, &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: "10.96.7.3"}}, "", func(a *networkingv1.IPAddress) { a.Labels = nil })
	c.Remove(&networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: "10.96.7.2"}}, "")
	foreign := ranges.NewIPAddress(netip.MustParseAddr("10.96.7.2"), service("b", ""))
	foreign.Spec.ParentRef = &networkingv1.ParentReference{Group: "example.com", Resource: "gateways", Name: "g"}
	c.Apply(leaked, others, foreign)
	c.Start(c.Controller(servicecidr.NewAddresses(c.Deps)))
	controllertest.Await(c, "the repair", func(all []*networkingv1.IPAddress) bool {
		for name, owner := range map[string]string{"10.96.7.1": "default/a", "10.96.7.2": "default/b", "10.96.7.3": "default/c"} {
			if ip := find(all, name); ip == nil || ranges.Owner(ip) != owner || !ranges.Managed(ip) {
				return false
			}
		}
		return find(all, "10.96.7.9") == nil && find(all, "10.96.7.8") != nil
	})
	// And later on.
	c.Remove(&networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: "10.96.7.3"}}, "")
	controllertest.Await(c, "the second repair", func(all []*networkingv1.IPAddress) bool { return find(all, "10.96.7.3") != nil })
	c.AwaitEvent("Warning ClusterIPNotAllocated a: Cluster IP [IPv4]: 10.96.7.1 is not allocated; repairing")
	c.AwaitEvent("Warning IPAddressNotAllocated 10.96.7.9: IPAddress: 10.96.7.9 for Service default/gone appears to have leaked: cleaning up")
}
