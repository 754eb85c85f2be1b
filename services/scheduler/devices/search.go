package devices

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// ErrNone says that a node has no devices that suit, or none that are free.
var ErrNone = errors.New("cannot allocate all claims")

// Allocate finds devices on a node for all claims of a request, and returns the
// allocation of each, in their order. Its errors are for users to read.
//
// The search tries the devices in their order for one request after the other,
// and goes back where that leads nowhere, so that it finds a solution if there is
// one. That may take long; it ends with the context.
func (v *Inventory) Allocate(ctx context.Context, r *Request, node *corev1.Node) ([]*resourcev1.AllocationResult, error) {
	s := v.newSearch(ctx, r, node)
	found, err := s.satisfy(0)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, ErrNone
	}
	return s.allocations(node), nil
}

func (v *Inventory) newSearch(ctx context.Context, r *Request, node *corev1.Node) *search {
	s := &search{
		ctx: ctx, inventory: v, request: r, results: make([]int, len(r.claims)), constraints: make([][]*constraint, len(r.claims)),
		taken: map[ID]bool{}, shares: map[ID]amounts{}, counters: map[*pool]map[string]amounts{}, candidates: map[*alternative][]*device{},
	}
	s.devices, s.pools = v.pools.on(node)
	for i, claim := range r.claims {
		s.constraints[i] = newConstraints(claim)
	}
	return s
}

// search is one search. What has been picked so far is taken back step by step
// when it leads nowhere.
type search struct {
	ctx       context.Context //nolint:containedctx // a search is one call
	inventory *Inventory
	request   *Request
	devices   []*device
	pools     []*pool
	// candidates are the devices that suit an alternative, but for what has been
	// picked already.
	candidates map[*alternative][]*device

	picks []pick
	// results is how many devices each claim has.
	results     []int
	constraints [][]*constraint
	// taken, shares and counters are what the picks take beyond the inventory.
	taken    map[ID]bool
	shares   map[ID]amounts
	counters map[*pool]map[string]amounts
	steps    int
}

// pick is a device that was picked.
type pick struct {
	device      *device
	alternative *alternative
	claim       int
	// consumed is the share, of a device that is shared.
	consumed map[resourcev1.QualifiedName]resource.Quantity
	// first says that the pick is the first of its device, which uses counters.
	first bool
}

// satisfy finds devices for the requests from one on.
func (s *search) satisfy(i int) (bool, error) {
	if i == len(s.request.requests) {
		return true, nil
	}
	r := s.request.requests[i]
	for _, a := range r.alternatives {
		candidates, err := s.suitable(a)
		if err != nil {
			return false, err
		}
		count := int(a.count)
		if a.all {
			count = len(candidates)
		}
		if count == 0 || s.results[r.claim]+count > resourcev1.AllocationResultsMaxSize || len(candidates) == 0 {
			continue
		}
		found, err := s.choose(i, a, candidates, count)
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// choose picks count of the candidates and goes on with the next request.
func (s *search) choose(i int, a *alternative, candidates []*device, count int) (bool, error) {
	if count == 0 {
		return s.satisfy(i + 1)
	}
	claim := s.request.requests[i].claim
	for j, d := range candidates {
		if s.steps++; s.steps%1000 == 0 && s.ctx.Err() != nil {
			return false, fmt.Errorf("timed out trying to allocate devices: %w", s.ctx.Err())
		}
		if s.pick(claim, a, d) {
			rest := candidates[j+1:]
			if shareable(d) && !a.admin && !a.all {
				rest = candidates[j:] // it can be picked again
			}
			found, err := s.choose(i, a, rest, count-1)
			if found || err != nil {
				return found, err
			}
			s.unpick()
		}
		if a.all {
			return false, nil // every one must be picked
		}
	}
	return false, nil
}

// suitable returns the devices that suit an alternative as such: they are
// selected, and their taints tolerated.
func (s *search) suitable(a *alternative) ([]*device, error) {
	if known, ok := s.candidates[a]; ok {
		return known, nil
	}
	if a.all {
		for _, p := range s.pools {
			if !p.complete {
				return nil, fmt.Errorf("claim %s, request %s: asks for all devices, but resource pool %s/%s is currently being updated", a.claim.Name, a.name, p.driver, p.name)
			}
			if p.broken {
				return nil, fmt.Errorf("claim %s, request %s: asks for all devices, but resource pool %s/%s is currently invalid", a.claim.Name, a.name, p.driver, p.name)
			}
		}
	}
	var out []*device
	for _, d := range s.devices {
		if !d.usable() {
			continue
		}
		ok, err := a.selects(s.ctx, d)
		if err != nil {
			return nil, err
		}
		// Of all devices, those that cannot be had are in the way.
		if ok && (a.all || a.tolerates(d)) {
			out = append(out, d)
		}
	}
	s.candidates[a] = out
	return out, nil
}

func shareable(d *device) bool {
	return d.AllowMultipleAllocations != nil && *d.AllowMultipleAllocations
}

// pick takes a device; false if it cannot be had.
func (s *search) pick(claim int, a *alternative, d *device) bool {
	p := pick{device: d, alternative: a, claim: claim}
	if !a.tolerates(d) || !s.fits(&p) {
		return false
	}
	constraints := s.constraints[claim]
	for i, c := range constraints {
		if c.concerns(a.name) && !c.add(d) {
			for _, before := range constraints[:i] {
				if before.concerns(a.name) {
					before.drop()
				}
			}
			return false
		}
	}
	s.account(&p, 1)
	s.picks = append(s.picks, p)
	s.results[claim]++
	return true
}

func (s *search) unpick() {
	p := s.picks[len(s.picks)-1]
	s.picks = s.picks[:len(s.picks)-1]
	s.results[p.claim]--
	s.account(&p, -1)
	for _, c := range s.constraints[p.claim] {
		if c.concerns(p.alternative.name) {
			c.drop()
		}
	}
}

// fits says whether what a pick takes is free, and works out what that is.
func (s *search) fits(p *pick) bool {
	d, a, v := p.device, p.alternative, s.inventory
	wanted := a.wanted(d.id.Driver)
	if a.admin {
		return !s.pickedBy(p.claim, a, d) && suffices(d, wanted)
	}
	if v.taken[d.id] || s.taken[d.id] {
		return false
	}
	_, sharedBefore := v.shares[d.id]
	_, sharedNow := s.shares[d.id]
	p.first = !sharedBefore && !sharedNow
	if !shareable(d) {
		return !sharedBefore && suffices(d, wanted) && s.countersSuffice(d)
	}
	consumed, ok := consumes(d, wanted)
	if !ok || p.first && !s.countersSuffice(d) {
		return false
	}
	for name, q := range consumed {
		key := short(d.id.Driver, string(name))
		sum := q.DeepCopy()
		sum.Add(v.shares[d.id][key])
		sum.Add(s.shares[d.id][key])
		if sum.Cmp(d.Capacity[name].Value) > 0 {
			return false
		}
	}
	p.consumed = consumed
	return true
}

// pickedBy says whether a request has a device already, which it could have
// without taking it.
func (s *search) pickedBy(claim int, a *alternative, d *device) bool {
	for i := range s.picks {
		if p := &s.picks[i]; p.claim == claim && p.alternative == a && p.device == d {
			return true
		}
	}
	return false
}

func (s *search) countersSuffice(d *device) bool {
	for _, c := range d.ConsumesCounters {
		left, ok := s.inventory.counters[d.pool][c.CounterSet]
		if !ok {
			if left, ok = counters(d.pool)[c.CounterSet]; !ok {
				return false
			}
		}
		for name, counter := range c.Counters {
			have, ok := left[name]
			if !ok {
				return false
			}
			sum := counter.Value.DeepCopy()
			sum.Add(s.counters[d.pool][c.CounterSet][name])
			if sum.Cmp(have) > 0 {
				return false
			}
		}
	}
	return true
}

// account adds what a pick takes to what all take, or takes it away.
func (s *search) account(p *pick, sign int) {
	d := p.device
	if p.alternative.admin {
		return
	}
	change := amounts.plus
	if sign < 0 {
		change = amounts.less
	}
	switch {
	case !shareable(d) && sign > 0:
		s.taken[d.id] = true
	case !shareable(d):
		delete(s.taken, d.id)
	case sign < 0 && p.first:
		delete(s.shares, d.id)
	default:
		if s.shares[d.id] == nil {
			s.shares[d.id] = amounts{}
		}
		change(s.shares[d.id], plain(d.id.Driver, p.consumed))
	}
	if !p.first {
		return
	}
	for set, used := range consumption(d) {
		if s.counters[d.pool] == nil {
			s.counters[d.pool] = map[string]amounts{}
		}
		if s.counters[d.pool][set] == nil {
			s.counters[d.pool][set] = amounts{}
		}
		change(s.counters[d.pool][set], used)
	}
}
