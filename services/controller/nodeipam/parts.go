package nodeipam

import "net/netip"

// parts are the parts of the cluster's range, and how many times each is taken:
// by a node that has it, and by a write that gives it to one. While none is
// released, to find a free one costs the same however many nodes there are.
type parts struct {
	cfg Config
	// taken counts the prefixes of our size, odd those of another.
	taken, odd map[netip.Prefix]int
	// from is the lowest part that may be free: all before it are taken.
	from netip.Prefix
}

func newParts(cfg Config) *parts {
	p := &parts{cfg: cfg, taken: make(map[netip.Prefix]int), odd: make(map[netip.Prefix]int)}
	p.from = p.first()
	return p
}

func (p *parts) first() netip.Prefix {
	return netip.PrefixFrom(p.cfg.ClusterCIDR.Masked().Addr(), p.cfg.NodeMaskSize)
}

func (p *parts) counts(prefix netip.Prefix) map[netip.Prefix]int {
	if prefix.Bits() == p.cfg.NodeMaskSize {
		return p.taken
	}
	return p.odd
}

func (p *parts) take(prefix netip.Prefix) {
	prefix = prefix.Masked()
	p.counts(prefix)[prefix]++
}

// release takes one take back.
func (p *parts) release(prefix netip.Prefix) {
	prefix = prefix.Masked()
	counts := p.counts(prefix)
	if counts[prefix]--; counts[prefix] > 0 {
		return
	}
	delete(counts, prefix)
	p.from = p.first()
}

// lowest returns the lowest part that overlaps nothing taken; false if there is
// none.
func (p *parts) lowest() (netip.Prefix, bool) {
	for part := p.from; p.cfg.ClusterCIDR.Contains(part.Addr()); {
		p.from = part
		if p.taken[part] == 0 && !p.overlapsOdd(part) {
			return part, true
		}
		next, ok := after(part)
		if !ok {
			break
		}
		part = next
	}
	return netip.Prefix{}, false
}

func (p *parts) overlapsOdd(part netip.Prefix) bool {
	for other := range p.odd {
		if part.Overlaps(other) {
			return true
		}
	}
	return false
}

// after returns the prefix of the same size that follows p.
func after(p netip.Prefix) (netip.Prefix, bool) {
	b := p.Addr().AsSlice()
	bit := p.Bits()
	if bit == 0 {
		return p, false
	}
	// Add one at the last bit of the prefix, with carry.
	i, add := (bit-1)/8, 1<<((8-bit%8)%8)
	for ; i >= 0; i-- {
		sum := int(b[i]) + add
		b[i] = byte(sum)
		if add = sum >> 8; add == 0 {
			break
		}
	}
	addr, ok := netip.AddrFromSlice(b)
	return netip.PrefixFrom(addr, bit), ok && i >= 0
}
