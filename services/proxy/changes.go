package proxy

import (
	"maps"
	"sync"
)

// cause is the object whose change makes a Service be routed anew, by key: the
// Service itself, or one of its slices.
type cause struct {
	service bool
	key     string
}

// changes collects which Services have changed since they were last taken. One
// that changes again meanwhile is taken once.
type changes struct {
	mu sync.Mutex // guards what follows
	// services are the keys, with what changed.
	services map[string]map[cause]struct{}
	// table says that the kernel's table may be gone.
	table bool

	// wake holds a token while something is to be taken.
	wake chan struct{}
}

func newChanges() *changes {
	return &changes{services: make(map[string]map[cause]struct{}), wake: make(chan struct{}, 1)}
}

// note says that a Service is to be routed anew, because of causes.
func (c *changes) note(service string, causes ...cause) {
	c.mu.Lock()
	all, ok := c.services[service]
	if !ok {
		all = make(map[cause]struct{}, len(causes))
		c.services[service] = all
	}
	for _, cause := range causes {
		all[cause] = struct{}{}
	}
	c.mu.Unlock()
	c.signal()
}

// noteTable says that the kernel's table may be gone.
func (c *changes) noteTable() {
	c.mu.Lock()
	c.table = true
	c.mu.Unlock()
	c.signal()
}

func (c *changes) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// take returns what has been noted and forgets it.
func (c *changes) take() (services map[string]map[cause]struct{}, table bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	services, table = maps.Clone(c.services), c.table
	clear(c.services)
	c.table = false
	return services, table
}
