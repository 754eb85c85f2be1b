package dynamicresources

import (
	"strconv"
	"sync"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/expression"
)

// maxSelectors is how many compiled expressions are kept.
const maxSelectors = 1024

// Ledger holds what was decided about claims and the watches do not show yet:
// devices that are held for pods which are being bound, and what was written. It
// also keeps compiled expressions. It is safe for concurrent use.
type Ledger struct {
	mu sync.Mutex // guards all below
	// held are the allocations that have been decided and not written, by claim.
	held map[types.UID]*holding
	// written are claims as they were written, until the watch has caught up.
	written map[types.UID]*resourcev1.ResourceClaim
	// fresh says when claims were created that the watch does not show yet.
	fresh     map[types.UID]time.Time
	selectors map[string]*expression.DeviceSelector
}

// showWithin is how long the watch may take to show a claim that was created.
const showWithin = 5 * time.Minute

// holding is an allocation that is held, and for how many pods.
type holding struct {
	allocation *resourcev1.AllocationResult
	pods       map[types.UID]bool
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{held: map[types.UID]*holding{}, written: map[types.UID]*resourcev1.ResourceClaim{}, fresh: map[types.UID]time.Time{}, selectors: map[string]*expression.DeviceSelector{}}
}

// Compile implements devices.Selectors.
func (l *Ledger) Compile(source string) (*expression.DeviceSelector, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s, ok := l.selectors[source]; ok {
		return s, nil
	}
	s, err := expression.CompileDeviceSelector(source)
	if err != nil {
		return nil, err
	}
	if len(l.selectors) >= maxSelectors {
		clear(l.selectors)
	}
	l.selectors[source] = s
	return s, nil
}

// lastWritten returns a claim that the watch shows as it was stored last.
func (l *Ledger) lastWritten(claim *resourcev1.ResourceClaim) *resourcev1.ResourceClaim {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stored(claim)
}

// unshown returns a claim that the watch does not show as it was stored last.
func (l *Ledger) unshown(claim *resourcev1.ResourceClaim) *resourcev1.ResourceClaim {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w, ok := l.written[claim.UID]; ok {
		return w
	}
	return claim
}

// latest returns a claim as it is by what the watch shows and what is known
// beyond that.
func (l *Ledger) latest(claim *resourcev1.ResourceClaim) *resourcev1.ResourceClaim {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newer(claim)
}

func (l *Ledger) stored(claim *resourcev1.ResourceClaim) *resourcev1.ResourceClaim {
	if w, ok := l.written[claim.UID]; ok {
		if reached(claim.ResourceVersion, w.ResourceVersion) {
			l.drop(claim.UID)
		} else {
			claim = w
		}
	}
	return claim
}

// drop keeps nothing of what was written of a claim. l.mu is held.
func (l *Ledger) drop(claim types.UID) {
	delete(l.written, claim)
	delete(l.fresh, claim)
}

// created notes a claim that was created, which the watch may not show yet.
func (l *Ledger) created(claim *resourcev1.ResourceClaim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written[claim.UID], l.fresh[claim.UID] = claim.DeepCopy(), time.Now()
}

// forget notes that a claim is gone.
func (l *Ledger) forget(claim types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(claim)
}

func (l *Ledger) newer(claim *resourcev1.ResourceClaim) *resourcev1.ResourceClaim {
	claim = l.stored(claim)
	if h, ok := l.held[claim.UID]; ok && claim.Status.Allocation == nil {
		claim = claim.DeepCopy()
		claim.Status.Allocation = h.allocation
	}
	return claim
}

// allocations returns every allocation: those that the watch shows, those that
// were written, and those that are held.
func (l *Ledger) allocations(cluster Cluster) []*resourcev1.AllocationResult {
	shown := cluster.Allocated() // before the lock: what is written meanwhile is in the ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := make(map[types.UID]bool, len(shown))
	var out []*resourcev1.AllocationResult
	add := func(claim *resourcev1.ResourceClaim) {
		seen[claim.UID] = true
		if claim = l.newer(claim); claim.Status.Allocation != nil {
			out = append(out, claim.Status.Allocation)
		}
	}
	for _, claim := range shown {
		add(claim)
	}
	for uid, claim := range l.written {
		switch now, ok := cluster.Claim(claim.Namespace, claim.Name); {
		case !ok && time.Since(l.fresh[uid]) < showWithin:
			if _, held := l.held[uid]; !held && claim.Status.Allocation != nil {
				out = append(out, claim.Status.Allocation)
			}
		case !ok || now.UID != uid:
			l.drop(uid) // it is gone
		case !seen[uid]:
			add(now)
		}
	}
	for uid, h := range l.held {
		if !seen[uid] {
			out = append(out, h.allocation)
		}
	}
	return out
}

// hold holds an allocation for a pod.
func (l *Ledger) hold(claim, pod types.UID, a *resourcev1.AllocationResult) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.held[claim]
	if !ok {
		h = &holding{allocation: a, pods: map[types.UID]bool{}}
		l.held[claim] = h
	}
	h.pods[pod] = true
}

// isHeld says whether an allocation is held that is not written.
func (l *Ledger) isHeld(claim types.UID) (*resourcev1.AllocationResult, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.held[claim]
	if !ok {
		return nil, false
	}
	return h.allocation, true
}

// letGo holds an allocation no longer for a pod.
func (l *Ledger) letGo(claim, pod types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.held[claim]
	if !ok {
		return
	}
	if delete(h.pods, pod); len(h.pods) == 0 {
		delete(l.held, claim)
	}
}

// wrote notes a claim as it was written.
func (l *Ledger) wrote(claim *resourcev1.ResourceClaim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w, ok := l.written[claim.UID]; !ok || !reached(w.ResourceVersion, claim.ResourceVersion) {
		l.written[claim.UID] = claim
	}
}

// reached says whether a version is as new as another.
func reached(have, want string) bool {
	h, errH := strconv.ParseUint(have, 10, 64)
	w, errW := strconv.ParseUint(want, 10, 64)
	return errH != nil || errW != nil || h >= w
}
