package nodeipam

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/controller/controllertest"
)

func prefixes(ss ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range ss {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

func TestLowest(t *testing.T) {
	for _, tt := range []struct {
		name, cluster string
		size          int
		taken         []netip.Prefix
		want          string // "" is none
	}{
		{"first", "10.244.0.0/16", 24, nil, "10.244.0.0/24"},
		{"gap", "10.244.0.0/16", 24, prefixes("10.244.0.0/24", "10.244.2.0/24"), "10.244.1.0/24"},
		{"carry", "10.0.254.0/15", 24, prefixes("10.0.0.0/16"), "10.1.0.0/24"},
		{"odd size", "10.244.0.0/16", 24, prefixes("10.244.0.0/23"), "10.244.2.0/24"},
		{"not on a byte", "10.244.0.0/22", 26, prefixes("10.244.0.0/24", "10.244.1.0/26"), "10.244.1.64/26"},
		{"exhausted", "10.244.0.0/23", 24, prefixes("10.244.0.0/24", "10.244.1.0/24"), ""},
		{"last of all", "255.255.255.0/24", 25, prefixes("255.255.255.0/25", "255.255.255.128/25"), ""},
		{"v6", "fd00::/48", 64, prefixes("fd00::/64"), "fd00:0:0:1::/64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			parts := newParts(Config{netip.MustParsePrefix(tt.cluster), tt.size})
			for _, p := range tt.taken {
				parts.take(p)
			}
			p, ok := parts.lowest()
			if got := p.String(); ok != (tt.want != "") || ok && got != tt.want {
				t.Errorf("got %s, %v", got, ok)
			}
		})
	}
}

func TestReleasedPartsAreGivenAgain(t *testing.T) {
	parts := newParts(Config{netip.MustParsePrefix("10.244.0.0/22"), 24})
	next := func(want string) {
		t.Helper()
		p, ok := parts.lowest()
		if got := p.String(); !ok || got != want {
			t.Errorf("the lowest free part is %s, %v, not %s", got, ok, want)
		}
		parts.take(p)
	}
	next("10.244.0.0/24")
	next("10.244.1.0/24")
	parts.take(netip.MustParsePrefix("10.244.0.0/24")) // seen at the node it was given to
	parts.release(netip.MustParsePrefix("10.244.0.0/24"))
	next("10.244.2.0/24")
	parts.release(netip.MustParsePrefix("10.244.1.0/24"))
	next("10.244.1.0/24")
	parts.release(netip.MustParsePrefix("10.244.0.0/24"))
	next("10.244.0.0/24")
	next("10.244.3.0/24")
	if p, ok := parts.lowest(); ok {
		t.Errorf("%s is free, too", p)
	}
	parts.take(netip.MustParsePrefix("10.244.0.0/23"))
	for _, p := range prefixes("10.244.0.0/24", "10.244.1.0/24") {
		parts.release(p)
	}
	if p, ok := parts.lowest(); ok {
		t.Errorf("%s is free within a larger one", p)
	}
	parts.release(netip.MustParsePrefix("10.244.0.0/23"))
	next("10.244.0.0/24")
}

func TestNodesGetPartsOfTheirOwn(t *testing.T) {
	c := controllertest.New(t)
	old := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "old"}, Spec: corev1.NodeSpec{PodCIDR: "10.244.0.0/24", PodCIDRs: []string{"10.244.0.0/24"}}}
	c.Apply(old) // from before a restart
	cfg := Config{netip.MustParsePrefix("10.244.0.0/22"), 24}
	c.Start(c.Controller(New(c.Deps, cfg)))
	for _, name := range []string{"a", "b", "c", "d"} {
		c.Apply(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	taken := func(all []*corev1.Node) map[string]int {
		m := make(map[string]int)
		for _, n := range all {
			m[n.Spec.PodCIDR]++
		}
		return m
	}
	controllertest.Await(c, "all parts given", func(all []*corev1.Node) bool {
		m := taken(all)
		return len(all) == 5 && len(m) == 5 && m[""] == 1
	})
	c.Remove(old, "")
	controllertest.Await(c, "the freed part given to the one that waited", func(all []*corev1.Node) bool {
		m := taken(all)
		return len(all) == 4 && len(m) == 4 && m[""] == 0 && m["10.244.0.0/24"] == 1
	})
}
