package cache

import (
	"fmt"
	"sync"
	"sync/atomic"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// memo is what was made of a version for its readers: all of it can be made
// anew from the version's message.
type memo struct {
	// asked says that somebody wanted the memo since it was last judged.
	asked atomic.Bool
	// cost is about how many bytes it holds.
	cost atomic.Int64

	decoded  lazy[kinds.Object]
	object   lazy[*storev1.Object]
	json     lazy[*storev1.Object]
	metadata lazy[*storev1.Object]
	metaJSON lazy[[]byte]
	views    views
	// chunks are those of lists that begin with the version: by how they hold it,
	// and whole or cut.
	chunks [packs][2]atomic.Pointer[chunk]
	// told is what the last watcher was told of the version.
	told atomic.Pointer[told]

	// The budget's mutex guards the fields below.
	queued, dropped bool
	counted         int64 // of cost, in the budget's sum
}

// chunkOf returns where a chunk that begins with the version is kept.
func (m *memo) chunkOf(p pack, cut bool) *atomic.Pointer[chunk] {
	length := 0
	if cut {
		length = 1
	}
	return &m.chunks[p][length]
}

// Costs that are only estimated.
const (
	memoCost      = 512 // a memo and the version that it keeps alive
	decodedFactor = 4   // a decoded object, in lengths of its message
	wrapperCost   = 400 // an encoded message's wrapper
	toldCost      = 300 // a watcher's message around that
)

// lazy is a value made when first asked for.
type lazy[T any] struct {
	once  sync.Once
	made  atomic.Bool
	value T
	err   error
}

func (l *lazy[T]) get(make func() (T, error)) (T, error) {
	l.once.Do(func() {
		l.value, l.err = make()
		l.made.Store(true)
	})
	return l.value, l.err
}

// preset gives a value that need not be made.
func (l *lazy[T]) preset(value T) {
	_, _ = l.get(func() (T, error) { return value, nil })
}

// views are a version as other kinds that show the same objects.
type views struct {
	mu     sync.Mutex // guards byKind
	byKind map[*kinds.Kind]*lazy[*Version]
}

func (s *views) of(kind *kinds.Kind) *lazy[*Version] {
	s.mu.Lock()
	defer s.mu.Unlock()
	view := s.byKind[kind]
	if view == nil {
		if s.byKind == nil {
			s.byKind = make(map[*kinds.Kind]*lazy[*Version], 1)
		}
		view = new(lazy[*Version])
		s.byKind[kind] = view
	}
	return view
}

func (s *views) forget(kind *kinds.Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byKind, kind)
}

// recall returns the version's memo, a new one if it has none.
func (v *Version) recall() *memo {
	for {
		if m := v.memo.Load(); m != nil {
			if !m.asked.Load() { // not to write what all readers share
				m.asked.Store(true)
			}
			return m
		}
		m := new(memo)
		m.cost.Store(memoCost + int64(len(v.wire)))
		if v.memo.CompareAndSwap(nil, m) {
			v.charge(m, 0)
		}
	}
}

// charge notes that a memo has grown.
func (v *Version) charge(m *memo, bytes int) {
	m.cost.Add(int64(bytes))
	if b := v.budget.Load(); b != nil {
		b.note(v, m)
	}
}

// memorized returns a part of the version's memo, which is made, and its size
// charged, if the memo does not hold it.
func memorized[T any](v *Version, part func(*memo) *lazy[T], make func() (T, error), size func(T) int) (T, error) {
	m := v.recall()
	grown := false
	value, err := part(m).get(func() (T, error) {
		grown = true
		return make()
	})
	if grown {
		v.charge(m, size(value))
	}
	return value, err
}

// Object returns the version decoded, its TypeMeta and resourceVersion set. It
// is shared and must not be changed.
func (v *Version) Object() kinds.Object {
	obj, err := memorized(v, func(m *memo) *lazy[kinds.Object] { return &m.decoded }, v.decode,
		func(kinds.Object) int { return decodedFactor * len(v.wire) })
	if err != nil {
		// It was encoded here, or decoded when it came. That it cannot be now
		// means that memory is not what was written to it.
		panic(fmt.Sprintf("decode %s at revision %d once more: %v", v.Key, v.Revision, err))
	}
	return obj
}

// passing is Object for a reader who will keep what it makes of the object:
// what has to be decoded for it is not kept.
func (v *Version) passing() (kinds.Object, error) {
	if m := v.memo.Load(); m != nil && m.decoded.made.Load() {
		return v.Object(), nil
	}
	return v.decode()
}

func (v *Version) decode() (kinds.Object, error) {
	obj := v.kind.New()
	if err := kinds.Decode(v.kind.Wrap(v.wire), obj); err != nil {
		return nil, err
	}
	v.stamp(obj)
	return obj, nil
}

// Budget bounds the memory that memos take, of all resources of a Store
// together. Of the memos that nobody asked for since they were last looked at,
// the oldest is forgotten first.
type Budget struct {
	limit int64

	mu    sync.Mutex // guards the fields below, and parts of the memos
	spent int64
	queue []queued
	head  int // queue[:head] has been judged
}

type queued struct {
	version *Version
	memo    *memo
}

// NewBudget returns a budget of about that many bytes.
func NewBudget(bytes int64) *Budget { return &Budget{limit: bytes} }

// adopt makes a version's memos a matter of the budget. It is called once for
// each version that a cache holds, and for what another kind shows of it.
func (b *Budget) adopt(v *Version) {
	v.budget.Store(b)
	if m := v.memo.Load(); m != nil {
		b.note(v, m)
	}
}

// note counts what a memo has grown by, and forgets others if that is too much.
func (b *Budget) note(v *Version, m *memo) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.dropped {
		return // it lives only as long as those who hold it
	}
	if !m.queued {
		m.queued = true
		b.queue = append(b.queue, queued{v, m})
	}
	cost := m.cost.Load()
	b.spent += cost - m.counted
	m.counted = cost
	// One pass at most: after that nothing is spared for having been asked for.
	for spare := len(b.queue) - b.head; b.spent > b.limit && b.head < len(b.queue); spare-- {
		b.judge(spare > 0)
	}
}

// judge looks at the oldest memo: it is forgotten, or spared and looked at again
// after all others. The caller holds mu.
func (b *Budget) judge(mercy bool) {
	oldest := b.queue[b.head]
	b.queue[b.head] = queued{}
	b.head++
	if b.head > len(b.queue)/2 {
		n := copy(b.queue, b.queue[b.head:])
		clear(b.queue[n:])
		b.queue, b.head = b.queue[:n], 0
	}
	if oldest.memo.asked.Swap(false) && mercy {
		b.queue = append(b.queue, oldest)
		return
	}
	oldest.memo.dropped = true
	b.spent -= oldest.memo.counted
	oldest.version.memo.CompareAndSwap(oldest.memo, nil)
}
