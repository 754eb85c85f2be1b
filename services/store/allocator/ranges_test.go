package allocator

import (
	"net/netip"
	"testing"
)

func TestBands(t *testing.T) {
	tests := []struct {
		prefix       string
		upper, lower [2]string // the first and the last address; empty: none
	}{
		{"10.0.0.0/16", [2]string{"10.0.1.1", "10.0.255.254"}, [2]string{"10.0.0.1", "10.0.1.0"}},
		{"10.0.0.0/20", [2]string{"10.0.1.1", "10.0.15.254"}, [2]string{"10.0.0.1", "10.0.1.0"}},
		{"10.0.0.0/22", [2]string{"10.0.0.65", "10.0.3.254"}, [2]string{"10.0.0.1", "10.0.0.64"}},
		{"10.0.0.0/24", [2]string{"10.0.0.17", "10.0.0.254"}, [2]string{"10.0.0.1", "10.0.0.16"}},
		{"10.0.0.0/27", [2]string{"10.0.0.17", "10.0.0.30"}, [2]string{"10.0.0.1", "10.0.0.16"}},
		{"10.0.0.0/28", [2]string{"10.0.0.1", "10.0.0.14"}, [2]string{}},
		{"10.0.0.0/30", [2]string{"10.0.0.1", "10.0.0.2"}, [2]string{}},
		{"10.0.0.0/31", [2]string{}, [2]string{}},
		{"10.0.0.0/32", [2]string{}, [2]string{}},
		{"0.0.0.0/0", [2]string{"0.0.1.1", "255.255.255.254"}, [2]string{"0.0.0.1", "0.0.1.0"}},
	}
	for _, test := range tests {
		s := span{Prefix: netip.MustParsePrefix(test.prefix)}
		upper, lower := s.bands()
		for name, band := range map[string][2]uint64{"upper": upper, "lower": lower} {
			want, got := test.upper, [2]string{}
			if name == "lower" {
				want = test.lower
			}
			if band[0] < band[1] {
				got = [2]string{Nth(s.Prefix, uint32(band[0])).String(), Nth(s.Prefix, uint32(band[1]-1)).String()}
			}
			if got != want {
				t.Errorf("%s band of %s: %v, not %v", name, test.prefix, got, want)
			}
		}
	}
}

func TestPickPrefersTheUpperBand(t *testing.T) {
	s := span{Prefix: netip.MustParsePrefix("10.0.0.0/27")}
	used := make(map[netip.Addr]bool)
	for n := range 30 {
		ip, ok := s.pick(func(ip netip.Addr) bool { return !used[ip] })
		if !ok || used[ip] {
			t.Fatalf("pick %d: %s, %v", n, ip, ok)
		}
		if upper := ip.Compare(Nth(s.Prefix, 16)) > 0; upper != (n < 14) {
			t.Errorf("pick %d is %s", n, ip)
		}
		used[ip] = true
	}
	if ip, ok := s.pick(func(ip netip.Addr) bool { return !used[ip] }); ok {
		t.Errorf("%s of a full range", ip)
	}
}
