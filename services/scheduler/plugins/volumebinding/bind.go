package volumebinding

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
	"navarch.dev/navarch/services/scheduler/storage"
)

// NeedsPreBind says whether Reserve decided anything.
func (p *Plugin) NeedsPreBind(state *framework.CycleState, _ *snapshot.PodInfo) bool {
	return p.decision.Get(state) != nil
}

// PreBind writes what was decided and waits until the claims are bound.
func (p *Plugin) PreBind(ctx context.Context, state *framework.CycleState, pod *snapshot.PodInfo, _ string) *framework.Status {
	d := p.decision.Get(state)
	w, err := p.write(ctx, d)
	if err == nil {
		waiting, cancel := context.WithTimeout(ctx, p.bindTimeout)
		defer cancel()
		err = p.await(waiting, pod.Pod, w)
	}
	if err != nil {
		return framework.AsStatus(fmt.Errorf("binding volumes: %w", err))
	}
	// The watches show it now.
	p.reserved.drop(pod.Pod.UID, d)
	return nil
}

// written is a decision and the versions in which it was written.
type written struct {
	*decision
	volumes, claims []string
}

// write takes the volumes for the claims, and gives the others the node.
func (p *Plugin) write(ctx context.Context, d *decision) (*written, error) {
	w := &written{decision: d}
	for _, b := range d.bind {
		pv, ok := p.storage.Volume(b.pv.Name)
		if !ok {
			return nil, fmt.Errorf("persistentvolume %q not found", b.pv.Name)
		}
		if pv.Spec.ClaimRef != nil && !volume.IsVolumeBoundToClaim(pv, b.claim) {
			return nil, fmt.Errorf("persistentvolume %q was bound to another claim meanwhile", pv.Name)
		}
		taken, dirty, err := volume.GetBindVolumeToClaim(pv, b.claim)
		if err != nil {
			return nil, err
		}
		if dirty {
			if err := p.storage.UpdateVolume(ctx, taken); err != nil {
				return nil, err
			}
		}
		w.volumes = append(w.volumes, taken.ResourceVersion)
	}
	for _, made := range d.provision {
		version, err := p.giveNode(ctx, made.claim, d.node.Name)
		if err != nil {
			return nil, err
		}
		w.claims = append(w.claims, version)
	}
	return w, nil
}

// giveNode tells a claim's provisioner the node, and returns the version of the
// claim that does.
func (p *Plugin) giveNode(ctx context.Context, claim *corev1.PersistentVolumeClaim, node string) (version string, err error) {
	now, ok := p.storage.Claim(claim.Namespace, claim.Name)
	if !ok || now.UID != claim.UID {
		return "", fmt.Errorf("persistentvolumeclaim %q not found", claim.Name)
	}
	if now.Annotations[volume.AnnSelectedNode] == node {
		return now.ResourceVersion, nil
	}
	given := now.DeepCopy()
	metav1.SetMetaDataAnnotation(&given.ObjectMeta, volume.AnnSelectedNode, node)
	if err := p.storage.UpdateClaim(ctx, given); err != nil {
		return "", err
	}
	return given.ResourceVersion, nil
}

// await returns once all claims are bound, or cannot be any more.
func (p *Plugin) await(ctx context.Context, pod *corev1.Pod, w *written) error {
	for {
		changed := p.storage.Changed()
		if !p.storage.PodWaits(pod) {
			return errors.New("pod does not exist any more")
		}
		done, err := p.isDone(w)
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *Plugin) isDone(w *written) (bool, error) {
	done := true
	for i, b := range w.bind {
		pv, ok := p.storage.Volume(b.pv.Name)
		switch {
		case !ok:
			return false, fmt.Errorf("persistentvolume %q not found", b.pv.Name)
		case !reached(pv.ResourceVersion, w.volumes[i]):
			done = false
			continue
		case !volume.IsVolumeBoundToClaim(pv, b.claim):
			return false, fmt.Errorf("persistentvolume %q is not bound to persistentvolumeclaim %q any more", pv.Name, b.claim.Name)
		}
		bound, err := p.isBound(b.claim, w.node)
		if err != nil {
			return false, err
		}
		done = done && bound
	}
	for i, made := range w.provision {
		claim := made.claim
		now, ok := p.storage.Claim(claim.Namespace, claim.Name)
		if ok && !reached(now.ResourceVersion, w.claims[i]) {
			done = false
			continue
		}
		if ok && !storage.IsBound(now) && now.Annotations[volume.AnnSelectedNode] != w.node.Name {
			return false, fmt.Errorf("provisioning failed for PVC %q", claim.Name)
		}
		bound, err := p.isBound(claim, w.node)
		if err != nil {
			return false, err
		}
		done = done && bound
	}
	return done, nil
}

// isBound says whether a claim is bound, to a volume that the node can use.
func (p *Plugin) isBound(claim *corev1.PersistentVolumeClaim, node *corev1.Node) (bool, error) {
	now, ok := p.storage.Claim(claim.Namespace, claim.Name)
	if !ok || now.UID != claim.UID {
		return false, fmt.Errorf("persistentvolumeclaim %q not found", claim.Name)
	}
	if !storage.IsBound(now) {
		return false, nil
	}
	pv, ok := p.storage.Volume(now.Spec.VolumeName)
	if !ok {
		return false, nil // its watch lags behind the claims'
	}
	if err := p.reaches(newBound(now, pv), node); err != nil {
		return false, fmt.Errorf("persistentvolume %q cannot be used from node %q: %w", pv.Name, node.Name, err)
	}
	return true, nil
}

// reached says whether a version is as new as another.
func reached(have, want string) bool {
	h, errH := strconv.ParseUint(have, 10, 64)
	w, errW := strconv.ParseUint(want, 10, 64)
	return errH != nil || errW != nil || h >= w
}
