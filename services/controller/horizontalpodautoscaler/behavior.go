package horizontalpodautoscaler

import (
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// defaultStabilization is for how long the highest recommendation counts when
// a workload is scaled down.
const defaultStabilization = 300

// rules are the rules for one direction, complete.
func rules(given *autoscalingv2.HPAScalingRules, window int32, policies ...autoscalingv2.HPAScalingPolicy) autoscalingv2.HPAScalingRules {
	r := autoscalingv2.HPAScalingRules{
		StabilizationWindowSeconds: &window, SelectPolicy: ptr.To(autoscalingv2.MaxChangePolicySelect), Policies: policies,
	}
	if given == nil {
		return r
	}
	if given.StabilizationWindowSeconds != nil {
		r.StabilizationWindowSeconds = given.StabilizationWindowSeconds
	}
	if given.SelectPolicy != nil {
		r.SelectPolicy = given.SelectPolicy
	}
	if given.Policies != nil {
		r.Policies = given.Policies
	}
	return r
}

// behavior returns the rules for scaling up and down.
func behavior(given *autoscalingv2.HorizontalPodAutoscalerBehavior) (up, down autoscalingv2.HPAScalingRules) {
	b := ptr.Deref(given, autoscalingv2.HorizontalPodAutoscalerBehavior{})
	percent := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15}
	pods := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15}
	return rules(b.ScaleUp, 0, pods, percent), rules(b.ScaleDown, defaultStabilization, percent)
}

func window(r autoscalingv2.HPAScalingRules) time.Duration {
	return time.Duration(*r.StabilizationWindowSeconds) * time.Second
}

// normalize returns how many pods there may be at once on the way from the
// current number to the proposed one.
func (r *round) normalize(current, proposed, least int32) int32 {
	up, down := behavior(r.hpa.Spec.Behavior)
	lowest, highest := r.memory.recommend(r.key, proposed, r.now, window(up), window(down))
	stable := min(max(current, lowest), highest)
	switch {
	case stable == proposed:
		r.set(autoscalingv2.AbleToScale, corev1.ConditionTrue, "ReadyForNewScale", "recommended size matches current size")
	case proposed >= current:
		r.set(autoscalingv2.AbleToScale, corev1.ConditionTrue, "ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation")
	default:
		r.set(autoscalingv2.AbleToScale, corev1.ConditionTrue, "ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation")
	}
	allowed, reason, message := stable, "DesiredWithinRange", "the desired count is within the acceptable range"
	status := corev1.ConditionFalse
	if most, why, text := r.ceiling(current, up); stable > current && stable > most {
		allowed, reason, message, status = most, why, text, corev1.ConditionTrue
	}
	if fewest, why, text := r.floor(current, least, down); stable < current && stable < fewest {
		allowed, reason, message, status = fewest, why, text, corev1.ConditionTrue
	}
	r.set(autoscalingv2.ScalingLimited, status, reason, message)
	return allowed
}

// ceiling is the most pods there may be now, and why no more.
func (r *round) ceiling(current int32, up autoscalingv2.HPAScalingRules) (most int32, reason, message string) {
	limit := max(r.limit(current, up, +1), current)
	if r.hpa.Spec.Behavior == nil {
		limit = max(2*current, 4) // a tiny workload may grow faster
	}
	if limit < r.hpa.Spec.MaxReplicas {
		return limit, "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"
	}
	return r.hpa.Spec.MaxReplicas, "TooManyReplicas", "the desired replica count is more than the maximum replica count"
}

// floor is the fewest pods there may be now, and why no fewer.
func (r *round) floor(current, least int32, down autoscalingv2.HPAScalingRules) (fewest int32, reason, message string) {
	if limit := min(r.limit(current, down, -1), current); limit > least {
		return limit, "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"
	}
	return least, "TooFewReplicas", "the desired replica count is less than the minimum replica count"
}

// limit is how far the policies let the number of pods go in a direction (+1
// up, -1 down). Each starts from the number at the beginning of its period.
func (r *round) limit(current int32, scaling autoscalingv2.HPAScalingRules, direction int32) int32 {
	if *scaling.SelectPolicy == autoscalingv2.DisabledPolicySelect {
		return current
	}
	// Seen in the direction, "Max" is the policy that goes furthest.
	furthest := *scaling.SelectPolicy == autoscalingv2.MaxChangePolicySelect
	var chosen int32
	for i, policy := range scaling.Policies {
		start := current - r.memory.change(r.key, r.now, time.Duration(policy.PeriodSeconds)*time.Second)
		reach := start + direction*policy.Value
		if policy.Type == autoscalingv2.PercentScalingPolicy {
			reach = share(start, direction, policy.Value)
		}
		if further := direction*reach > direction*chosen; i == 0 || further == furthest {
			chosen = reach
		}
	}
	return chosen
}

// share adds a percentage, rounded up so that small workloads can grow at all,
// or takes one away.
func share(start, direction, percent int32) int32 {
	n := float64(start) * (1 + float64(direction)*float64(percent)/100)
	if direction > 0 {
		n = math.Ceil(n)
	}
	return int32(min(n, math.MaxInt32))
}
