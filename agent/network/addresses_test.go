package network

import (
	"errors"
	"net/netip"
	"testing"
)

func TestAddressesAreTakenInTurn(t *testing.T) {
	a := NewAddresses()
	cidrs := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/29"), netip.MustParsePrefix("fd00::/64")}
	a.Reserve("old", []netip.Addr{netip.MustParseAddr("10.1.0.3")})
	// 10.1.0.1 is the node's, .3 the old pod's, .7 the broadcast address.
	for _, want := range []string{"10.1.0.2", "10.1.0.4", "10.1.0.5", "10.1.0.6"} {
		ips, err := a.Take("pod-"+want, cidrs)
		if err != nil {
			t.Fatal(err)
		}
		if len(ips) != 2 || ips[0].String() != want || !cidrs[1].Contains(ips[1]) {
			t.Errorf("addresses = %v, want %s and one of %s", ips, want, cidrs[1])
		}
	}
	if _, err := a.Take("one-too-many", cidrs); !errors.Is(err, errNoAddress) {
		t.Errorf("error = %v, want %v", err, errNoAddress)
	}
	a.Free("pod-10.1.0.2")
	a.Free("pod-10.1.0.5")
	ips, err := a.Take("late", cidrs)
	if err != nil || ips[0].String() != "10.1.0.2" {
		t.Errorf("after the end it begins anew: %v, %v", ips, err)
	}
	if ips, err = a.Take("later", cidrs); err != nil || ips[0].String() != "10.1.0.5" {
		t.Errorf("the one left: %v, %v", ips, err)
	}
}
