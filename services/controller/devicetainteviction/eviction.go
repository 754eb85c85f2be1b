package devicetainteviction

import (
	"maps"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/deviceclaim"
)

// eviction is when a pod has to go, and because of which rules.
type eviction struct {
	at time.Time
	// rules are the names of those whose taints are not tolerated, by their UIDs.
	// Taints that drivers publish are of no rule.
	rules map[types.UID]string
}

// join returns the eviction for two reasons, each of which may be nil.
func join(a, b *eviction) *eviction {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	both := &eviction{at: a.at, rules: maps.Clone(a.rules)}
	if b.at.Before(a.at) {
		both.at = b.at
	}
	maps.Copy(both.rules, b.rules)
	return both
}

// taint is a taint of a device, and the rule that it comes from, if any.
type taint struct {
	resourcev1.DeviceTaint
	rule *resourcev1.DeviceTaintRule
}

// ofClaim returns when those who use a claim have to go; nil if they may stay.
// taints returns those of a device that evict.
func ofClaim(claim *resourcev1.ResourceClaim, taints func(r *resourcev1.DeviceRequestAllocationResult) []taint) (out *eviction) {
	if claim.Status.Allocation == nil {
		return nil
	}
	for i := range claim.Status.Allocation.Devices.Results {
		r := &claim.Status.Allocation.Devices.Results[i]
		for _, t := range taints(r) {
			at, ends := deadline(t.DeviceTaint, r.Tolerations)
			if !ends {
				continue
			}
			one := &eviction{at: at, rules: map[types.UID]string{}}
			if t.rule != nil {
				one.rules[t.rule.UID] = t.rule.Name
			}
			out = join(out, one)
		}
	}
	return out
}

// deadline returns until when a taint is tolerated, counted from when it was
// added; false if that is for ever. Of several tolerations the shortest counts,
// unless one has no end. Only those that are for NoExecute alone can have one.
func deadline(t resourcev1.DeviceTaint, tolerations []resourcev1.DeviceToleration) (at time.Time, ends bool) {
	seconds, tolerated := int64(math.MaxInt64/time.Second), false
	for _, toleration := range tolerations {
		if !deviceclaim.Tolerates(toleration, t) {
			continue
		}
		if toleration.TolerationSeconds == nil || toleration.Effect != resourcev1.DeviceTaintEffectNoExecute {
			return time.Time{}, false
		}
		seconds, tolerated = min(seconds, max(*toleration.TolerationSeconds, 0)), true
	}
	if t.TimeAdded != nil {
		at = t.TimeAdded.Time
	}
	if tolerated {
		at = at.Add(time.Duration(seconds) * time.Second)
	}
	return at, true
}

// ofPod returns when a pod has to go: as soon as one of its claims asks for it.
func (r *reconciler) ofPod(pod *corev1.Pod) (out *eviction) {
	if pod.Spec.NodeName == "" || pod.DeletionTimestamp != nil || deviceclaim.IsDone(pod) {
		return nil
	}
	for _, ref := range deviceclaim.All(pod) {
		claim, ok := r.claims.Get(pod.Namespace, ref.Claim)
		if !ok || ref.Own && deviceclaim.CheckOwner(pod, claim) != nil || !deviceclaim.IsReserved(claim, pod) {
			continue
		}
		out = join(out, ofClaim(claim, r.evicting))
	}
	return out
}

// evicting returns the taints of an allocated device that evict.
func (r *reconciler) evicting(result *resourcev1.DeviceRequestAllocationResult) []taint {
	var out []taint
	found, _ := r.slices.ByIndex(slicesByPool, poolKey(result.Driver, result.Pool)) // the index is always there
	for _, t := range published(found, result.Device) {
		if t.Effect == resourcev1.DeviceTaintEffectNoExecute {
			out = append(out, taint{DeviceTaint: t})
		}
	}
	for _, rule := range r.rules.List() {
		if rule.Spec.Taint.Effect == resourcev1.DeviceTaintEffectNoExecute && deviceclaim.Taints(rule, result.Driver, result.Pool, result.Device) {
			out = append(out, taint{rule.Spec.Taint, rule})
		}
	}
	return out
}

// published returns the taints that a driver gives a device in the newest
// generation of its pool, of all whose slices these are.
func published(pool []*resourcev1.ResourceSlice, device string) []resourcev1.DeviceTaint {
	var newest []resourcev1.DeviceTaint
	generation := int64(math.MinInt64)
	for _, s := range pool {
		if g := s.Spec.Pool.Generation; g < generation {
			continue
		} else if g > generation {
			newest, generation = nil, g
		}
		for i := range s.Spec.Devices {
			if s.Spec.Devices[i].Name == device {
				newest = s.Spec.Devices[i].Taints
			}
		}
	}
	return newest
}
