// Package servicecidr says what ServiceCIDRs and IPAddresses mean to those who
// give out the Services' cluster IPs, route them and look after them (KEP-1880).
//
// A ServiceCIDR names ranges of addresses. Those of all that are ready and not
// being deleted are given out; ranges may overlap. For each address that a
// Service has there is an IPAddress of its name, whose parent is that Service.
package servicecidr

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// Default is the name of the ServiceCIDR that says what the cluster is
	// configured with.
	Default = "kubernetes"
	// Finalizer holds a ServiceCIDR as long as Services would be left with
	// addresses of no range.
	Finalizer = "networking.k8s.io/service-cidr-finalizer"
	// Manager is the value of the label networkingv1.LabelManagedBy of the
	// IPAddresses that the cluster makes for its Services.
	Manager = "ipallocator.k8s.io"
)

// Prefixes returns the ranges of a ServiceCIDR. What cannot be read as one is
// left out.
func Prefixes(s *networkingv1.ServiceCIDR) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range s.Spec.CIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}

// Gives says whether addresses of a ServiceCIDR are given out.
func Gives(s *networkingv1.ServiceCIDR) bool {
	return s.DeletionTimestamp == nil && meta.IsStatusConditionTrue(s.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
}

// Covers says whether an address of a range can be a Service's: neither its
// first one, which names the network, nor in IPv4 the last, to which is
// broadcast.
func Covers(p netip.Prefix, ip netip.Addr) bool {
	return p.Contains(ip) && ip != p.Masked().Addr() && (ip.Is6() || p.Contains(ip.Next()))
}

// Holds says whether an address is of a ServiceCIDR.
func Holds(s *networkingv1.ServiceCIDR, ip netip.Addr) bool {
	return slices.ContainsFunc(Prefixes(s), func(p netip.Prefix) bool { return Covers(p, ip) })
}

// NewIPAddress returns what says that a Service has an address.
func NewIPAddress(ip netip.Addr, svc *corev1.Service) *networkingv1.IPAddress {
	return &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: ip.String(), Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: string(FamilyOf(ip)),
			networkingv1.LabelManagedBy:       Manager,
		}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{
			Resource: "services", Namespace: svc.Namespace, Name: svc.Name,
		}},
	}
}

// FamilyOf returns the IP version of an address.
func FamilyOf(ip netip.Addr) corev1.IPFamily {
	if ip.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// Managed says whether an IPAddress was made for a Service.
func Managed(ip *networkingv1.IPAddress) bool {
	return ip.Labels[networkingv1.LabelManagedBy] == Manager
}

// Owner returns the "namespace/name" of the Service that an IPAddress names as
// its parent, "" if that is anything else.
func Owner(ip *networkingv1.IPAddress) string {
	ref := ip.Spec.ParentRef
	if ref == nil || ref.Group != "" || ref.Resource != "services" {
		return ""
	}
	return ref.Namespace + "/" + ref.Name
}
