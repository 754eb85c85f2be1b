package flowcontrol

import (
	"context"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/flowcontrol/fairqueue"
	"navarch.dev/navarch/services/store/flowcontrol/shares"
)

// adjustmentPeriod is how often the levels' seats follow their demand.
const adjustmentPeriod = 10 * time.Second

// Controller limits the requests of one Store. It is safe for concurrent use.
type Controller struct {
	cfg   Config
	plan  atomic.Pointer[plan] // nil without priority and fairness
	waits *prometheus.HistogramVec
	// seed makes that nobody outside knows which flows meet in a queue.
	seed maphash.Seed
	// reading and changing are all there is without priority and fairness; nil is
	// no limit.
	reading, changing *Flow

	mu     sync.Mutex // guards the fields below
	levels map[string]*level
	counts map[[2]string]*counts
}

// New returns a Controller that goes by the mandatory objects until it is told of
// others, and registers its metrics.
func New(cfg Config, reg prometheus.Registerer) (*Controller, error) {
	c := &Controller{cfg: cfg, levels: make(map[string]*level), counts: make(map[[2]string]*counts), waits: newWaits(), seed: maphash.MakeSeed()}
	if !cfg.Enabled {
		c.reading, c.changing = c.together("reading", cfg.MaxRequests), c.together("changing", cfg.MaxMutating)
		return c, nil
	}
	c.Configure(nil, nil)
	for _, collector := range []prometheus.Collector{c.waits, collector{c}} {
		if err := reg.Register(collector); err != nil {
			return nil, fmt.Errorf("register the metrics of flow control: %w", err)
		}
	}
	return c, nil
}

// together is the flow of all requests that read or of all that change something;
// nil if there may be any number of them.
func (c *Controller) together(name string, limit int) *Flow {
	if limit == 0 {
		return nil
	}
	return &Flow{
		name: name, seed: c.seed, counts: &counts{schema: name, level: name},
		level: &level{name: name, seats: fairqueue.NewLevel(int64(limit), fairqueue.Queuing{})},
	}
}

// Classify returns the flow that a request belongs to; nil if nothing limits it.
func (c *Controller) Classify(a *access.Attributes) *Flow {
	p := c.plan.Load()
	if p == nil {
		return c.inflight(a)
	}
	for _, f := range p.flows {
		if f.schema.Matches(a) {
			return f
		}
	}
	return p.rest
}

// inflight is Classify without priority and fairness.
func (c *Controller) inflight(a *access.Attributes) *Flow {
	switch {
	case a.User.InGroup(identity.GroupMasters):
		return nil
	case a.Verb == "get" || a.Verb == "list" || a.Verb == "watch":
		return c.reading
	}
	return c.changing
}

// Configure makes the Controller go by these objects.
func (c *Controller) Configure(levels []*flowcontrolv1.PriorityLevelConfiguration, schemas []*flowcontrolv1.FlowSchema) {
	if !c.cfg.Enabled {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	byName := usableLevels(levels)
	c.setLevels(byName)
	c.plan.Store(c.planOf(schemas, byName))
	c.forget()
}

// setLevels makes the levels those of the objects. Requests that wait in one
// that is gone still get its seats.
func (c *Controller) setLevels(objects map[string]*flowcontrolv1.PriorityLevelConfiguration) {
	gone := c.levels
	c.levels = make(map[string]*level, len(objects))
	var ordered []*level
	var claims []shares.Claim
	for name, o := range objects {
		l := gone[name]
		claim, queuing := claimOf(&o.Spec)
		switch {
		case l == nil && exempt(name):
			l = &level{name: name, waits: c.waits, seats: fairqueue.NewLevel(fairqueue.Unlimited, fairqueue.Queuing{})}
			l.limits.Exempt = true
		case l == nil:
			l = &level{name: name, waits: c.waits, seats: fairqueue.NewLevel(0, queuing)}
		case !l.limits.Exempt:
			l.seats.Configure(l.seats.Limit(), queuing)
		}
		c.levels[name] = l
		ordered, claims = append(ordered, l), append(claims, claim)
	}
	for i, b := range shares.Nominal(c.cfg.seats(), claims) {
		ordered[i].limits.Bounds = b
	}
	divide(ordered)
}

// divide gives the levels the seats that they have for now.
func divide(levels []*level) {
	limits := make([]shares.Level, len(levels))
	for i, l := range levels {
		limits[i] = l.limits
	}
	for i, seats := range shares.Divide(limits) {
		levels[i].give(seats)
	}
}

// give changes how many seats a level has.
func (l *level) give(seats int) {
	l.current = seats
	if !l.limits.Exempt {
		l.seats.SetLimit(int64(seats))
	}
}

// Run lets the levels' seats follow their demand until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if !c.cfg.Enabled {
		return
	}
	ticker := time.NewTicker(adjustmentPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.adjust()
		}
	}
}

// adjust lends seats of levels that do not use them to others.
func (c *Controller) adjust() {
	c.mu.Lock()
	defer c.mu.Unlock()
	levels := slices.Collect(maps.Values(c.levels))
	for _, l := range levels {
		l.limits.Next(int(l.seats.TakePeak()))
	}
	divide(levels)
}

// countsOf returns the counts of a FlowSchema in a level, which go on where they
// were when there has been such a pair before. The caller holds mu.
func (c *Controller) countsOf(schema, level string) *counts {
	key := [2]string{schema, level}
	if c.counts[key] == nil {
		c.counts[key] = &counts{schema: schema, level: level}
	}
	return c.counts[key]
}

// forget drops the counts of pairs that are no more. The caller holds mu.
func (c *Controller) forget() {
	present := make(map[*counts]bool)
	for _, f := range c.plan.Load().flows {
		present[f.counts] = true
	}
	for key, n := range c.counts {
		if !present[n] && n.executing.Load()+n.waiting.Load() == 0 {
			delete(c.counts, key)
			c.waits.DeletePartialMatch(prometheus.Labels{labelLevel: n.level, labelSchema: n.schema})
		}
	}
}
