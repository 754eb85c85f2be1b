package devices

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
)

// Shortage is a request that a node cannot satisfy even by itself. Every device
// that its class and its own expressions select is counted once.
type Shortage struct {
	Claim, Request, Class string
	// All says that the request wants all devices, Wanted how many those are or
	// how many it names.
	All    bool
	Wanted int
	// Free can be had.
	Free []ID
	// Taken have been given to claims.
	Taken []ID
	// Tainted have Taints that the request does not tolerate.
	Tainted []ID
	Taints  []resourcev1.DeviceTaint
	// Unfit have not the capacity that is asked for, or their pool has not the
	// counters left.
	Unfit []ID
}

// Selected is how many devices the request selects.
func (s *Shortage) Selected() int {
	return len(s.Free) + len(s.Taken) + len(s.Tainted) + len(s.Unfit)
}

// Shortage returns the first request that cannot be satisfied on a node by
// itself, as its first alternative sees it; nil if each can be, and only all
// together cannot.
func (v *Inventory) Shortage(ctx context.Context, r *Request, node *corev1.Node) (*Shortage, error) {
	for _, one := range r.requests {
		s := v.newSearch(ctx, &Request{claims: r.claims, requests: []*request{one}}, node)
		found, err := s.satisfy(0)
		if err != nil {
			return nil, err
		}
		if !found {
			return s.shortage(one.alternatives[0])
		}
	}
	return nil, nil
}

func (s *search) shortage(a *alternative) (*Shortage, error) {
	out := &Shortage{Claim: a.claim.Name, Request: a.name, Class: a.class.Name, All: a.all, Wanted: int(a.count)}
	for _, d := range s.devices {
		if !d.usable() {
			continue
		}
		ok, err := a.selects(s.ctx, d)
		if err != nil {
			return nil, err
		}
		if ok {
			s.sort(out, a, d)
		}
	}
	if a.all {
		out.Wanted = out.Selected()
	}
	return out, nil
}

func (s *search) sort(out *Shortage, a *alternative, d *device) {
	_, shared := s.inventory.shares[d.id]
	switch {
	case s.fits(&pick{device: d, alternative: a}) && a.tolerates(d):
		out.Free = append(out.Free, d.id)
	case !a.admin && (s.inventory.taken[d.id] || shared):
		out.Taken = append(out.Taken, d.id)
	case !a.tolerates(d):
		out.Tainted = append(out.Tainted, d.id)
		out.Taints = append(out.Taints, a.untolerated(d)...)
	default:
		out.Unfit = append(out.Unfit, d.id)
	}
}
