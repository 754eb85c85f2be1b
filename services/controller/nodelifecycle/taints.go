package nodelifecycle

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// conditionTaints are the taints, without effect NoExecute, that conditions
// cause when they have the status.
var conditionTaints = [...]struct {
	condition corev1.NodeConditionType
	status    corev1.ConditionStatus
	key       string
}{
	{corev1.NodeReady, corev1.ConditionFalse, corev1.TaintNodeNotReady},
	{corev1.NodeReady, corev1.ConditionUnknown, corev1.TaintNodeUnreachable},
	{corev1.NodeMemoryPressure, corev1.ConditionTrue, corev1.TaintNodeMemoryPressure},
	{corev1.NodeDiskPressure, corev1.ConditionTrue, corev1.TaintNodeDiskPressure},
	{corev1.NodePIDPressure, corev1.ConditionTrue, corev1.TaintNodePIDPressure},
	{corev1.NodeNetworkUnavailable, corev1.ConditionTrue, corev1.TaintNodeNetworkUnavailable},
}

// owned says whether a taint is this package's to set and to take off.
func owned(t corev1.Taint) bool {
	switch t.Effect {
	case corev1.TaintEffectNoExecute:
		return t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable
	case corev1.TaintEffectNoSchedule:
		if t.Key == corev1.TaintNodeUnschedulable {
			return true
		}
		for _, ct := range conditionTaints {
			if ct.key == t.Key {
				return true
			}
		}
	}
	return false
}

// wantedTaints returns the taints that a node's conditions ask for.
func wantedTaints(n *corev1.Node) []corev1.Taint {
	var taints []corev1.Taint
	add := func(key string, effect corev1.TaintEffect) {
		taints = append(taints, corev1.Taint{Key: key, Effect: effect})
	}
	if n.Spec.Unschedulable {
		add(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	}
	for _, ct := range conditionTaints {
		var status corev1.ConditionStatus
		if c := condition(n, ct.condition); c != nil {
			status = c.Status
		} else if ct.condition == corev1.NodeReady {
			status = corev1.ConditionFalse
		} else {
			continue
		}
		if status != ct.status {
			continue
		}
		add(ct.key, corev1.TaintEffectNoSchedule)
		if ct.condition == corev1.NodeReady {
			add(ct.key, corev1.TaintEffectNoExecute)
		}
	}
	return taints
}

// mergeTaints returns the node's taints with ours as wanted. A taint that
// stays keeps the time it was added at; evictions are counted from it, so one
// that somebody added without a time is given ours.
func mergeTaints(have, wanted []corev1.Taint, now time.Time) []corev1.Taint {
	var merged []corev1.Taint
	added := metav1.NewTime(now.Truncate(time.Second))
	isWanted := func(t corev1.Taint) bool {
		return slices.ContainsFunc(wanted, func(w corev1.Taint) bool { return w.MatchTaint(&t) })
	}
	for _, t := range have {
		if !owned(t) || isWanted(t) {
			if t.Effect == corev1.TaintEffectNoExecute && t.TimeAdded == nil {
				t.TimeAdded = &added
			}
			merged = append(merged, t)
		}
	}
	for _, w := range wanted {
		if !slices.ContainsFunc(merged, func(t corev1.Taint) bool { return t.MatchTaint(&w) }) {
			w.TimeAdded = &added
			merged = append(merged, w)
		}
	}
	return merged
}

// ensureTaints gives the node the taints its conditions ask for. The first that
// evicts is given only as fast as the node's zone allows; then wait is when to
// try again, 0 if that is not a matter of time. A silent node that stops its pods
// is given the time to.
func (r *reconciler) ensureTaints(ctx context.Context, node *corev1.Node, now time.Time) (tainted *corev1.Node, wait time.Duration, err error) {
	wanted := wantedTaints(node)
	if slices.ContainsFunc(wanted, evicting) && !slices.ContainsFunc(node.Spec.Taints, ownedEvicting) {
		ok := true
		if last, fast := r.fast(node.Name); fast && nodeReady(node) == corev1.ConditionUnknown {
			wait = r.untilFenced(last, last.promise, now)
			ok = wait <= 0
		}
		if ok {
			wait, ok = r.zones.admit(node, now, r.doubtful(now))
		}
		if !ok {
			wanted = slices.DeleteFunc(wanted, evicting)
		}
	}
	changed := node.DeepCopy()
	changed.Spec.Taints = mergeTaints(node.Spec.Taints, wanted, now)
	if equality.Semantic.DeepEqual(node.Spec.Taints, changed.Spec.Taints) {
		return node, wait, nil
	}
	if err := r.client.Update(ctx, changed); err != nil {
		return nil, 0, fmt.Errorf("taint node %s: %w", node.Name, err)
	}
	return changed, wait, nil
}

func evicting(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute }

func ownedEvicting(t corev1.Taint) bool { return evicting(t) && owned(t) }

// noExecute returns a node's taints that evict.
func noExecute(n *corev1.Node) []corev1.Taint {
	return slices.DeleteFunc(slices.Clone(n.Spec.Taints), func(t corev1.Taint) bool { return !evicting(t) })
}
