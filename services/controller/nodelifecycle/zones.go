package nodelifecycle

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
)

// minUnhealthy is how many nodes must not be ready before the part they are of
// their zone says anything.
const minUnhealthy = 3

// zoneState says how much of a zone is lost.
type zoneState string

const (
	zoneNormal  zoneState = "Normal"
	zonePartial zoneState = "PartialDisruption"
	zoneFull    zoneState = "FullDisruption"
)

// zones bounds how fast silent nodes are emptied. That many nodes of a zone fall
// silent together is rarely the nodes' fault: a cut network shows the same, and
// evicting what still runs behind it would turn a blind control plane into an
// outage. So a zone that is unhealthy in part is emptied slowly or not at all,
// and nothing is once no node of the cluster is ready.
//
// The counts follow the nodes' events, so that judging a node is not a walk over
// all of them.
type zones struct {
	cfg Config

	mu     sync.Mutex
	nodes  map[string]membership
	byName map[string]*zone
	ready  int // nodes of all zones
}

// membership is what a node counts for.
type membership struct {
	zone  string
	ready bool
}

// zone is one failure domain: the nodes with the same labels of region and
// zone, those without labels being one too.
type zone struct {
	ready, unready int
	state          zoneState
	limiter        *rate.Limiter
}

func newZones(cfg Config) *zones {
	return &zones{cfg: cfg, nodes: make(map[string]membership), byName: make(map[string]*zone)}
}

// zoneOf names a node's zone.
func zoneOf(n *corev1.Node) string {
	return n.Labels[corev1.LabelTopologyRegion] + "/" + n.Labels[corev1.LabelTopologyZone]
}

// transition is a zone's change of state, for the log.
type transition struct {
	zone  string
	state zoneState
}

// observe counts a node as it is now, or no longer if it is gone. changed says
// that limits may be others now, for any node; moved are zones that got into
// another state.
func (z *zones) observe(n *corev1.Node, gone bool) (changed bool, moved []transition) {
	z.mu.Lock()
	defer z.mu.Unlock()
	old, known := z.nodes[n.Name]
	now := membership{zone: zoneOf(n), ready: nodeReady(n) == corev1.ConditionTrue}
	if gone && !known || known && !gone && old == now {
		return false, nil
	}
	lit := z.ready > 0
	touched := make([]string, 0, 2)
	if known {
		z.count(old, -1)
		delete(z.nodes, n.Name)
		touched = append(touched, old.zone)
	}
	if !gone {
		z.count(now, 1)
		z.nodes[n.Name] = now
		touched = append(touched, now.zone)
	}
	for _, name := range touched {
		if state, other := z.judge(name); other {
			moved = append(moved, transition{zone: name, state: state})
		}
	}
	return len(moved) > 0 || lit != (z.ready > 0), moved
}

func (z *zones) count(m membership, by int) {
	in := z.byName[m.zone]
	if in == nil {
		in = &zone{state: zoneNormal, limiter: rate.NewLimiter(rate.Limit(z.cfg.EvictionRate), 1)}
		z.byName[m.zone] = in
	}
	if m.ready {
		in.ready += by
		z.ready += by
	} else {
		in.unready += by
	}
}

// judge sets a zone's state, and how fast it is emptied, by its counts; false
// if it is in the state it was in.
func (z *zones) judge(name string) (state zoneState, other bool) {
	in := z.byName[name]
	if in == nil {
		return "", false
	}
	total := in.ready + in.unready
	if total == 0 {
		delete(z.byName, name)
		return "", false
	}
	state, limit := z.verdict(in.ready, in.unready)
	if in.limiter.Limit() != rate.Limit(limit) {
		in.limiter.SetLimit(rate.Limit(limit))
	}
	other = in.state != state
	in.state = state
	return state, other
}

// verdict is the state of a zone with so many nodes, and how many of them may be
// emptied per second.
func (z *zones) verdict(ready, unready int) (state zoneState, limit float64) {
	total := ready + unready
	switch {
	case ready == 0:
		return zoneFull, z.cfg.EvictionRate
	case unready < minUnhealthy || float64(unready)/float64(total) < z.cfg.UnhealthyZoneThreshold:
		return zoneNormal, z.cfg.EvictionRate
	case total > z.cfg.LargeZoneSize:
		return zonePartial, z.cfg.SecondaryEvictionRate
	default:
		return zonePartial, 0
	}
}

// recheck is when to ask again while ready nodes are in doubt.
const recheck = time.Second

// doubted says whether, if the ready nodes that are in doubt are silent in truth,
// the zone must be left alone. Nodes that are cut off together fall silent one
// after the other, as each was heard of last.
func (z *zones) doubted(in *zone, name string, doubtful func(node string) bool) bool {
	inZone, anywhere := 0, 0
	for node, m := range z.nodes {
		if !m.ready || !doubtful(node) {
			continue
		}
		anywhere++
		if m.zone == name {
			inZone++
		}
	}
	if anywhere == 0 {
		return false
	}
	_, limit := z.verdict(in.ready-inZone, in.unready+inZone)
	return z.ready == anywhere || limit == 0
}

// lit says whether any node is ready.
func (z *zones) lit() bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.ready > 0
}

// admit says whether a node may be tainted for eviction now. If not, wait is
// when to ask again; 0 if only a change of the zone's state can allow it. Nodes
// that are doubtful may be silent without being known to.
func (z *zones) admit(n *corev1.Node, now time.Time, doubtful func(node string) bool) (wait time.Duration, ok bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	in := z.byName[zoneOf(n)]
	if in == nil || z.ready == 0 {
		return 0, false // not yet counted, or nobody can tell dead from cut off
	}
	if in.limiter.Limit() == 0 {
		return 0, false
	}
	if z.doubted(in, zoneOf(n), doubtful) {
		return recheck, false
	}
	r := in.limiter.ReserveN(now, 1)
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return wait, false
	}
	return 0, true
}
