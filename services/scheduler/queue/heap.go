package queue

import stdheap "container/heap"

// heap is a priority queue of entries that know their position in it.
type heap struct{ items items }

func newHeap(less func(a, b *entry) bool) *heap { return &heap{items: items{less: less}} }

// items implements container/heap.Interface.
type items struct {
	entries []*entry
	less    func(a, b *entry) bool
}

func (h *heap) push(e *entry) { stdheap.Push(&h.items, e) }

func (h *heap) peek() *entry {
	if len(h.items.entries) == 0 {
		return nil
	}
	return h.items.entries[0]
}

func (h *heap) remove(e *entry) { stdheap.Remove(&h.items, e.index) }

func (h *heap) fix(e *entry) { stdheap.Fix(&h.items, e.index) }

// Len is part of container/heap.Interface.
func (s *items) Len() int { return len(s.entries) }

// Less is part of container/heap.Interface.
func (s *items) Less(i, j int) bool { return s.less(s.entries[i], s.entries[j]) }

// Swap is part of container/heap.Interface.
func (s *items) Swap(i, j int) {
	s.entries[i], s.entries[j] = s.entries[j], s.entries[i]
	s.entries[i].index, s.entries[j].index = i, j
}

// Push is part of container/heap.Interface.
func (s *items) Push(x any) {
	e := x.(*entry)
	e.index = len(s.entries)
	s.entries = append(s.entries, e)
}

// Pop is part of container/heap.Interface.
func (s *items) Pop() any {
	last := len(s.entries) - 1
	e := s.entries[last]
	s.entries[last] = nil
	s.entries = s.entries[:last]
	e.index = -1
	return e
}
