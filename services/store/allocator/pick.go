package allocator

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The lowest addresses of the range are picked last, so that users who choose
// an address themselves find those free: a sixteenth of the range, at least 16
// and at most 256 of them.
const (
	reservedPart = 16
	reservedMin  = 16
	reservedMax  = 256
)

// pickIP returns a free cluster IP.
func (c *claim) pickIP(ctx context.Context) (string, error) {
	if err := c.survey(ctx); err != nil {
		return "", err
	}
	size := c.allocator.size()
	reserved := min(max(size/reservedPart, reservedMin), reservedMax, size-2)
	isFree := func(n uint32) bool { return !c.used[ipPrefix+c.allocator.ip(n).String()] }
	n, ok := anyFree(reserved, size-1, isFree)
	if !ok {
		n, ok = anyFree(1, reserved, isFree)
	}
	if !ok {
		return "", exhausted("range is full: no cluster IP is free")
	}
	return c.allocator.ip(n).String(), nil
}

// pickPort returns a free node port that is not in mine.
func (c *claim) pickPort(ctx context.Context, mine map[int32]bool) (int32, error) {
	if err := c.survey(ctx); err != nil {
		return 0, err
	}
	rng := c.allocator.rng
	n, ok := anyFree(uint32(rng.PortMin), uint32(rng.PortMax)+1, func(n uint32) bool {
		return !c.used[portKey(int32(n))] && !mine[int32(n)]
	})
	if !ok {
		return 0, exhausted("range is full: no node port is free")
	}
	return int32(n), nil
}

func exhausted(message string) error {
	err := apierrors.NewInternalError(errors.New(message))
	err.ErrStatus.Message = "failed to allocate: " + message
	return err
}

// anyFree returns a number in [low, high) for which isFree is true: the first
// from a random one on, so that allocators that run at once rarely meet.
func anyFree(low, high uint32, isFree func(uint32) bool) (uint32, bool) {
	if high <= low {
		return 0, false
	}
	size := high - low
	start := rand.N(size)
	for i := range size {
		if n := low + (start+i)%size; isFree(n) {
			return n, true
		}
	}
	return 0, false
}

// survey reads what all Services have taken.
func (c *claim) survey(ctx context.Context) error {
	if c.used != nil {
		return nil
	}
	objs, err := c.allocator.reader.List(ctx, servicesResource(), "")
	if err != nil {
		return err
	}
	c.used = make(map[string]bool, len(objs))
	for _, obj := range objs {
		for key := range keysOf(obj.(*corev1.Service)) {
			c.used[key] = true
		}
	}
	return nil
}

func servicesResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: "services"}
}

// size is the number of addresses in the range, the first and the last
// included.
func (a *Allocator) size() uint32 { return 1 << (32 - a.rng.IPs.Bits()) }

// ip returns the nth address of the range.
func (a *Allocator) ip(n uint32) netip.Addr { return Nth(a.rng.IPs, n) }

// Nth returns the nth address of an IPv4 range.
func Nth(prefix netip.Prefix, n uint32) netip.Addr {
	b := prefix.Masked().Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+n)
	return netip.AddrFrom4(b)
}

// usable says whether an address can be a cluster IP.
func (a *Allocator) usable(ip netip.Addr) bool {
	return a.rng.IPs.Contains(ip) && ip != a.ip(0) && ip != a.ip(a.size()-1)
}
