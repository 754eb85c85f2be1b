package snapshot

import (
	"cmp"
	"maps"
	"slices"

	"k8s.io/component-helpers/node/topology"
)

// Snapshot is a view of the cluster that does not change until Refresh. The
// zero value is an empty one. It is not safe to Refresh while it is read.
type Snapshot struct {
	nodes  []*NodeInfo
	index  map[string]int
	images map[string]int
	// withTerms and withRequiredAntiAffinity are the nodes that have such
	// pods; nil until asked for.
	withTerms, withRequiredAntiAffinity []*NodeInfo
	listed                              bool

	generation, structure uint64
}

// New returns a Snapshot of the given nodes alone, for tests and what-ifs.
func New(nodes ...*NodeInfo) *Snapshot {
	s := &Snapshot{images: make(map[string]int)}
	for _, n := range nodes {
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
		s.nodes[i] = item.info
		changed = append(changed, i)
	}
	if len(changed) > 0 {
		s.listed = false
	}
	s.generation = c.generation
	return changed, false
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
	s.nodes = nodes
	s.index = make(map[string]int, len(nodes))
	for i, n := range nodes {
		s.index[n.Name()] = i
	}
	s.listed = false
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

// WithTerms returns the nodes that have pods with terms about other pods.
func (s *Snapshot) WithTerms() []*NodeInfo {
	s.list()
	return s.withTerms
}

// WithRequiredAntiAffinity returns the nodes that have pods which keep others
// away.
func (s *Snapshot) WithRequiredAntiAffinity() []*NodeInfo {
	s.list()
	return s.withRequiredAntiAffinity
}

func (s *Snapshot) list() {
	if s.listed {
		return
	}
	s.withTerms, s.withRequiredAntiAffinity, s.listed = nil, nil, true
	for _, n := range s.nodes {
		if len(n.WithTerms) > 0 {
			s.withTerms = append(s.withTerms, n)
		}
		if len(n.WithRequiredAntiAffinity) > 0 {
			s.withRequiredAntiAffinity = append(s.withRequiredAntiAffinity, n)
		}
	}
}

// With returns a Snapshot in which changed takes the place of the node of its
// name.
func (s *Snapshot) With(changed *NodeInfo) *Snapshot {
	o := &Snapshot{nodes: slices.Clone(s.nodes), index: s.index, images: s.images}
	o.nodes[s.index[changed.Name()]] = changed
	return o
}
