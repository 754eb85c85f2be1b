package simulation_test

import (
	"fmt"
	"math"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/deployment"
)

// rollouts is the promise of Deployments. Whatever the controller writes it
// writes for a spec that is no older than the last one it has told of.
type rollouts struct {
	specs map[types.UID][]*appsv1.Deployment // by generation, from the observed one on
}

func (r *rollouts) check(s *state, e event) error {
	switch o := e.obj.(type) {
	case *appsv1.Deployment:
		r.note(o)
	case *appsv1.ReplicaSet:
		d, ok := s.objects[owner(o).UID].(*appsv1.Deployment)
		if !ok {
			return nil
		}
		before := int32(0)
		if old, ok := e.old.(*appsv1.ReplicaSet); ok {
			before = *old.Spec.Replicas
		}
		switch after := *o.Spec.Replicas; {
		case after > before:
			return r.grown(s, d)
		case after < before && !isResize(e.old, o):
			return r.shrunk(s, d, o, before)
		}
	case *corev1.Pod:
		if e.old == nil {
			return r.oneVersion(s, o)
		}
	}
	return nil
}

func (r *rollouts) note(d *appsv1.Deployment) {
	if r.specs == nil {
		r.specs = make(map[types.UID][]*appsv1.Deployment)
	}
	all := r.specs[d.UID]
	if len(all) == 0 || all[len(all)-1].Generation != d.Generation {
		all = append(all, d)
	}
	for len(all) > 1 && all[1].Generation <= d.Status.ObservedGeneration {
		all = all[1:]
	}
	r.specs[d.UID] = all
}

func isRolling(d *appsv1.Deployment) bool { return d.Spec.Strategy.RollingUpdate != nil }

func limits(d *appsv1.Deployment) (most, least int32) {
	size := int(*d.Spec.Replicas)
	surge, _ := intstr.GetScaledValueFromIntOrPercent(d.Spec.Strategy.RollingUpdate.MaxSurge, size, true)
	unavailable, _ := intstr.GetScaledValueFromIntOrPercent(d.Spec.Strategy.RollingUpdate.MaxUnavailable, size, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return int32(size + surge), int32(size - unavailable)
}

// isResize says whether a set was scaled because its Deployment was resized:
// then every set gives up its part, whoever is available.
func isResize(old kinds.Object, rs *appsv1.ReplicaSet) bool {
	return old.GetAnnotations()[deployment.DesiredReplicasAnnotation] != rs.Annotations[deployment.DesiredReplicasAnnotation]
}

func (r *rollouts) grown(s *state, d *appsv1.Deployment) error {
	var total, allowed int32
	for _, rs := range s.sets[d.UID] {
		total += *rs.Spec.Replicas
	}
	for _, spec := range r.specs[d.UID] {
		most := *spec.Spec.Replicas
		if isRolling(spec) {
			most, _ = limits(spec)
		}
		allowed = max(allowed, most)
	}
	if total > allowed {
		return fmt.Errorf("deployment %s asks for %d pods, allowed are %d", d.Name, total, allowed)
	}
	return nil
}

// shrunk looks at what a set gave up: by what the sets have, and by what they
// had lately. The controller may have seen either; it is wrong if it is so by
// both.
func (r *rollouts) shrunk(s *state, d *appsv1.Deployment, shrunk *appsv1.ReplicaSet, sizeBefore int32) error {
	least := int32(math.MaxInt32)
	for _, spec := range r.specs[d.UID] {
		if !isRolling(spec) {
			return nil
		}
		_, l := limits(spec)
		least = min(least, l)
	}
	var err error
	for _, available := range []func(*appsv1.ReplicaSet) int32{
		func(rs *appsv1.ReplicaSet) int32 { return rs.Status.AvailableReplicas },
		func(rs *appsv1.ReplicaSet) int32 { return s.mostAvailable(rs.UID) },
	} {
		var before, after int32
		for _, rs := range s.sets[d.UID] {
			size := *rs.Spec.Replicas
			after += min(size, available(rs))
			if rs.UID == shrunk.UID {
				size = sizeBefore
			}
			before += min(size, available(rs))
		}
		if after >= min(before, least) {
			return nil
		}
		err = fmt.Errorf("deployment %s keeps %d available pods of %d, needed are %d", d.Name, after, before, least)
	}
	return err
}

// oneVersion: a Deployment that recreates runs the pods of one set.
func (r *rollouts) oneVersion(s *state, pod *corev1.Pod) error {
	rs, ok := s.objects[owner(pod).UID].(*appsv1.ReplicaSet)
	if !ok {
		return nil
	}
	d, ok := s.objects[owner(rs).UID].(*appsv1.Deployment)
	if !ok || isRolling(d) {
		return nil
	}
	for uid := range s.sets[d.UID] {
		for _, other := range s.pods[uid] {
			if uid != rs.UID && !isFinished(other) {
				return fmt.Errorf("deployment %s recreates, and pod %s of a new version starts beside %s", d.Name, pod.Name, other.Name)
			}
		}
	}
	return nil
}

// sets is the promise of ReplicaSets: no more active pods than asked for.
type sets struct{}

func (sets) check(s *state, e event) error {
	pod, ok := e.obj.(*corev1.Pod)
	if !ok || e.old != nil {
		return nil
	}
	rs, ok := s.objects[owner(pod).UID].(*appsv1.ReplicaSet)
	if !ok || rs.Status.ObservedGeneration < rs.Generation {
		return nil // it may not know yet that it was told to shrink
	}
	if n := s.countActive(rs.UID); n > *rs.Spec.Replicas {
		return fmt.Errorf("set %s has %d pods and asks for %d", rs.Name, n, *rs.Spec.Replicas)
	}
	return nil
}
