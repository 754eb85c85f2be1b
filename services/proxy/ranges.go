package proxy

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"navarch.dev/navarch/internal/servicecidr"
)

// serviceRanges returns where Services have addresses, in order and without
// overlaps: the configured range and those of all ServiceCIDRs, also of such as
// end, since Services may have addresses of them still. What overlaps the pods'
// network is left out: there it cannot be told which addresses are Services'.
func serviceRanges(configured, pods netip.Prefix, cidrs []*networkingv1.ServiceCIDR) (ranges, leftOut []netip.Prefix) {
	all := []netip.Prefix{configured}
	for _, cidr := range cidrs {
		for _, p := range servicecidr.Prefixes(cidr) {
			switch {
			case !p.Addr().Is4():
			case p.Overlaps(pods):
				leftOut = append(leftOut, p)
			default:
				all = append(all, p)
			}
		}
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int { return cmp.Compare(a.Bits(), b.Bits()) })
	for _, p := range all {
		if !slices.ContainsFunc(ranges, p.Overlaps) { // with a larger one, which then holds it
			ranges = append(ranges, p)
		}
	}
	slices.SortFunc(ranges, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return ranges, leftOut
}

// takeRanges makes the table and the name server know the ranges as they are.
func (r *router) takeRanges(ctx context.Context) {
	ranges, leftOut := serviceRanges(r.set.services, r.set.pods, r.cidrs.List())
	if slices.Equal(ranges, r.serviceRanges()) {
		return
	}
	r.log.InfoContext(ctx, "Services have addresses of other ranges", "ranges", ranges)
	if len(leftOut) > 0 {
		r.log.WarnContext(ctx, "ServiceCIDRs overlap the pods' network: clients from outside may not reach Services there", "ranges", leftOut)
	}
	r.ranges.Store(&ranges)
	r.table.SetServices(ranges)
}

// serviceRanges returns the ranges that are routed. They must not be changed.
func (p *Proxy) serviceRanges() []netip.Prefix { return *p.ranges.Load() }

// ownedRanges returns the ranges whose addresses only the cluster names.
func (p *Proxy) ownedRanges() []netip.Prefix {
	return append(slices.Clone(p.serviceRanges()), p.set.pods)
}
