package snapshot

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"sync"

	"k8s.io/component-helpers/node/topology"
	"k8s.io/utils/lru"
)

// changesKept is the fewest changes of nodes that a Snapshot remembers.
const changesKept = 1024

// Snapshot is a view of the cluster that does not change until Refresh. The
// zero value is an empty one. It is not safe to Refresh while it is read.
type Snapshot struct {
	nodes  []*NodeInfo
	places []int32 // those of the nodes
	index  map[string]int
	images map[string]int
	// withPreferences are the indexes of the nodes that have such pods, in
	// ascending order.
	withPreferences []int

	generation, structure uint64

	// base is what the Snapshot was made of by With, changed the index of the node
	// that is another there.
	base    *Snapshot
	changed int

	changes changeLog
	mu      sync.Mutex // guards what is kept from one question to the next
	tallies *lru.Cache // tallyKey → *Tally
	labels  map[string]*Domains
	terms   *termUse
}

// New returns a Snapshot of the given nodes alone, for tests and what-ifs. They
// must be of no Cache.
func New(nodes ...*NodeInfo) *Snapshot {
	s := &Snapshot{images: make(map[string]int)}
	for i, n := range nodes {
		n.place = i
		for name := range n.Images {
			s.images[name]++
		}
	}
	s.setNodes(nodes)
	return s
}

// Refresh brings s up to date with the Cache and returns the indexes of the
// nodes that have changed; all is true if the nodes themselves are others.
func (s *Snapshot) Refresh(c *Cache) (changed []int, all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.index == nil || s.structure != c.structure {
		s.rebuild(c)
		return nil, true
	}
	for e := c.byChange.Front(); e != nil; e = e.Next() {
		item := e.Value.(*nodeItem)
		if item.info.Generation <= s.generation {
			break
		}
		if item.info.Node == nil {
			continue
		}
		item.taken = true
		i := s.index[item.info.Name()]
		s.replace(i, item.info)
		changed = append(changed, i)
	}
	s.generation = c.generation
	return changed, false
}

// replace takes a node's new version over.
func (s *Snapshot) replace(i int, fresh *NodeInfo) {
	old := s.nodes[i]
	s.nodes[i] = fresh
	s.changes.add(i, max(len(s.nodes), changesKept))
	if old.Node != fresh.Node && !maps.Equal(old.Node.Labels, fresh.Node.Labels) {
		s.forget()
	}
	has := len(fresh.WithPreferences) > 0
	switch at, listed := slices.BinarySearch(s.withPreferences, i); {
	case has && !listed:
		s.withPreferences = slices.Insert(s.withPreferences, at, i)
	case !has && listed:
		s.withPreferences = slices.Delete(s.withPreferences, at, at+1)
	}
}

// forget drops what was kept of other nodes, or of nodes in other domains.
func (s *Snapshot) forget() {
	s.changes.forget()
	s.tallies, s.labels, s.terms = lru.New(talliesKept(len(s.nodes))), make(map[string]*Domains), nil
}

func (s *Snapshot) rebuild(c *Cache) {
	nodes := make([]*NodeInfo, 0, len(c.nodes))
	for _, item := range c.nodes {
		if item.info.Node != nil {
			item.taken = true
			nodes = append(nodes, item.info)
		}
	}
	s.setNodes(interleaveZones(nodes))
	s.images = maps.Clone(c.images)
	s.generation, s.structure = c.generation, c.structure
}

func (s *Snapshot) setNodes(nodes []*NodeInfo) {
	s.nodes, s.places = nodes, make([]int32, len(nodes))
	s.index = make(map[string]int, len(nodes))
	for i, n := range nodes {
		s.index[n.Name()], s.places[i] = i, int32(n.place)
	}
	s.withPreferences = nil
	for i, n := range nodes {
		if len(n.WithPreferences) > 0 {
			s.withPreferences = append(s.withPreferences, i)
		}
	}
	s.forget()
}

// interleaveZones orders nodes by name, taking one of each zone in turn, so
// that a sample of neighbours spreads over the zones.
func interleaveZones(nodes []*NodeInfo) []*NodeInfo {
	slices.SortFunc(nodes, func(a, b *NodeInfo) int { return cmp.Compare(a.Name(), b.Name()) })
	zones := make(map[string][]*NodeInfo)
	for _, n := range nodes {
		zone := topology.GetZoneKey(n.Node)
		zones[zone] = append(zones[zone], n)
	}
	if len(zones) < 2 {
		return nodes
	}
	names := slices.Sorted(maps.Keys(zones))
	out := make([]*NodeInfo, 0, len(nodes))
	for round := 0; len(out) < len(nodes); round++ {
		for _, zone := range names {
			if round < len(zones[zone]) {
				out = append(out, zones[zone][round])
			}
		}
	}
	return out
}

// Nodes returns every node. The slice must not be changed.
func (s *Snapshot) Nodes() []*NodeInfo { return s.nodes }

// Get returns a node by its name, nil if there is none.
func (s *Snapshot) Get(name string) *NodeInfo {
	if i, ok := s.index[name]; ok {
		return s.nodes[i]
	}
	return nil
}

// Index returns a node's place in Nodes.
func (s *Snapshot) Index(name string) (int, bool) {
	i, ok := s.index[name]
	return i, ok
}

// NodesWithImage counts the nodes that have an image.
func (s *Snapshot) NodesWithImage(name string) int { return s.images[name] }

// WithPreferences returns the nodes that have pods whose terms rank nodes for
// others.
func (s *Snapshot) WithPreferences() iter.Seq[*NodeInfo] {
	return func(yield func(*NodeInfo) bool) {
		for _, i := range s.withPreferences {
			if !yield(s.nodes[i]) {
				return
			}
		}
	}
}

// With returns a Snapshot in which changed takes the place of the node of its
// name.
func (s *Snapshot) With(changed *NodeInfo) *Snapshot {
	o := &Snapshot{
		nodes: slices.Clone(s.nodes), places: s.places, index: s.index, images: s.images, withPreferences: slices.Clone(s.withPreferences),
		base: s, changed: s.index[changed.Name()],
	}
	o.replace(o.changed, changed)
	return o
}
