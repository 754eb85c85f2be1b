package cache

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/btree"
)

// Label is a label that has a value.
type Label struct{ Key, Value string }

// labelIndex is the present objects that have a label, in the order of its
// values and then of their keys. Unlike the rest of what is present it is made
// when it turns out to be wanted: which labels are looked for differs from
// cluster to cluster.
type labelIndex struct {
	label string
	items *btree.BTreeG[*Version]
	// used is when the index was last wanted, in nanoseconds of Unix time.
	used *atomic.Int64
}

const (
	// maxIndexes is how many labels a resource has indexes of. Each takes some 10
	// bytes for each object that has the label, and some time of each write.
	maxIndexes = 4
	// indexRest is how long an index has not been wanted when another may take
	// its place.
	indexRest = time.Minute
	// maxWanted is how many labels are remembered to have been wanted once.
	maxWanted = 64
)

func newLabelIndex(label string) labelIndex {
	x := labelIndex{label: label, used: new(atomic.Int64)}
	x.items = btree.NewG(degree, func(a, b *Version) bool {
		if c := strings.Compare(a.labels.Get(label), b.labels.Get(label)); c != 0 {
			return c < 0
		}
		return a.Key < b.Key
	})
	x.touch()
	return x
}

func (x labelIndex) touch() { x.used.Store(time.Now().UnixNano()) }

// put takes a version in that replaces prev, which is nil for a new object.
func (x labelIndex) put(v, prev *Version) {
	value, has := v.labels.Lookup(x.label)
	if prev != nil {
		if was, had := prev.labels.Lookup(x.label); had && (!has || was != value) {
			x.items.Delete(prev)
		}
	}
	if has {
		x.items.ReplaceOrInsert(v)
	}
}

func (x labelIndex) remove(v *Version) {
	if v.labels.Has(x.label) {
		x.items.Delete(v)
	}
}

// ascend is present.ascend for the versions in which the label has a value.
func (x labelIndex) ascend(value, prefix, after string, yield func(*Version) bool) {
	from := &Version{Key: max(prefix, after), labels: labelSet{x.label, value}}
	x.items.AscendGreaterOrEqual(from, func(v *Version) bool {
		if v.labels.Get(x.label) != value || !strings.HasPrefix(v.Key, prefix) {
			return false
		}
		return v.Key == after || yield(v)
	})
}

// index returns the index of a label, if there is one.
func (p present) index(label string) (labelIndex, bool) {
	i := slices.IndexFunc(p.byLabel, func(x labelIndex) bool { return x.label == label })
	if i < 0 {
		return labelIndex{}, false
	}
	return p.byLabel[i], true
}

// place returns where a further index can go: at the end, or in the place of one
// that has not been wanted for a while.
func (p present) place(now time.Time) (int, bool) {
	if len(p.byLabel) < maxIndexes {
		return len(p.byLabel), true
	}
	oldest := 0
	for i, x := range p.byLabel {
		if x.used.Load() < p.byLabel[oldest].used.Load() {
			oldest = i
		}
	}
	return oldest, now.UnixNano()-p.byLabel[oldest].used.Load() >= int64(indexRest)
}

// Want tells the cache that a snapshot will be asked for what has these labels. If
// a label is wanted for a second time, an index of it is made, which takes about
// as long as a few looks at all objects.
func (c *Cache) Want(labels []Label) {
	for _, l := range labels {
		if c.wantsIndex(l.Key) {
			c.makeIndex(l.Key)
		}
	}
}

// wantsIndex says whether an index of a label is to be made.
func (c *Cache) wantsIndex(label string) bool {
	c.mu.RLock()
	x, there := c.items.index(label)
	_, room := c.items.place(time.Now())
	c.mu.RUnlock()
	if there {
		x.touch()
		return false
	}
	if !room {
		return false
	}
	c.wantedMu.Lock()
	defer c.wantedMu.Unlock()
	if c.wantedLabels[label] {
		return true
	}
	if len(c.wantedLabels) >= maxWanted {
		clear(c.wantedLabels)
	}
	c.wantedLabels[label] = true
	return false
}

// makeIndex makes an index of a snapshot and brings it up to date.
func (c *Cache) makeIndex(label string) {
	if !c.indexing.TryLock() {
		return // one at a time
	}
	defer c.indexing.Unlock()
	snapshot, w := c.WatchPresent(Part{})
	defer w.Stop()
	x := newLabelIndex(label)
	_ = snapshot.Ascend(context.Background(), "", "", func(v *Version) bool { // which fails for the past only
		x.put(v, nil)
		return true
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ready || w.epoch != c.epoch || w.next < c.history.first {
		return // too much has happened; the next who wants it tries again
	}
	for _, e := range c.history.events[w.next-c.history.first:] {
		if e.Deleted {
			x.remove(e.Prev)
		} else {
			x.put(e.Version, e.Prev)
		}
	}
	if i, room := c.items.place(time.Now()); room {
		// Snapshots share the slice.
		others := slices.Delete(slices.Clone(c.items.byLabel), i, min(i+1, len(c.items.byLabel)))
		c.items.byLabel = slices.Concat(others, []labelIndex{x})
	}
}

// Labelled returns the part of the snapshot that has one of the labels, the rarest
// of those that there are indexes of; all of it if there are none. See Want.
func (s Snapshot) Labelled(labels []Label) Snapshot {
	var parts []Snapshot
	for _, l := range labels {
		if x, there := s.items.index(l.Key); there && s.past == nil {
			part := s
			part.label, part.value = &x, l.Value
			parts = append(parts, part)
		}
	}
	switch len(parts) {
	case 0:
		return s
	case 1:
		return parts[0]
	}
	return rarest(parts)
}

// rarest returns the part with the fewest versions. It looks at not many more
// than those.
func rarest(parts []Snapshot) Snapshot {
	for most := 64; ; most *= 4 {
		best, fewest := 0, most
		for i, p := range parts {
			n := 0
			p.label.ascend(p.value, "", "", func(*Version) bool { n++; return n < fewest })
			if n < fewest {
				best, fewest = i, n
			}
		}
		if fewest < most {
			return parts[best]
		}
	}
}
