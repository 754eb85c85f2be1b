package servicecidr_test

import (
	"net/netip"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/servicecidr"
)

func TestCovers(t *testing.T) {
	tests := []struct {
		prefix, ip string
		want       bool
	}{
		{"10.1.0.0/24", "10.1.0.0", false},
		{"10.1.0.0/24", "10.1.0.1", true},
		{"10.1.0.0/24", "10.1.0.254", true},
		{"10.1.0.0/24", "10.1.0.255", false},
		{"10.1.0.0/24", "10.1.1.1", false},
		{"10.1.0.0/24", "fd00::1", false},
		{"10.1.0.0/31", "10.1.0.1", false},
		{"255.255.255.0/24", "255.255.255.255", false},
		{"0.0.0.0/0", "10.1.0.1", true},
		{"fd00::/120", "fd00::", false},
		{"fd00::/120", "fd00::ff", true},
	}
	for _, test := range tests {
		if got := servicecidr.Covers(netip.MustParsePrefix(test.prefix), netip.MustParseAddr(test.ip)); got != test.want {
			t.Errorf("%s of %s: %v", test.ip, test.prefix, got)
		}
	}
}

func TestGives(t *testing.T) {
	ready := []metav1.Condition{{Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue}}
	now := metav1.Now()
	tests := []struct {
		name string
		cidr networkingv1.ServiceCIDR
		want bool
	}{
		{"new", networkingv1.ServiceCIDR{}, false},
		{"ready", networkingv1.ServiceCIDR{Status: networkingv1.ServiceCIDRStatus{Conditions: ready}}, true},
		{"being deleted", networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now}, Status: networkingv1.ServiceCIDRStatus{Conditions: ready},
		}, false},
	}
	for _, test := range tests {
		if got := servicecidr.Gives(&test.cidr); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
