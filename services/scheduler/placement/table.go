package placement

import (
	"slices"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// verdict is what the filters said of one node. A nil status that is known is
// a feasible node.
type verdict struct {
	known  bool
	status *framework.Status
}

// table holds the verdicts and raw scores of the last pod, by the index of the
// node.
type table struct {
	// key of the pods it is good for; the zero one is none.
	key      tableKey
	uses     int
	verdicts []verdict
	// feasible are the indexes of the nodes that passed, in ascending order.
	feasible  []int
	evaluated int
	// raw are the scores by plugin and node; scored says which are filled in.
	raw    map[string][]int64
	scored []bool
}

// tableKey is equal for pods that the plugins cannot tell apart.
type tableKey struct {
	profile   *framework.Profile
	signature string
}

func (t *table) reset(nodes int) {
	t.key, t.uses, t.evaluated = tableKey{}, 0, 0
	t.verdicts = cleared(t.verdicts, nodes)
	t.scored = cleared(t.scored, nodes)
	t.feasible = t.feasible[:0]
	if t.raw == nil {
		t.raw = make(map[string][]int64)
	}
}

// cleared returns a slice of n zero values, the old one if it is large enough.
func cleared[T any](s []T, n int) []T {
	s = slices.Grow(s[:0], n)[:n]
	clear(s)
	return s
}

// forget makes the table good for no other pod.
func (t *table) forget() { t.key = tableKey{} }

// reusable says that the table's answers hold for a pod of the key. A sample is
// used for some pods only, so that all nodes get their share.
func (t *table) reusable(key tableKey, wanted int) bool {
	if t.key.profile == nil || t.key != key {
		return false
	}
	t.uses++
	return t.evaluated == len(t.verdicts) || t.uses < sampleReuse && len(t.feasible) >= min(wanted, alwaysAll)/2
}

// record notes a node's first verdict.
func (t *table) record(i int, s *framework.Status) {
	if !t.verdicts[i].known {
		t.evaluated++
	}
	t.verdicts[i] = verdict{known: true, status: s}
	if s.Success() {
		t.addFeasible(i)
	}
}

// change replaces a verdict.
func (t *table) change(i int, s *framework.Status) {
	t.scored[i] = false
	was := t.verdicts[i].status.Success()
	t.verdicts[i].status = s
	switch {
	case was && !s.Success():
		if at, ok := slices.BinarySearch(t.feasible, i); ok {
			t.feasible = slices.Delete(t.feasible, at, at+1)
		}
	case !was && s.Success():
		t.addFeasible(i)
	}
}

func (t *table) addFeasible(i int) {
	if n := len(t.feasible); n == 0 || t.feasible[n-1] < i {
		t.feasible = append(t.feasible, i)
		return
	}
	if at, ok := slices.BinarySearch(t.feasible, i); !ok {
		t.feasible = slices.Insert(t.feasible, at, i)
	}
}

// diagnosis is the verdicts as data that outlives the table.
func (t *table) diagnosis(nodes *snapshot.Snapshot, absent *framework.Status) *framework.Diagnosis {
	d := &framework.Diagnosis{
		AllNodes: len(t.verdicts), Absent: absent, Rejections: make(map[string]*framework.Status, t.evaluated),
	}
	for i, v := range t.verdicts {
		if v.known && !v.status.Success() {
			d.Rejections[nodes.Nodes()[i].Name()] = v.status
		}
	}
	return d
}
