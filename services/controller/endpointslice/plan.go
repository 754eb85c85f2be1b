package endpointslice

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// maxEndpoints is how many endpoints a slice holds at most.
const maxEndpoints = 100

// groupKey names the endpoints that may share a slice.
type groupKey struct {
	family discoveryv1.AddressType
	ports  string
}

// group is what all slices of a key together should hold.
type group struct {
	family    discoveryv1.AddressType
	ports     []discoveryv1.EndpointPort
	endpoints []discoveryv1.Endpoint
}

// ensureGroup adds an empty group for a family that has none: a Service
// without endpoints has one empty slice, which says just that.
func ensureGroup(groups map[groupKey]*group, family discoveryv1.AddressType) {
	for key := range groups {
		if key.family == family {
			return
		}
	}
	groups[groupKey{family: family}] = &group{family: family}
}

// changes are the writes that bring a Service's slices up to date.
type changes struct {
	create, update, remove []*discoveryv1.EndpointSlice
}

// plan compares the slices there are with the groups there should be.
func plan(s *corev1.Service, groups map[groupKey]*group, have []*discoveryv1.EndpointSlice) changes {
	var p changes
	byGroup := make(map[groupKey][]*discoveryv1.EndpointSlice)
	for _, slice := range have {
		key := groupKey{family: slice.AddressType, ports: portsKey(slice.Ports)}
		if groups[key] == nil {
			p.remove = append(p.remove, slice)
		} else {
			byGroup[key] = append(byGroup[key], slice)
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(groups), compareKeys) {
		p.fill(s, groups[key], byGroup[key])
	}
	return p
}

func compareKeys(a, b groupKey) int {
	return cmp.Or(cmp.Compare(a.family, b.family), cmp.Compare(a.ports, b.ports))
}

// fill lays a group's endpoints out over slices. An endpoint stays in the
// slice it is in, so that a change of one touches one slice; new ones go where
// there is room, the fullest slice first; what is empty in the end is removed.
func (p *changes) fill(s *corev1.Service, g *group, have []*discoveryv1.EndpointSlice) {
	slices.SortFunc(have, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	laid := make([][]discoveryv1.Endpoint, len(have))
	place := make(map[string]int)
	for i, slice := range have {
		for _, e := range slice.Endpoints {
			place[identity(e)] = i
		}
	}
	var homeless []discoveryv1.Endpoint
	slices.SortFunc(g.endpoints, func(a, b discoveryv1.Endpoint) int { return cmp.Compare(identity(a), identity(b)) })
	for _, e := range g.endpoints {
		if i, ok := place[identity(e)]; ok && len(laid[i]) < maxEndpoints {
			laid[i] = append(laid[i], e)
		} else {
			homeless = append(homeless, e)
		}
	}
	for _, i := range fullestFirst(laid) {
		n := min(maxEndpoints-len(laid[i]), len(homeless))
		laid[i] = append(laid[i], homeless[:n]...)
		homeless = homeless[n:]
	}
	p.keep(s, g, have, laid)
	for first := len(have) == 0; len(homeless) > 0 || first; first = false {
		n := min(maxEndpoints, len(homeless))
		fresh := newSlice(s, g)
		fresh.Endpoints = homeless[:n]
		homeless = homeless[n:]
		p.create = append(p.create, fresh)
	}
}

// keep decides for each slice there is whether to update or to remove it. One
// empty slice stays if there is nothing else.
func (p *changes) keep(s *corev1.Service, g *group, have []*discoveryv1.EndpointSlice, laid [][]discoveryv1.Endpoint) {
	needed := len(g.endpoints) == 0 // an empty slice
	for i, slice := range have {
		if len(laid[i]) == 0 && !needed {
			p.remove = append(p.remove, slice)
			continue
		}
		if len(laid[i]) == 0 {
			needed = false
		}
		changed := slice.DeepCopy()
		changed.Labels, changed.Endpoints = sliceLabels(s), laid[i]
		if !same(slice, changed) {
			p.update = append(p.update, changed)
		}
	}
}

// fullestFirst returns the indices of laid, the fullest first.
func fullestFirst(laid [][]discoveryv1.Endpoint) []int {
	order := make([]int, len(laid))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(laid[b]), len(laid[a])) })
	return order
}

// identity tells endpoints apart: the pod, and its address.
func identity(e discoveryv1.Endpoint) string {
	id := ""
	if e.TargetRef != nil {
		id = string(e.TargetRef.UID)
	}
	if len(e.Addresses) > 0 {
		id += "/" + e.Addresses[0]
	}
	return id
}
