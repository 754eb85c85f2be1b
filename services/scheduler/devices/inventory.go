package devices

import (
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Inventory is what there is and what of it is taken. It does not change.
type Inventory struct {
	pools *Pools
	// taken are the devices that are given away as a whole.
	taken map[ID]bool
	// shares are what is consumed of the capacity of devices that are shared.
	shares map[ID]amounts
	// counters are what is left of the counters of pools that have any.
	counters map[*pool]map[string]amounts
}

// amounts are quantities by name, without a domain where that is the driver's.
type amounts map[string]resource.Quantity

// plus adds quantities; less takes them away.
func (a amounts) plus(more amounts) {
	for name, q := range more {
		sum := a[name].DeepCopy()
		sum.Add(q)
		a[name] = sum
	}
}

func (a amounts) less(amount amounts) {
	for name, q := range amount {
		rest := a[name].DeepCopy()
		rest.Sub(q)
		a[name] = rest
	}
}

// NewInventory takes what allocations have from pools. Access to devices that
// others use takes nothing.
func NewInventory(pools *Pools, allocations []*resourcev1.AllocationResult) *Inventory {
	v := &Inventory{pools: pools, taken: map[ID]bool{}, shares: map[ID]amounts{}, counters: map[*pool]map[string]amounts{}}
	for _, a := range allocations {
		for i := range a.Devices.Results {
			if r := &a.Devices.Results[i]; r.AdminAccess == nil || !*r.AdminAccess {
				v.take(r)
			}
		}
	}
	return v
}

func (v *Inventory) take(r *resourcev1.DeviceRequestAllocationResult) {
	id := ID{r.Driver, r.Pool, r.Device}
	_, shared := v.shares[id]
	first := !shared && !v.taken[id]
	if r.ShareID == nil {
		v.taken[id] = true
	} else {
		if !shared {
			v.shares[id] = amounts{}
		}
		v.shares[id].plus(plain(r.Driver, r.ConsumedCapacity))
	}
	if d := v.pools.byID[id]; d != nil && first {
		for set, used := range consumption(d) {
			v.left(d.pool)[set].less(used)
		}
	}
}

// left returns what is left of a pool's counters.
func (v *Inventory) left(p *pool) map[string]amounts {
	have, ok := v.counters[p]
	if !ok {
		have = counters(p)
		v.counters[p] = have
	}
	return have
}

// counters are those of a pool of which nothing is used.
func counters(p *pool) map[string]amounts {
	all := map[string]amounts{}
	for set, named := range p.counters {
		all[set] = amounts{}
		for name, c := range named {
			all[set][name] = c.Value
		}
	}
	return all
}

// consumption is what a device uses of its pool's counters, by set, of those that
// there are.
func consumption(d *device) map[string]amounts {
	out := map[string]amounts{}
	for _, c := range d.ConsumesCounters {
		if _, ok := d.pool.counters[c.CounterSet]; !ok {
			continue
		}
		out[c.CounterSet] = amounts{}
		for name, counter := range c.Counters {
			out[c.CounterSet][name] = counter.Value
		}
	}
	return out
}
