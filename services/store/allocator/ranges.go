package allocator

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	networkingv1 "k8s.io/api/networking/v1"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/servicecidr"
	"navarch.dev/navarch/services/store/backend"
)

// span is a range that addresses are given out of.
type span struct {
	netip.Prefix
	// unchanged is the condition that its ServiceCIDR is as it was read.
	unchanged backend.Op
}

// spans returns the ranges of all ready ServiceCIDRs, oldest first. They are read
// from the backend: a Service may come right after the range that it is to have
// an address of.
func (a *Allocator) spans(ctx context.Context) ([]span, error) {
	objs, err := a.ledger.Stored(ctx, rangeResource())
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(objs, func(x, y kinds.Object) int {
		return x.GetCreationTimestamp().Compare(y.GetCreationTimestamp().Time)
	})
	var out []span
	for _, obj := range objs {
		cidr := obj.(*networkingv1.ServiceCIDR)
		if !servicecidr.Gives(cidr) {
			continue
		}
		revision, err := strconv.ParseInt(cidr.ResourceVersion, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read the version of ServiceCIDR %s: %w", cidr.Name, err)
		}
		check := backend.Op{Type: backend.Check, Key: a.ledger.Key(rangeResource(), "", cidr.Name), Expect: revision}
		for _, p := range servicecidr.Prefixes(cidr) {
			if p.Addr().Is4() { // the family that the cluster is configured with
				out = append(out, span{p, check})
			}
		}
	}
	return out, nil
}

// The lowest addresses of a range are picked last, so that users who choose an
// address themselves find those free: a sixteenth of the range, at least 16 and
// at most 256 of them; of 16 addresses or fewer none (KEP-3070).
const (
	reservedPart = 16
	reservedMin  = 16
	reservedMax  = 256
)

// size is the number of addresses of a range, those included that no Service
// can have.
func (s span) size() uint64 { return 1 << (32 - s.Bits()) }

// bands returns the numbers of the addresses to pick from, and of those to pick
// from when these are taken: the first of each, and the first beyond.
func (s span) bands() (upper, lower [2]uint64) {
	last, reserved := max(s.size(), 2)-1, uint64(0)
	if s.size() > reservedMin {
		reserved = min(max(s.size()/reservedPart, reservedMin), reservedMax)
	}
	first := min(1+reserved, last)
	return [2]uint64{first, last}, [2]uint64{1, first}
}

// pick returns an address of the range that is free.
func (s span) pick(isFree func(netip.Addr) bool) (netip.Addr, bool) {
	upper, lower := s.bands()
	for _, band := range [][2]uint64{upper, lower} {
		n, ok := anyFree(band[0], band[1], func(n uint64) bool { return isFree(Nth(s.Prefix, uint32(n))) })
		if ok {
			return Nth(s.Prefix, uint32(n)), true
		}
	}
	return netip.Addr{}, false
}

// Nth returns the nth address of an IPv4 range.
func Nth(prefix netip.Prefix, n uint32) netip.Addr {
	b := prefix.Masked().Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+n)
	return netip.AddrFrom4(b)
}
