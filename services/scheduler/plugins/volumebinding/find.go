package volumebinding

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
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
}

// decision is what is to be bound if a pod goes to a node.
type decision struct {
	node      *corev1.Node
	bind      []binding
	provision []*corev1.PersistentVolumeClaim
}

type binding struct {
	claim *corev1.PersistentVolumeClaim
	pv    *corev1.PersistentVolume
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
		x, y := a.claim.Spec.Resources.Requests[corev1.ResourceStorage], b.claim.Spec.Resources.Requests[corev1.ResourceStorage]
		return x.Cmp(y)
	})
}

// decide finds a volume, or a place to make one, for every claim if the pod
// goes to the node. If one has neither, it returns that one instead.
func (p *Plugin) decide(all []waiting, node *corev1.Node) (d *decision, stuck *waiting) {
	d = &decision{node: node}
	used := make(map[string]*corev1.PersistentVolume)
	for i := range all {
		w := &all[i]
		if w.pv != nil {
			if volume.CheckNodeAffinity(w.pv, node.Labels) != nil {
				return nil, w
			}
			d.bind = append(d.bind, binding{w.claim, w.pv})
			continue
		}
		if w.node != "" && w.node != node.Name {
			return nil, w
		}
		pv, err := volume.FindMatchingVolume(w.claim, w.candidates, node, used, true, true)
		switch {
		case err == nil && pv != nil && w.node == "":
			used[pv.Name] = pv
			d.bind = append(d.bind, binding{w.claim, pv})
		case canProvision(w.class, node):
			d.provision = append(d.provision, w.claim)
		default:
			return nil, w
		}
	}
	return d, nil
}

// canProvision says whether a volume of the class can be made for a node.
func canProvision(class *storagev1.StorageClass, node *corev1.Node) bool {
	return class != nil && class.Provisioner != "" && class.Provisioner != volume.NotSupportedProvisioner &&
		storageclass.Allows(class, node.Labels)
}
