package dns

import (
	"net/netip"
	"strconv"
	"strings"

	mdns "github.com/miekg/dns"
)

// parseReverse returns the address that a name in lower case below
// in-addr.arpa or ip6.arpa stands for.
func parseReverse(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		return parseReverse4(strings.Split(rest, "."))
	}
	if rest, ok := strings.CutSuffix(name, ".ip6.arpa."); ok {
		return parseReverse6(strings.Split(rest, "."))
	}
	return netip.Addr{}, false
}

func parseReverse4(labels []string) (netip.Addr, bool) {
	var b [4]byte
	if len(labels) != len(b) {
		return netip.Addr{}, false
	}
	for i, label := range labels {
		n, err := strconv.ParseUint(label, 10, 8)
		if err != nil {
			return netip.Addr{}, false
		}
		b[len(b)-1-i] = byte(n)
	}
	return netip.AddrFrom4(b), true
}

func parseReverse6(labels []string) (netip.Addr, bool) {
	var b [16]byte
	if len(labels) != 2*len(b) {
		return netip.Addr{}, false
	}
	for i, label := range labels {
		n, err := strconv.ParseUint(label, 16, 8)
		if err != nil || len(label) != 1 {
			return netip.Addr{}, false
		}
		b[len(b)-1-i/2] |= byte(n) << (4 * (i % 2))
	}
	return netip.AddrFrom16(b), true
}

// reverseZone returns the name of the smallest reverse zone that holds a
// prefix of IPv4 addresses, at the border of a byte.
func reverseZone(p netip.Prefix) string {
	b := p.Addr().As4()
	name := "in-addr.arpa."
	for _, octet := range b[:p.Bits()/8] {
		name = strconv.Itoa(int(octet)) + "." + name
	}
	return name
}

// reverseReply answers a question for an address's names.
func (z *Zone) reverseReply(addr netip.Addr, q mdns.Question) reply {
	names := z.pointers(addr)
	r := reply{exists: len(names) > 0}
	if q.Qtype != mdns.TypePTR && q.Qtype != mdns.TypeANY {
		return r
	}
	for _, name := range names {
		r.answers = append(r.answers, &mdns.PTR{Hdr: header(q.Name, mdns.TypePTR), Ptr: name})
	}
	return r
}
