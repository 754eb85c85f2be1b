package etcd

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// touched knows of the prefixes that are asked for at which of etcd's revisions this
// process has last changed, or been shown, a key with the prefix.
type touched struct {
	mu    sync.Mutex // held while spans grows
	spans atomic.Pointer[[]*span]
}

// span is what is known of one prefix.
type span struct {
	prefix   string
	revision atomic.Int64
	// doubts is raised by every write of which it is not known what became of it.
	// What is known holds while settled is as high.
	doubts, settled atomic.Int64
}

func (t *touched) all() []*span {
	if spans := t.spans.Load(); spans != nil {
		return *spans
	}
	return nil
}

// raise notes that a key, or all with a prefix, were changed, or shown, at a revision.
func (t *touched) raise(key string, revision int64) {
	for _, s := range t.all() {
		if strings.HasPrefix(key, s.prefix) || strings.HasPrefix(s.prefix, key) {
			raise(&s.revision, revision)
		}
	}
}

// doubt notes that a key may have been changed.
func (t *touched) doubt(key string) {
	for _, s := range t.all() {
		if strings.HasPrefix(key, s.prefix) {
			s.doubts.Add(1)
		}
	}
}

// last returns the revision at which a prefix was last touched, or a later one: newest
// tells the newest at all, for a prefix that was not asked for before and after a doubt.
func (t *touched) last(prefix string, newest func() int64) int64 {
	s := t.span(prefix)
	if doubts := s.doubts.Load(); s.settled.Load() != doubts {
		// In this order: what has been touched before newest is asked is not later than
		// that, and a doubt that comes meanwhile remains.
		raise(&s.revision, newest())
		s.settled.Store(doubts)
	}
	return s.revision.Load()
}

func (t *touched) span(prefix string) *span {
	if s := find(t.all(), prefix); s != nil {
		return s
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	spans := t.all()
	if s := find(spans, prefix); s != nil {
		return s
	}
	s := &span{prefix: prefix}
	s.doubts.Store(1)
	spans = append(slices.Clone(spans), s)
	t.spans.Store(&spans)
	return s
}

func find(spans []*span, prefix string) *span {
	for _, s := range spans {
		if s.prefix == prefix {
			return s
		}
	}
	return nil
}

// raise makes a number at least another one.
func raise(n *atomic.Int64, to int64) {
	for have := n.Load(); have < to && !n.CompareAndSwap(have, to); have = n.Load() {
	}
}
