package topologyspread

import (
	"sync"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/lru"

	"navarch.dev/navarch/services/scheduler/snapshot"
)

// talliesKept is how many selectors' counts are remembered.
const talliesKept = 64

// tallies count the matching pods of each node, and remember the counts of the
// nodes that have not changed since. They are safe for concurrent use.
type tallies struct {
	mu   sync.Mutex
	kept *lru.Cache // group → *tally
}

// group is the pods that are counted.
type group struct{ namespace, selector string }

// tally is the counts of one group, by a node's place in the snapshot, and the
// generations of the nodes that were counted.
type tally struct {
	generations []uint64
	counts      []int64
}

func newTallies() *tallies { return &tallies{kept: lru.New(talliesKept)} }

// count returns how many pods of the namespace match on each node, of those
// that are to stay.
func (t *tallies) count(selector labels.Selector, namespace string, nodes []*snapshot.NodeInfo) []int64 {
	if selector.Empty() { // as Kubernetes has it, here it matches nothing
		return make([]int64, len(nodes))
	}
	g := group{namespace, selector.String()}
	t.mu.Lock()
	defer t.mu.Unlock()
	old := &tally{}
	if have, ok := t.kept.Get(g); ok {
		old, _ = have.(*tally)
	}
	fresh := &tally{generations: make([]uint64, len(nodes)), counts: make([]int64, len(nodes))}
	for i, n := range nodes {
		if n.Generation != 0 && i < len(old.generations) && old.generations[i] == n.Generation {
			fresh.counts[i] = old.counts[i]
		} else {
			fresh.counts[i] = matching(selector, namespace, n.Pods)
		}
		fresh.generations[i] = n.Generation
	}
	t.kept.Add(g, fresh)
	return fresh.counts
}

func matching(selector labels.Selector, namespace string, pods []*snapshot.PodInfo) int64 {
	var n int64
	for _, p := range pods {
		if p.Pod.DeletionTimestamp == nil && p.Pod.Namespace == namespace && selector.Matches(labels.Set(p.Pod.Labels)) {
			n++
		}
	}
	return n
}
