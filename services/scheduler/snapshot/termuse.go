package snapshot

import (
	"iter"
	"maps"
)

// termUse is which anti-affinity terms the pods on the nodes require. Pods of one
// template have the same, so that there are few.
type termUse struct {
	terms map[string]*usedTerm
	// byPlace are the IDs that a node's pods have, with repetitions.
	byPlace map[int][]string
	seen    uint64
	// all are the terms, in a map that is not changed; nil if they are others by now.
	all map[string]*PodTerm
}

type usedTerm struct {
	term *PodTerm
	uses int
}

// AntiAffinity returns each required anti-affinity term of the pods on the nodes
// once, and maybe some that no pod has any more.
func (s *Snapshot) AntiAffinity() iter.Seq[*PodTerm] {
	return func(yield func(*PodTerm) bool) {
		for _, t := range s.antiAffinity() {
			if !yield(t) {
				return
			}
		}
	}
}

// antiAffinity returns the terms of AntiAffinity by their IDs, in a map that must not
// be changed.
func (s *Snapshot) antiAffinity() map[string]*PodTerm {
	if s.base != nil {
		all := maps.Clone(s.base.antiAffinity())
		for id, t := range requiredOf(s.nodes[s.changed]) {
			all[id] = t
		}
		return all
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.terms == nil || s.terms.seen < s.changes.first {
		s.terms = &termUse{terms: make(map[string]*usedTerm), byPlace: make(map[int][]string), seen: s.changes.next()}
		for _, n := range s.nodes {
			s.terms.set(n)
		}
	}
	s.changes.since(&s.terms.seen, func(i int) { s.terms.set(s.nodes[i]) })
	if s.terms.all == nil {
		s.terms.all = make(map[string]*PodTerm, len(s.terms.terms))
		for id, used := range s.terms.terms {
			s.terms.all[id] = used.term
		}
	}
	return s.terms.all
}

// set takes over what a node's pods require.
func (u *termUse) set(n *NodeInfo) {
	for _, id := range u.byPlace[n.place] {
		if u.terms[id].uses--; u.terms[id].uses == 0 {
			delete(u.terms, id)
			u.all = nil
		}
	}
	delete(u.byPlace, n.place)
	for id, t := range requiredOf(n) {
		if u.terms[id] == nil {
			u.terms[id] = &usedTerm{term: t}
			u.all = nil
		}
		u.terms[id].uses++
		u.byPlace[n.place] = append(u.byPlace[n.place], id)
	}
}

// requiredOf returns the terms of the node's pods by their IDs.
func requiredOf(n *NodeInfo) iter.Seq2[string, *PodTerm] {
	return func(yield func(string, *PodTerm) bool) {
		for _, p := range n.WithRequiredAntiAffinity {
			for i := range p.AntiAffinity.Required {
				if t := &p.AntiAffinity.Required[i]; !yield(t.ID(), t) {
					return
				}
			}
		}
	}
}
