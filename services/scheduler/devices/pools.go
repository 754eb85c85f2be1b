// Package devices finds devices for ResourceClaims: which of those that drivers
// publish suit a claim's requests together, on one node.
//
//	pools.go      what there is: the pools that slices make up
//	inventory.go  what of that is taken by claims
//	request.go    what claims ask for, with what their classes say
//	search.go     the search for devices that suit
//	capacity.go   shares of devices
//	constraint.go what the devices of a claim must have in common
//	result.go     the allocation that is written to the claim
//	shortage.go   what is missing where the search finds nothing
//	stock.go      how many devices stand for extended resources
package devices

import (
	"cmp"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"navarch.dev/navarch/internal/deviceclaim"
	"navarch.dev/navarch/internal/expression"
)

// ID names a device.
type ID struct{ Driver, Pool, Device string }

// Pools are the devices that drivers publish. They can be used by several
// goroutines.
type Pools struct {
	byID map[ID]*device
	// byNode are the devices of single nodes, others those of several. Both are
	// in the order in which they are tried.
	byNode map[string][]*device
	others []*device
	// poolsByNode are the pools of the devices of single nodes.
	poolsByNode map[string][]*pool
}

// pool is a pool as its slices of the newest generation show it.
type pool struct {
	driver, name string
	generation   int64
	slices       []*resourcev1.ResourceSlice
	// complete says that all slices are there.
	complete bool
	// conditional says that some devices are bound by conditions.
	conditional bool
	// broken says that two devices have one name.
	broken bool
	// counters are those that the pool's devices share, by set and name.
	counters map[string]map[string]resourcev1.Counter
}

// device is a device of a pool.
type device struct {
	*resourcev1.Device
	id    ID
	pool  *pool
	slice *resourcev1.ResourceSlice
	// taints are its own and those that rules give it.
	taints []resourcev1.DeviceTaint

	mu sync.Mutex // guards all below
	// view is the device as expressions see it, once one has looked.
	view *expression.Device
	// matches are the answers of expressions.
	matches map[string]match
}

type match struct {
	ok  bool
	err error
}

// NewPools gathers the devices of slices, and gives them the taints of rules.
// Slices of older generations of their pool do not count.
func NewPools(all []*resourcev1.ResourceSlice, rules []*resourcev1.DeviceTaintRule) *Pools {
	p := &Pools{byID: map[ID]*device{}, byNode: map[string][]*device{}, poolsByNode: map[string][]*pool{}}
	for _, one := range newest(all) {
		p.add(one, rules)
	}
	return p
}

// newest returns the pools, ordered by driver and name, with their newest slices.
func newest(all []*resourcev1.ResourceSlice) []*pool {
	type key struct{ driver, name string }
	found := map[key]*pool{}
	for _, s := range all {
		k := key{s.Spec.Driver, s.Spec.Pool.Name}
		have, ok := found[k]
		if !ok || s.Spec.Pool.Generation > have.generation {
			have = &pool{driver: k.driver, name: k.name, generation: s.Spec.Pool.Generation}
			found[k] = have
		}
		if s.Spec.Pool.Generation == have.generation {
			have.slices = append(have.slices, s)
		}
	}
	pools := make([]*pool, 0, len(found))
	for _, one := range found {
		slices.SortFunc(one.slices, func(a, b *resourcev1.ResourceSlice) int { return cmp.Compare(a.Name, b.Name) })
		one.complete = int64(len(one.slices)) == one.slices[0].Spec.Pool.ResourceSliceCount
		one.conditional = slices.ContainsFunc(one.slices, bindsByConditions)
		one.addCounters()
		pools = append(pools, one)
	}
	slices.SortFunc(pools, func(a, b *pool) int { return cmp.Or(cmp.Compare(a.driver, b.driver), cmp.Compare(a.name, b.name)) })
	return pools
}

// bindsByConditions says whether a device of a slice is ready only once its driver
// says so.
func bindsByConditions(s *resourcev1.ResourceSlice) bool {
	return slices.ContainsFunc(s.Spec.Devices, func(d resourcev1.Device) bool { return len(d.BindingConditions) > 0 })
}

func (p *pool) addCounters() {
	for _, s := range p.slices {
		for _, set := range s.Spec.SharedCounters {
			if p.counters == nil {
				p.counters = map[string]map[string]resourcev1.Counter{}
			}
			p.counters[set.Name] = set.Counters
		}
	}
}

func (p *Pools) add(one *pool, rules []*resourcev1.DeviceTaintRule) {
	places := map[string]bool{}
	for _, s := range one.slices {
		for i := range s.Spec.Devices {
			d := &device{Device: &s.Spec.Devices[i], id: ID{one.driver, one.name, s.Spec.Devices[i].Name}, pool: one, slice: s}
			if p.byID[d.id] != nil {
				one.broken = true
			}
			d.taints = taintsOf(d, rules)
			p.byID[d.id] = d
			node := d.node()
			if node == "" {
				p.others = append(p.others, d)
				continue
			}
			places[node] = true
			p.byNode[node] = append(p.byNode[node], d)
		}
	}
	for node := range places {
		p.poolsByNode[node] = append(p.poolsByNode[node], one)
	}
}

func taintsOf(d *device, rules []*resourcev1.DeviceTaintRule) []resourcev1.DeviceTaint {
	taints := d.Taints
	for _, rule := range rules {
		if deviceclaim.Taints(rule, d.id.Driver, d.id.Pool, d.id.Device) {
			taints = append(slices.Clip(taints), rule.Spec.Taint)
		}
	}
	return taints
}

// node is the one node that has the device, "" if there are others.
func (d *device) node() string {
	name := d.slice.Spec.NodeName
	if name == nil {
		name = d.NodeName
	}
	if name == nil {
		return ""
	}
	return *name
}

// selector is what says which nodes have the device, nil if all do or one.
func (d *device) selector() *corev1.NodeSelector {
	if d.slice.Spec.NodeSelector != nil {
		return d.slice.Spec.NodeSelector
	}
	return d.NodeSelector
}

// reachable says whether a device that is of no single node can be used on one.
func (d *device) reachable(node *corev1.Node) bool {
	s := d.selector()
	if s == nil {
		return true
	}
	selector, err := nodeaffinity.NewNodeSelector(s)
	return err == nil && selector.Match(node)
}

// On returns the devices that can be used on a node.
func (p *Pools) On(node *corev1.Node) map[ID]bool {
	all, _ := p.on(node)
	ids := make(map[ID]bool, len(all))
	for _, d := range all {
		ids[d.id] = true
	}
	return ids
}

// on returns the devices that can be used on a node, and their pools. Devices of
// pools without binding conditions come first, since they are ready at once.
func (p *Pools) on(node *corev1.Node) ([]*device, []*pool) {
	all := slices.Clone(p.byNode[node.Name])
	pools := slices.Clone(p.poolsByNode[node.Name])
	seen := map[*pool]bool{}
	for _, d := range p.others {
		if !d.reachable(node) {
			continue
		}
		all = append(all, d)
		if !seen[d.pool] {
			seen[d.pool] = true
			pools = append(pools, d.pool)
		}
	}
	if slices.ContainsFunc(pools, func(one *pool) bool { return one.conditional }) {
		slices.SortStableFunc(all, func(a, b *device) int { return rank(a.pool) - rank(b.pool) })
	}
	return all, pools
}

func rank(p *pool) int {
	if p.conditional {
		return 1
	}
	return 0
}

// usable says whether a device can be given away: not while its pool is being
// published or is wrong.
func (d *device) usable() bool { return d.pool.complete && !d.pool.broken }
