package simulation_test

import (
	"fmt"
	"math"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

const (
	// elastic is the Deployment that is scaled by its use.
	elastic = "elastic"
	// wantedUse is what its pods are to use, in thousandths of a CPU: half of
	// what they request.
	wantedUse = 50
)

var autoscalingDeeds = []deed{
	{"create an elastic deployment", 4, (*world).createElastic},
	{"create an autoscaler", 4, (*world).createAutoscaler},
	{"edit an autoscaler", 5, (*world).editAutoscaler},
	{"delete an autoscaler", 1, func(w *world) { w.remove(&autoscalingv2.HorizontalPodAutoscaler{}, elastic) }},
	{"change the load", 24, func(w *world) { w.nodes.setLoad(w.rng.Int64N(700)) }},
}

func (w *world) createElastic() {
	w.tolerate(w.Create(w.t.Context(), &appsv1.Deployment{ObjectMeta: metaOf(elastic), Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To(1 + w.rng.Int32N(4)), Selector: selector(elastic), Template: template(elastic, w.image()),
	}}))
}

func (w *world) createAutoscaler() {
	hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metaOf(elastic), Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: elastic},
		Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
			Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To[int32](50)},
		}}},
	}}
	w.setLimits(hpa)
	w.tolerate(w.Create(w.t.Context(), hpa))
}

func (w *world) setLimits(hpa *autoscalingv2.HorizontalPodAutoscaler) {
	least := 1 + w.rng.Int32N(3)
	hpa.Spec.MinReplicas, hpa.Spec.MaxReplicas = ptr.To(least), least+w.rng.Int32N(9)
	hpa.Spec.Behavior = behaviors[w.rng.IntN(len(behaviors))].DeepCopy()
}

func (w *world) editAutoscaler() {
	change(w, &autoscalingv2.HorizontalPodAutoscaler{}, "default", elastic, w.setLimits)
}

// behaviors are ways to scale, each with one policy per direction; nil is the
// default.
var behaviors = []*autoscalingv2.HorizontalPodAutoscalerBehavior{
	nil,
	{ScaleUp: scaling(0, autoscalingv2.PodsScalingPolicy, 2, 60), ScaleDown: scaling(60, autoscalingv2.PodsScalingPolicy, 1, 60)},
	{ScaleUp: scaling(120, autoscalingv2.PercentScalingPolicy, 50, 30), ScaleDown: scaling(0, autoscalingv2.PercentScalingPolicy, 50, 90)},
	{ScaleUp: scaling(0, autoscalingv2.PercentScalingPolicy, 100, 15), ScaleDown: &autoscalingv2.HPAScalingRules{SelectPolicy: ptr.To(autoscalingv2.DisabledPolicySelect)}},
}

func scaling(window int32, kind autoscalingv2.HPAScalingPolicyType, value, period int32) *autoscalingv2.HPAScalingRules {
	return &autoscalingv2.HPAScalingRules{
		StabilizationWindowSeconds: &window, SelectPolicy: ptr.To(autoscalingv2.MaxChangePolicySelect),
		Policies: []autoscalingv2.HPAScalingPolicy{{Type: kind, Value: value, PeriodSeconds: period}},
	}
}

// pace is how a workload may be scaled in one direction.
type pace struct {
	window, period time.Duration // of the stabilization and of the policy
	disabled       bool
	// reach is how far a policy goes from a number of pods.
	reach func(from int32) int32
}

// paces reads the rules of an autoscaler, for up and down.
func paces(hpa *autoscalingv2.HorizontalPodAutoscaler) (up, down pace) {
	up = pace{reach: func(from int32) int32 { return max(2*from, 4) }}
	down = pace{window: 5 * time.Minute, reach: func(int32) int32 { return 0 }}
	if b := hpa.Spec.Behavior; b != nil {
		return paceOf(b.ScaleUp, +1), paceOf(b.ScaleDown, -1)
	}
	return up, down
}

func paceOf(r *autoscalingv2.HPAScalingRules, direction int32) pace {
	p := pace{disabled: *r.SelectPolicy == autoscalingv2.DisabledPolicySelect, window: time.Duration(ptr.Deref(r.StabilizationWindowSeconds, 0)) * time.Second}
	if p.disabled {
		return p
	}
	policy := r.Policies[0]
	p.period = time.Duration(policy.PeriodSeconds) * time.Second
	p.reach = func(from int32) int32 {
		if policy.Type == autoscalingv2.PodsScalingPolicy {
			return from + direction*policy.Value
		}
		n := float64(from) * (1 + float64(direction*policy.Value)/100)
		if direction > 0 {
			n = math.Ceil(n)
		}
		return int32(n)
	}
	return p
}

// autoscaling is the promise of autoscalers: a workload stays within their
// limits, and is scaled no faster and no more often than they say.
type autoscaling struct {
	// specs are the autoscaler as it was from then on, nil where there was none.
	specs []autoscalerSince
	// sizes are those of each Deployment from then on.
	sizes map[types.UID][]sighting
}

type autoscalerSince struct {
	since time.Time
	hpa   *autoscalingv2.HorizontalPodAutoscaler
}

// remember is longer than any window or period.
const remember = 10 * time.Minute

func (a *autoscaling) check(s *state, e event) error {
	if hpa, ok := e.old.(*autoscalingv2.HorizontalPodAutoscaler); ok && e.obj == nil {
		a.note(s, nil, hpa)
	}
	switch o := e.obj.(type) {
	case *autoscalingv2.HorizontalPodAutoscaler:
		old, _ := e.old.(*autoscalingv2.HorizontalPodAutoscaler)
		a.note(s, o, old)
	case *appsv1.Deployment:
		if o.Name != elastic {
			return nil
		}
		return a.scaled(s, o, e.old == nil)
	}
	return nil
}

func (a *autoscaling) note(s *state, hpa, old *autoscalingv2.HorizontalPodAutoscaler) {
	if hpa != nil && old != nil && equality.Semantic.DeepEqual(hpa.Spec, old.Spec) {
		return
	}
	a.specs = append(a.specs, autoscalerSince{s.now, hpa})
	for len(a.specs) > 1 && s.now.Sub(a.specs[1].since) > remember {
		a.specs = a.specs[1:]
	}
}

// lately returns the autoscaler as it was at any time of the last while.
func (a *autoscaling) lately(s *state, while time.Duration) (found []*autoscalingv2.HorizontalPodAutoscaler) {
	for i, one := range a.specs {
		if i+1 == len(a.specs) || s.now.Sub(a.specs[i+1].since) <= while {
			found = append(found, one.hpa)
		}
	}
	return found
}

func (a *autoscaling) scaled(s *state, d *appsv1.Deployment, first bool) error {
	if a.sizes == nil {
		a.sizes = make(map[types.UID][]sighting)
	}
	before, size := a.sizes[d.UID], *d.Spec.Replicas
	if first || len(before) == 0 {
		a.sizes[d.UID] = []sighting{{s.now, size}}
		return nil
	}
	was := before[len(before)-1].n
	if was == size {
		return nil
	}
	a.sizes[d.UID] = append(before, sighting{s.now, size})
	if err := a.within(s, size); err != nil {
		return err
	}
	return a.inPace(s, before, was, size)
}

func (a *autoscaling) within(s *state, size int32) error {
	for _, hpa := range a.lately(s, lateness) {
		if hpa != nil && *hpa.Spec.MinReplicas <= size && size <= hpa.Spec.MaxReplicas {
			return nil
		}
	}
	return fmt.Errorf("%s is scaled to %d, outside of its autoscaler's limits", elastic, size)
}

// inPace compares a step with those before it, if the autoscaler was the same all
// the while. What was done before its process was killed it does not know.
func (a *autoscaling) inPace(s *state, before []sighting, was, size int32) error {
	hpa := a.specs[len(a.specs)-1].hpa
	if hpa == nil || was < *hpa.Spec.MinReplicas || was > hpa.Spec.MaxReplicas {
		return nil
	}
	p, down := paces(hpa)
	direction := int32(+1)
	if size < was {
		p, direction = down, -1
	}
	if while := max(p.window, p.period) + lateness; len(a.lately(s, while)) != 1 || s.now.Sub(s.killed) <= while {
		return nil
	}
	if p.disabled {
		return fmt.Errorf("%s is scaled from %d to %d, which is disabled", elastic, was, size)
	}
	// A step the other way, beyond this size, was recommended within the window.
	for i := len(before) - 1; i > 0 && s.now.Sub(before[i].since) < p.window-lateness; i-- {
		if direction*(before[i-1].n-before[i].n) > 0 && direction*(size-before[i].n) > 0 {
			return fmt.Errorf("%s is scaled from %d to %d, %s after %d were recommended", elastic, was, size, s.now.Sub(before[i].since), before[i].n)
		}
	}
	furthest := p.reach(was)
	for i := len(before) - 1; i > 0 && s.now.Sub(before[i].since) < p.period+lateness; i-- {
		if start := before[i-1].n; s.now.Sub(before[i].since) < p.period-lateness {
			furthest = p.reach(start) // that step counts
		} else if direction*(p.reach(start)-furthest) > 0 {
			furthest = p.reach(start) // it may
		}
	}
	if direction*(size-furthest) > 0 && direction*(size-was) > 0 {
		return fmt.Errorf("%s is scaled from %d to %d, its policy goes to %d", elastic, was, size, furthest)
	}
	return nil
}

// autoscalerUnmet says what an autoscaler has not done once all is at rest, ""
// if nothing.
func autoscalerUnmet(s *state, hpa *autoscalingv2.HorizontalPodAutoscaler, load int64) string {
	d := find[*appsv1.Deployment](s, hpa.Namespace, elastic)
	if d == nil {
		return ""
	}
	n, least, most := *d.Spec.Replicas, *hpa.Spec.MinReplicas, hpa.Spec.MaxReplicas
	_, down := paces(hpa)
	if n < least || n > most {
		return fmt.Sprintf("leaves %d pods, its limits are %d and %d", n, least, most)
	}
	// What a pod uses is told in whole thousandths.
	ratio := math.Ceil(float64(load)/float64(n)) / wantedUse
	wanted := min(max(int32(math.Ceil(ratio*float64(n))), least), most)
	if ratio > 1.1 && n < wanted || ratio < 0.9 && n > wanted && !down.disabled {
		return fmt.Sprintf("leaves %d pods with a load of %d, which is one for %d", n, load, wanted)
	}
	return ""
}
