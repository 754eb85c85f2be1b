package snapshot

import (
	"slices"
	"strings"
)

// Counter counts something on one node.
type Counter struct {
	// ID is the same for Counters that count the same. What one without an ID has
	// counted is not kept.
	ID    string
	Count func(*NodeInfo) int64
}

// Tally is what a Counter has counted on the nodes of a Snapshot, added up by
// domain. It must not be changed and holds until the next Refresh.
type Tally struct {
	*Domains
	// Sums are the counts by the number of the domain, Members how many nodes of
	// each domain take part in them, Total the sum of all.
	Sums    []int64
	Members []int
	Total   int64

	counter Counter
	// counts are those of the nodes, by place; apart says of which nodes the
	// count is in no sum, though they are in a domain. It is nil if there are none.
	counts []int64
	apart  []bool
	// seen is the number of the first change that is not in the counts.
	seen uint64
}

// On returns the count of one node.
func (t *Tally) On(n *NodeInfo) int64 { return t.counts[n.place] }

// In returns the sum of the node's domain; 0 if it is in none.
func (t *Tally) In(n *NodeInfo) int64 {
	if d, ok := t.Of(n); ok {
		return t.Sums[d]
	}
	return 0
}

// tallyKey is what a tally is of.
type tallyKey struct{ counter, label, needs string }

// talliesLeast and talliesMost are how many tallies a Snapshot remembers at
// least and at most; in between it is as many as have countsKept counts, of a
// node each, which are 16 MiB. By default the pods of each ReplicaSet take two,
// by host and by zone, so that many rolled out together need many.
const (
	talliesLeast = 128
	talliesMost  = 4096
	countsKept   = 2 << 20
)

// talliesKept is how many tallies a Snapshot of so many nodes remembers.
func talliesKept(nodes int) int {
	return min(max(countsKept/max(nodes, 1), talliesLeast), talliesMost)
}

// labelsKept is of how many labels a Snapshot remembers the domains.
const labelsKept = 128

// Tally counts by the domains of a label. Nodes that lack one of the further
// labels that are needed are in no sum. A tally is kept, and costs only as much
// as has changed when it is asked for again.
func (s *Snapshot) Tally(c Counter, label string, needs ...string) *Tally {
	if s.base != nil {
		return s.base.Tally(c, label, needs...).with(s.nodes[s.changed])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.ID == "" {
		return s.newTally(c, label, needs)
	}
	key := tallyKey{c.ID, label, strings.Join(needs, " ")}
	if have, ok := s.tallies.Get(key); ok {
		if t := have.(*Tally); t.seen >= s.changes.first {
			s.changes.since(&t.seen, func(i int) { t.set(s.nodes[i]) })
			return t
		}
	}
	t := s.newTally(c, label, needs)
	s.tallies.Add(key, t)
	return t
}

func (s *Snapshot) newTally(c Counter, label string, needs []string) *Tally {
	d := s.domains(label)
	t := &Tally{
		Domains: d, Sums: make([]int64, len(d.Values)), Members: make([]int, len(d.Values)), counter: c,
		counts: make([]int64, len(d.of)), seen: s.changes.next(),
	}
	for _, n := range s.nodes {
		if !n.HasLabels(needs) {
			if t.apart == nil {
				t.apart = make([]bool, len(d.of))
			}
			t.apart[n.place] = true
		} else if i, ok := d.Of(n); ok {
			t.Members[i]++
		}
		t.set(n)
	}
	return t
}

// set counts a node anew.
func (t *Tally) set(n *NodeInfo) {
	count := t.counter.Count(n)
	more := count - t.counts[n.place]
	t.counts[n.place] = count
	if d, ok := t.Of(n); ok && more != 0 && (t.apart == nil || !t.apart[n.place]) {
		t.Sums[d] += more
		t.Total += more
	}
}

// with returns a copy in which a node is counted anew.
func (t *Tally) with(n *NodeInfo) *Tally {
	o := *t
	o.Sums, o.counts = slices.Clone(t.Sums), slices.Clone(t.counts)
	o.set(n)
	return &o
}

// Domains are the values that a label has on the nodes of a Snapshot, numbered.
type Domains struct {
	Values []string
	// of is the number of a node's domain, by the node's place, or noDomain.
	of []int32
	// shared says that a domain has several nodes.
	shared bool
}

const noDomain = -1

// Of returns the number of the node's domain, and whether it is in any.
func (d *Domains) Of(n *NodeInfo) (int, bool) {
	i := d.of[n.place]
	return int(i), i != noDomain
}

// Apart says that no two nodes are in one domain, as is usual of host names.
func (d *Domains) Apart() bool { return !d.shared }

// domains numbers the values of a label. s.mu is held.
func (s *Snapshot) domains(label string) *Domains {
	if d, ok := s.labels[label]; ok {
		return d
	}
	last := 0
	for _, n := range s.nodes {
		last = max(last, n.place)
	}
	d := &Domains{of: slices.Repeat([]int32{noDomain}, last+1)}
	numbers := make(map[string]int32)
	for _, n := range s.nodes {
		value, ok := n.Label(label)
		if !ok {
			continue
		}
		i, known := numbers[value]
		if !known {
			i = int32(len(d.Values))
			numbers[value], d.Values = i, append(d.Values, value)
		}
		d.shared = d.shared || known
		d.of[n.place] = i
	}
	if len(s.labels) >= labelsKept { // they are few, unless somebody tries
		clear(s.labels)
	}
	s.labels[label] = d
	return d
}

// HasLabels says whether the node has all labels.
func (n *NodeInfo) HasLabels(keys []string) bool {
	for _, key := range keys {
		if _, ok := n.Label(key); !ok {
			return false
		}
	}
	return true
}

// changeLog holds which nodes have changed, by their index, in order. Changes
// have numbers; those from first on are there.
type changeLog struct {
	first   uint64
	indexes []int
}

// next is the number that the next change will have.
func (l *changeLog) next() uint64 { return l.first + uint64(len(l.indexes)) }

// add notes a change, and forgets the older half once there are more than most.
func (l *changeLog) add(i, most int) {
	if len(l.indexes) >= most {
		half := len(l.indexes) / 2
		l.indexes = append(l.indexes[:0], l.indexes[half:]...)
		l.first += uint64(half)
	}
	l.indexes = append(l.indexes, i)
}

// forget makes all that was kept by older changes out of date.
func (l *changeLog) forget() {
	l.first, l.indexes = l.next()+1, l.indexes[:0]
}

// since calls visit with the changes from seen on and moves seen behind them.
func (l *changeLog) since(seen *uint64, visit func(i int)) {
	for _, i := range l.indexes[*seen-l.first:] {
		visit(i)
	}
	*seen = l.next()
}
