package localcluster

import (
	"net"
	"testing"
)

func TestTaken(t *testing.T) {
	_, loopback, _ := net.ParseCIDR("127.0.0.1/8")
	addresses := []net.Addr{loopback, &net.IPNet{IP: net.ParseIP("172.30.1.1"), Mask: net.CIDRMask(24, 32)}, &net.UnixAddr{Name: "x"}}
	for slot, want := range []bool{false, true, false} {
		if got := taken(slot, addresses); got != want {
			t.Errorf("slot %d is taken: %v", slot, got)
		}
	}
}
