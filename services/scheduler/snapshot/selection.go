package snapshot

// Selection is some of a Snapshot's nodes, in the order of Nodes. Plugins that answer
// for all of them at once look up what they have counted without a look at the nodes.
// It is valid until the next Refresh.
type Selection struct {
	snapshot *Snapshot
	// indexes are those of the nodes.
	indexes []int
}

// Select returns the nodes of the indexes, which are in ascending order.
func (s *Snapshot) Select(indexes []int) Selection { return Selection{snapshot: s, indexes: indexes} }

// All returns every node.
func (s *Snapshot) All() Selection {
	indexes := make([]int, len(s.nodes))
	for i := range indexes {
		indexes[i] = i
	}
	return s.Select(indexes)
}

// Len is the number of nodes.
func (s Selection) Len() int { return len(s.indexes) }

// Slice returns the nodes from the i-th up to the one before the j-th.
func (s Selection) Slice(i, j int) Selection { return s.snapshot.Select(s.indexes[i:j]) }

// Node returns the k-th node.
func (s Selection) Node(k int) *NodeInfo { return s.snapshot.nodes[s.indexes[k]] }

// place is that of the k-th node.
func (s Selection) place(k int) int32 { return s.snapshot.places[s.indexes[k]] }

// OfNth is Of for the k-th node of a Selection.
func (d *Domains) OfNth(nodes Selection, k int) (int, bool) {
	i := d.of[nodes.place(k)]
	return int(i), i != noDomain
}

// OnNth is On for the k-th node of a Selection.
func (t *Tally) OnNth(nodes Selection, k int) int64 { return t.counts[nodes.place(k)] }
