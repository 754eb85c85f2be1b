package placement

import (
	"slices"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// verdict is what the filters said of one node.
type verdict struct {
	// known says that they were asked.
	known bool
	// standing is what those say whose verdicts last.
	standing framework.Standing
	// status is the verdict of all on the pod that they were asked about last; nil is
	// a feasible node.
	status *framework.Status
}

// table holds the verdicts and raw scores of the last pod, by the index of the
// node.
type table struct {
	// key of the pods it is good for; the zero one is none.
	key tableKey
	// passing are the filters whose verdicts are no part of the standings.
	passing  []int
	uses     int
	verdicts []verdict
	// candidates are the indexes of the nodes that no standing rejects, feasible of
	// those that the last pod can go to. Both are in ascending order.
	candidates, feasible []int
	evaluated            int
	// raw are the scores that last by plugin and node; scored says which are filled
	// in.
	raw    map[string][]int64
	scored []bool

	// passed and judged are memory for feasible nodes and for verdicts on candidates.
	passed []int
	judged []*framework.Status
}

// tableKey is equal for pods that the plugins cannot tell apart.
type tableKey struct {
	profile   *framework.Profile
	signature string
}

func (t *table) reset(nodes int) {
	t.key, t.passing, t.uses = tableKey{}, nil, 0
	t.verdicts = cleared(t.verdicts, nodes)
	t.scored = cleared(t.scored, nodes)
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

// holds says that the table's standings are those of a pod of the key. A sample is
// used for some pods only, so that all nodes get their share.
func (t *table) holds(key tableKey, passing []int) bool {
	if t.key.profile == nil || t.key != key || !slices.Equal(t.passing, passing) {
		return false
	}
	t.uses++
	return t.complete() || t.uses < sampleReuse
}

// complete says that the verdict on every node is known.
func (t *table) complete() bool { return t.evaluated == len(t.verdicts) }

// suffices says that enough of the nodes that the table knows are feasible.
func (t *table) suffices(wanted int) bool {
	return t.complete() || len(t.feasible) >= min(wanted, alwaysAll)/2
}

// record notes a node's verdict.
func (t *table) record(i int, standing framework.Standing, s *framework.Status) {
	t.verdicts[i] = verdict{known: true, standing: standing, status: s}
}

// collect lists the nodes by the verdicts that were recorded.
func (t *table) collect() {
	t.evaluated, t.candidates, t.passed = 0, t.candidates[:0], t.passed[:0]
	for i := range t.verdicts {
		v := &t.verdicts[i]
		if !v.known {
			continue
		}
		t.evaluated++
		if v.standing.Status.Err() != nil { // it was no verdict on the last pod only because another came before
			t.forget()
		}
		if v.standing.Status.Success() {
			t.candidates = append(t.candidates, i)
		}
		if v.status.Success() {
			t.passed = append(t.passed, i)
		}
	}
	t.feasible = t.passed
}

// restand replaces a standing.
func (t *table) restand(i int, standing framework.Standing) {
	t.scored[i] = false
	was, is := t.verdicts[i].standing.Status.Success(), standing.Status.Success()
	t.verdicts[i].standing, t.verdicts[i].status = standing, standing.Status
	at, _ := slices.BinarySearch(t.candidates, i)
	switch {
	case was && !is:
		t.candidates = slices.Delete(t.candidates, at, at+1)
	case !was && is:
		t.candidates = slices.Insert(t.candidates, at, i)
	}
}

// judge takes over the verdicts on the candidates.
func (t *table) judge(verdicts []*framework.Status) error {
	t.passed = t.passed[:0]
	for k, s := range verdicts {
		if err := s.Err(); err != nil {
			return err
		}
		if s.Success() {
			t.passed = append(t.passed, t.candidates[k])
		}
	}
	t.feasible = t.passed
	return nil
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
