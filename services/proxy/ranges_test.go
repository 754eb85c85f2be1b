package proxy

import (
	"fmt"
	"net/netip"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
)

func TestServiceRanges(t *testing.T) {
	tests := []struct {
		name  string
		cidrs []string
		want  string
	}{
		{"none", nil, "[10.96.0.0/16] []"},
		{"the configured one", []string{"10.96.0.0/16"}, "[10.96.0.0/16] []"},
		{"others", []string{"203.0.113.0/24", "fd00::/64", "10.1.0.0/24"}, "[10.1.0.0/24 10.96.0.0/16 203.0.113.0/24] []"},
		{"within and around", []string{"10.96.7.0/24", "10.96.0.0/15", "203.0.113.0/25", "203.0.113.0/24"}, "[10.96.0.0/15 203.0.113.0/24] []"},
		{"the pods' network", []string{"10.244.3.0/24", "10.0.0.0/8"}, "[10.96.0.0/16] [10.244.3.0/24 10.0.0.0/8]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var all []*networkingv1.ServiceCIDR
			for _, cidr := range test.cidrs {
				all = append(all, &networkingv1.ServiceCIDR{Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{cidr}}})
			}
			ranges, leftOut := serviceRanges(netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("10.244.0.0/16"), all)
			if got := fmt.Sprint(ranges, leftOut); got != test.want {
				t.Errorf("%s, not %s", got, test.want)
			}
		})
	}
}
