package volumebinding

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"

	"navarch.dev/navarch/internal/storageclass"
)

// waiting is a claim whose volume depends on the pod's node.
type waiting struct {
	claim *corev1.PersistentVolumeClaim
	class *storagev1.StorageClass
	// candidates are the volumes that could be the claim's on some node.
	candidates []*corev1.PersistentVolume
	// node and pv are what has been decided already for another pod that uses
	// the claim, or by an earlier attempt.
	node string
	pv   *corev1.PersistentVolume
	// space is what volumes of the class can be made of; nil if that is not told.
	space *space
}

// size is how much the claim asks for.
func (w *waiting) size() resource.Quantity {
	return w.claim.Spec.Resources.Requests[corev1.ResourceStorage]
}

// decision is what is to be bound if a pod goes to a node.
type decision struct {
	node      *corev1.Node
	bind      []binding
	provision []provision
}

type binding struct {
	claim *corev1.PersistentVolumeClaim
	pv    *corev1.PersistentVolume
}

// provision is a claim for which a volume is to be made.
type provision struct {
	claim *corev1.PersistentVolumeClaim
	// from is what it is made of; nil if that is not told.
	from *storagev1.CSIStorageCapacity
}

// obstacle is a claim that can have no volume on a node.
type obstacle struct {
	*waiting
	reason string
}

// wait collects what can become of a claim, wherever the pod goes.
func (p *Plugin) wait(claim *corev1.PersistentVolumeClaim) waiting {
	name := volume.GetPersistentVolumeClaimClass(claim)
	class, _ := p.storage.Class(name)
	w := waiting{claim: claim, class: class, node: claim.Annotations[volume.AnnSelectedNode]}
	if r, ok := p.reserved.of(claim.UID); ok {
		w.node, w.pv = r.node, r.pv
		return w
	}
	w.space = p.spaceFor(claim, class)
	for _, pv := range p.storage.Candidates(name, types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}) {
		if volume.CheckAccessModes(claim, pv) && !p.reserved.taken(pv.Name) {
			w.candidates = append(w.candidates, pv)
		}
	}
	return w
}

// smallestFirst puts claims in an order in which small ones do not take the
// volumes that only suffice for them away from each other.
func smallestFirst(all []waiting) {
	slices.SortStableFunc(all, func(a, b waiting) int {
		x, y := a.size(), b.size()
		return x.Cmp(y)
	})
}

// decide finds a volume, or a place to make one, for every claim if the pod
// goes to the node. If one has neither, it returns that one instead.
func (p *Plugin) decide(all []waiting, node *corev1.Node) (d *decision, stuck *obstacle) {
	d = &decision{node: node}
	used := make(map[string]*corev1.PersistentVolume)
	for i := range all {
		w := &all[i]
		if w.pv != nil {
			if volume.CheckNodeAffinity(w.pv, node.Labels) != nil {
				return nil, &obstacle{w, ReasonBindConflict}
			}
			d.bind = append(d.bind, binding{w.claim, w.pv})
			continue
		}
		if w.node != "" && w.node != node.Name {
			return nil, &obstacle{w, ReasonBindConflict}
		}
		pv, err := volume.FindMatchingVolume(w.claim, w.candidates, node, used, true, true)
		if err == nil && pv != nil && w.node == "" {
			used[pv.Name] = pv
			d.bind = append(d.bind, binding{w.claim, pv})
			continue
		}
		from, reason := w.provide(node)
		if reason != "" {
			return nil, &obstacle{w, reason}
		}
		d.provision = append(d.provision, provision{w.claim, from})
	}
	return d, nil
}

// provide returns what a volume for the claim can be made of on a node, or the
// reason why none can be made.
func (w *waiting) provide(node *corev1.Node) (from *storagev1.CSIStorageCapacity, reason string) {
	if c := w.class; c == nil || c.Provisioner == "" || c.Provisioner == volume.NotSupportedProvisioner || !storageclass.Allows(c, node.Labels) {
		return nil, ReasonBindConflict
	}
	if w.space == nil {
		return nil, ""
	}
	if from = w.space.largest(node); from == nil || w.exceeds(from) {
		return nil, ReasonNoSpace
	}
	return from, ""
}

// exceeds says whether the claim asks for more than a volume can have.
func (w *waiting) exceeds(from *storagev1.CSIStorageCapacity) bool {
	size := w.size()
	return size.Cmp(*limit(from)) > 0
}
