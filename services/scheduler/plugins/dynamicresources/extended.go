package dynamicresources

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/scheduler/devices"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// extendedOf returns the classes that stand for resources which a pod asks for.
func (p *Plugin) extendedOf(pod *snapshot.PodInfo) map[corev1.ResourceName]*resourcev1.DeviceClass {
	var out map[corev1.ResourceName]*resourcev1.DeviceClass
	for _, name := range pod.Wanted {
		if !snapshot.IsScalar(name) {
			continue
		}
		if class := p.cluster.Resources()[name]; class != nil {
			if out == nil {
				out = map[corev1.ResourceName]*resourcev1.DeviceClass{}
			}
			out[name] = class
		}
	}
	return out
}

// mayHaveDevices says whether a pod may have been given devices.
func mayHaveDevices(pod *corev1.Pod) bool {
	asks := func(c corev1.Container) bool {
		for name := range c.Resources.Requests {
			if strings.Contains(string(name), "/") {
				return true
			}
		}
		return false
	}
	return len(pod.Spec.ResourceClaims) > 0 || slices.ContainsFunc(pod.Spec.Containers, asks) || slices.ContainsFunc(pod.Spec.InitContainers, asks)
}

// askedOn returns what is to be allocated on a node: the waiting claims, and one for
// the extended resources of which the node itself has none to give.
func (p *Plugin) askedOn(claims *podClaims, pod *snapshot.PodInfo, node *snapshot.NodeInfo) (*asked, error) {
	classes := maps.Clone(claims.extended)
	maps.DeleteFunc(classes, func(name corev1.ResourceName, _ *resourcev1.DeviceClass) bool { return node.Allocatable.Of(name) > 0 })
	if len(classes) == 0 {
		return claims.alone, nil
	}
	var key strings.Builder
	for _, name := range slices.Sorted(maps.Keys(classes)) {
		key.WriteString(string(name) + " ")
	}
	claims.mu.Lock()
	defer claims.mu.Unlock()
	if known, ok := claims.byResources[key.String()]; ok {
		return known, nil
	}
	claim, uses := extendedClaim(pod.Pod, classes)
	out, err := p.ask(append(slices.Clone(claims.waiting), claim))
	if err != nil {
		return nil, err
	}
	out.uses = uses
	claims.byResources[key.String()] = out
	return out, nil
}

// extendedName is that of a claim for extended resources that is not stored. No
// claim can have it.
const extendedName = "<extended-resources>"

// extendedClaim returns the claim for a pod's extended resources, as it is before
// it is stored, and which container uses what of it.
func extendedClaim(pod *corev1.Pod, classes map[corev1.ResourceName]*resourcev1.DeviceClass) (*resourcev1.ResourceClaim, []corev1.ContainerExtendedResourceRequest) {
	requests, uses := devices.RequestsFor(pod, classes)
	return &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: extendedName, UID: "extended-resources/" + pod.UID, GenerateName: pod.Name + "-extended-resources-",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: ptr.To(true)}},
			Annotations:     map[string]string{resourcev1.ExtendedResourceClaimAnnotation: "true"},
		},
		Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: requests}},
	}, uses
}

// store stores the claim for a pod's extended resources. What was held for the
// claim is held for the stored one from then on.
func (p *Plugin) store(ctx context.Context, claim *resourcev1.ResourceClaim, a *resourcev1.AllocationResult, pod types.UID) (*resourcev1.ResourceClaim, error) {
	stored := claim.DeepCopy()
	stored.Name, stored.UID = "", ""
	if err := p.cluster.Create(ctx, stored); err != nil {
		return nil, fmt.Errorf("create claim for extended resources: %w", err)
	}
	p.ledger.hold(stored.UID, pod, a)
	p.ledger.letGo(claim.UID, pod)
	p.ledger.created(stored)
	return stored, nil
}

// takeAway removes a claim that was made for a pod's extended resources, and has the
// pod no longer say that it has one.
func (p *Plugin) takeAway(ctx context.Context, pod *corev1.Pod, claim *resourcev1.ResourceClaim) error {
	if err := p.discard(ctx, claim); err != nil {
		return fmt.Errorf("delete resourceclaim %s: %w", claim.Name, err)
	}
	if err := p.cluster.SetExtendedClaim(ctx, pod, nil); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("write to the pod that resourceclaim %s is gone: %w", claim.Name, err)
	}
	return nil
}

// discard removes a claim with its devices.
func (p *Plugin) discard(ctx context.Context, claim *resourcev1.ResourceClaim) error {
	err := errors.New("the claim changes all the time")
	for range attempts {
		var now *resourcev1.ResourceClaim
		if now, err = p.cluster.Get(ctx, claim.Namespace, claim.Name); err == nil && now.UID != claim.UID {
			break // it is another by now
		}
		if err == nil && slices.Contains(now.Finalizers, resourcev1.Finalizer) {
			now.Finalizers = slices.DeleteFunc(now.Finalizers, func(f string) bool { return f == resourcev1.Finalizer })
			err = p.cluster.Update(ctx, now)
		}
		if err == nil {
			err = p.cluster.Delete(ctx, now)
		}
		if !apierrors.IsConflict(err) {
			break
		}
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	p.ledger.forget(claim.UID)
	return nil
}
