package userns

import (
	"fmt"
	"sync"
)

// Pool gives the pods of a node their ranges. It keeps nothing on disk: a sandbox
// has its range written down, and an agent that finds one holds it again (Hold).
// It is safe for concurrent use.
type Pool struct {
	all    Range
	perPod uint32
	broken error

	mu    sync.Mutex // guards what is below
	held  map[string]Range
	taken map[uint32]int // by slot, how many of held overlap it
}

// NewPool returns a pool of ranges of a length out of all, which Validate has
// found good.
func NewPool(all Range, perPod uint32) *Pool {
	return &Pool{all: all, perPod: perPod, held: make(map[string]Range), taken: make(map[uint32]int)}
}

// Unavailable returns the pool of a node that cannot make user namespaces, for
// a reason that whoever asks is told.
func Unavailable(reason error) *Pool {
	p := NewPool(Range{}, Unit)
	p.broken = reason
	return p
}

// Problem says why no pod can have a user namespace; nil if it can.
func (p *Pool) Problem() error { return p.broken }

// Take returns a pod's range, giving it one if it has none.
func (p *Pool) Take(podUID string) (Range, error) {
	if p.broken != nil {
		return Range{}, p.broken
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if r, ok := p.held[podUID]; ok {
		return r, nil
	}
	for slot := range p.all.Length / p.perPod {
		if p.taken[slot] == 0 {
			r := Range{First: p.all.First + slot*p.perPod, Length: p.perPod}
			p.hold(podUID, r)
			return r, nil
		}
	}
	return Range{}, fmt.Errorf("could not find an empty slot to allocate a user namespace: all %d are in use", p.all.Length/p.perPod)
}

// Hold keeps a range for the pod that has it already. It may be of any length and
// from anywhere: the pool may have been another when it was given.
func (p *Pool) Hold(podUID string, r Range) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for other, theirs := range p.held {
		if other != podUID && theirs.overlaps(r) {
			return fmt.Errorf("the IDs %s of pod %s are in part those of pod %s, %s", r, podUID, other, theirs)
		}
	}
	p.release(podUID)
	p.hold(podUID, r)
	return nil
}

// Release takes a pod's range back. One that has none is fine.
func (p *Pool) Release(podUID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release(podUID)
}

func (p *Pool) hold(podUID string, r Range) {
	p.held[podUID] = r
	for _, slot := range p.slots(r) {
		p.taken[slot]++
	}
}

func (p *Pool) release(podUID string) {
	for _, slot := range p.slots(p.held[podUID]) {
		if p.taken[slot]--; p.taken[slot] == 0 {
			delete(p.taken, slot)
		}
	}
	delete(p.held, podUID)
}

// slots are the places in the pool that a range takes a part of.
func (p *Pool) slots(r Range) []uint32 {
	begin, end := max(uint64(r.First), uint64(p.all.First)), min(r.end(), p.all.end())
	if begin >= end {
		return nil
	}
	var slots []uint32
	for at := (begin - uint64(p.all.First)) / uint64(p.perPod); uint64(p.all.First)+at*uint64(p.perPod) < end; at++ {
		slots = append(slots, uint32(at))
	}
	return slots
}
