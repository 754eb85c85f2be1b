package volumebinding

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Reservations are what pods whose binding is under way have decided: other
// pods, of whatever profile, must reckon with it before the watches show it.
// They are safe for concurrent use.
type Reservations struct {
	mu      sync.Mutex // guards all below
	byClaim map[types.UID]*reservation
	byName  map[string]types.UID // the claim that a volume is taken for
}

// reservation is the decision about one claim.
type reservation struct {
	node string
	// pv is nil for a volume that is to be made.
	pv   *corev1.PersistentVolume
	pods map[types.UID]bool
}

// NewReservations returns none.
func NewReservations() *Reservations {
	return &Reservations{byClaim: make(map[types.UID]*reservation), byName: make(map[string]types.UID)}
}

func (r *Reservations) of(claim types.UID) (reservation, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	have, ok := r.byClaim[claim]
	if !ok {
		return reservation{}, false
	}
	return *have, true
}

func (r *Reservations) taken(volume string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.byName[volume]
	return ok
}

func (r *Reservations) add(pod types.UID, node string, d *decision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range d.bind {
		r.addOne(pod, b.claim.UID, node, b.pv)
		r.byName[b.pv.Name] = b.claim.UID
	}
	for _, made := range d.provision {
		r.addOne(pod, made.claim.UID, node, nil)
	}
}

func (r *Reservations) addOne(pod, claim types.UID, node string, pv *corev1.PersistentVolume) {
	have, ok := r.byClaim[claim]
	if !ok {
		have = &reservation{node: node, pv: pv, pods: make(map[types.UID]bool)}
		r.byClaim[claim] = have
	}
	have.pods[pod] = true
}

func (r *Reservations) drop(pod types.UID, d *decision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range d.bind {
		r.dropOne(pod, b.claim.UID)
	}
	for _, made := range d.provision {
		r.dropOne(pod, made.claim.UID)
	}
}

func (r *Reservations) dropOne(pod, claim types.UID) {
	have, ok := r.byClaim[claim]
	if !ok {
		return
	}
	delete(have.pods, pod)
	if len(have.pods) > 0 {
		return
	}
	delete(r.byClaim, claim)
	if have.pv != nil {
		delete(r.byName, have.pv.Name)
	}
}

// Reserve decides for the chosen node and takes what it decided.
func (p *Plugin) Reserve(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, node string) *framework.Status {
	claims := p.claims.Get(state)
	if claims == nil || len(claims.waiting) == 0 {
		return nil
	}
	d, stuck := p.decide(claims.waiting, claims.nodes.Get(node).Node)
	if stuck != nil {
		return framework.NewStatus(framework.Unschedulable, stuck.reason)
	}
	p.reserved.add(pod.Pod.UID, node, d)
	p.decision.Set(state, d)
	return nil
}

// Unreserve gives it back.
func (p *Plugin) Unreserve(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, _ string) {
	if d := p.decision.Get(state); d != nil {
		p.reserved.drop(pod.Pod.UID, d)
	}
}
