package devices

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
)

// Stock counts devices that stand for extended resources. It does not change, and
// can be used by several goroutines; nil is that of none.
type Stock struct {
	inventory *Inventory
	// kinds are what devices must be to stand for a resource.
	kinds map[corev1.ResourceName]*alternative
}

// NewStock returns the stock of the resources that classes stand for. A class that
// cannot be read stands for nothing here: who asks for its devices is told.
func NewStock(inventory *Inventory, classes map[corev1.ResourceName]*resourcev1.DeviceClass, compile Selectors) *Stock {
	s := &Stock{inventory: inventory, kinds: make(map[corev1.ResourceName]*alternative, len(classes))}
	for name, class := range classes {
		a := &alternative{name: string(name)}
		if err := a.read(nil, class.Name, nil, func(string) (*resourcev1.DeviceClass, bool) { return class, true }, compile); err == nil {
			s.kinds[name] = a
		}
	}
	return s
}

// On returns how many devices stand for a resource on a node, and how many of these
// are given away, in shares or as a whole. Both are 0 where an expression fails.
func (s *Stock) On(ctx context.Context, node *corev1.Node, name corev1.ResourceName) (all, taken int64) {
	if s == nil || s.kinds[name] == nil {
		return 0, 0
	}
	found, _ := s.inventory.pools.on(node)
	for _, d := range found {
		selected, err := s.kinds[name].selects(ctx, d)
		if err != nil {
			return 0, 0
		}
		if !selected {
			continue
		}
		all++
		if _, shared := s.inventory.shares[d.id]; shared || s.inventory.taken[d.id] {
			taken++
		}
	}
	return all, taken
}
