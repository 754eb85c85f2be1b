package horizontalpodautoscaler

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/controller/controllertest"
)

// state is one pod: what is known of it, and its usage of the CPU in
// thousandths, -1 without a sample. Each pod requests one CPU.
type state struct {
	kind  string
	usage int64
}

func (s state) pod(n int, now time.Time) *corev1.Pod {
	long := metav1.NewTime(now.Add(-time.Hour))
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("p", n)}, Status: corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &long}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}}}
	ready := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: long}
	switch s.kind {
	case "pending":
		p.Status.Phase = corev1.PodPending
	case "failed":
		p.Status.Phase = corev1.PodFailed
	case "going":
		p.DeletionTimestamp = &long
	case "starting": // not ready since its start a moment ago
		p.Status.StartTime = ptr.To(metav1.NewTime(now.Add(-10 * time.Second)))
		ready.Status, ready.LastTransitionTime = corev1.ConditionFalse, *p.Status.StartTime
	case "just ready": // for less time than the sample is long
		p.Status.StartTime = ptr.To(metav1.NewTime(now.Add(-time.Minute)))
		ready.LastTransitionTime = metav1.NewTime(now.Add(-5 * time.Second))
	case "never ready":
		ready.Status = corev1.ConditionFalse
	case "overloaded": // was ready once
		ready.Status, ready.LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(now.Add(-10*time.Minute))
	}
	p.Status.Conditions = []corev1.PodCondition{ready}
	return p
}

func TestReplicas(t *testing.T) {
	times := func(n int, s state) []state {
		all := make([]state, n)
		for i := range all {
			all[i] = s
		}
		return all
	}
	synctest.Test(t, func(t *testing.T) {
		for name, tt := range map[string]struct {
			pods   []state
			target int32 // percent of the request
			want   int32 // -1: an error
			usage  int32 // percent now
		}{
			"as it should be":                  {times(3, state{"", 500}), 50, 3, 50},
			"twice as much":                    {times(3, state{"", 1000}), 50, 6, 100},
			"half as much":                     {times(4, state{"", 250}), 50, 2, 25},
			"a little more is tolerated":       {times(10, state{"", 550}), 50, 10, 55},
			"more than a little is not":        {times(10, state{"", 560}), 50, 12, 56},
			"a little less is tolerated":       {times(10, state{"", 450}), 50, 10, 45},
			"rounded up":                       {times(3, state{"", 600}), 50, 4, 60},
			"nothing used":                     {times(3, state{"", 0}), 50, 0, 0},
			"pending pods use nothing yet":     {append(times(3, state{"", 1000}), state{"pending", -1}), 50, 6, 100},
			"so that few ask for less":         {append(times(1, state{"", 1000}), times(3, state{"pending", -1})...), 50, 4, 100},
			"starting pods do not count":       {append(times(2, state{"", 250}), state{"starting", 1000}), 50, 1, 25},
			"nor those ready a moment ago":     {append(times(2, state{"", 250}), state{"just ready", 1000}), 50, 1, 25},
			"nor those that never were":        {append(times(2, state{"", 250}), state{"never ready", 1000}), 50, 1, 25},
			"an overloaded pod counts":         {append(times(2, state{"", 500}), state{"overloaded", 2000}), 50, 6, 100},
			"pods that end do not count":       {append(times(2, state{"", 1000}), state{"failed", 0}, state{"going", 0}), 50, 4, 100},
			"missing: all used when shrinking": {append(times(2, state{"", 200}), state{"", -1}), 50, 3, 20},
			"missing: none used when growing":  {append(times(2, state{"", 1000}), state{"", -1}), 50, 4, 100},
			"a change is never turned round":   {append(times(2, state{"", 400}), times(2, state{"", -1})...), 50, 4, 40},
			"nothing known":                    {times(2, state{"pending", -1}), 50, -1, 0},
		} {
			now := time.Now()
			samples, asked := make(map[string]sample), make(map[string]int64)
			var pods []*corev1.Pod
			for i, s := range tt.pods {
				p := s.pod(i, now)
				pods = append(pods, p)
				asked[p.Name] = 1000
				if s.usage >= 0 {
					samples[p.Name] = sample{value: s.usage, at: now, window: 15 * time.Second}
				}
			}
			q, err := ask(int32(len(pods)), toleranceOf(nil), group(pods, samples, corev1.ResourceCPU, now), samples)
			if err != nil {
				if tt.want >= 0 {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			percent, err := utilization(q.usage, asked)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := q.ofRequest(asked, tt.target); err != nil || got != tt.want || percent != tt.usage {
				t.Errorf("%s: %d at %d%% (%v), want %d at %d%%", name, got, percent, err, tt.want, tt.usage)
			}
		}
	})
}

// scaled is an autoscaler between 1 and 100 pods, looked at every 15 seconds.
type scaled struct {
	*round
	current int32
}

func newScaled(current int32, b *autoscalingv2.HorizontalPodAutoscalerBehavior) *scaled {
	r := &reconciler{events: &controllertest.Events{}, memory: newMemory()}
	hpa := &autoscalingv2.HorizontalPodAutoscaler{Spec: autoscalingv2.HorizontalPodAutoscalerSpec{MaxReplicas: 100, Behavior: b}}
	s := &scaled{round: &round{reconciler: r, key: "ns/h", hpa: hpa, now: time.Now()}, current: current}
	r.memory.begin(s.key, current, s.now)
	return s
}

// step proposes a number and returns what becomes of it, after one period.
func (s *scaled) step(proposed int32) int32 {
	time.Sleep(period)
	s.now = time.Now()
	n := s.normalize(s.current, proposed, 1)
	if n != s.current {
		s.memory.scaled(s.key, n-s.current, s.now)
		s.current = n
	}
	return n
}

func (s *scaled) reason(t autoscalingv2.HorizontalPodAutoscalerConditionType) string {
	for _, c := range s.hpa.Status.Conditions {
		if c.Type == t {
			return string(c.Status) + " " + c.Reason
		}
	}
	return ""
}

func TestBehavior(t *testing.T) {
	one := ptr.To[int32]
	rule := func(kind autoscalingv2.HPAScalingPolicyType, value, seconds int32) autoscalingv2.HPAScalingPolicy {
		return autoscalingv2.HPAScalingPolicy{Type: kind, Value: value, PeriodSeconds: seconds}
	}
	up := func(r autoscalingv2.HPAScalingRules) *autoscalingv2.HorizontalPodAutoscalerBehavior {
		return &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &r}
	}
	down := func(r autoscalingv2.HPAScalingRules) *autoscalingv2.HorizontalPodAutoscalerBehavior {
		if r.StabilizationWindowSeconds == nil {
			r.StabilizationWindowSeconds = one(0)
		}
		return &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &r}
	}
	for name, tt := range map[string]struct {
		behavior      *autoscalingv2.HorizontalPodAutoscalerBehavior
		from          int32
		proposals     []int32 // one each period
		want          []int32
		able, limited string // the reasons at the end
	}{
		"the first may be four at once": {nil, 1, []int32{50, 50, 50}, []int32{4, 8, 16}, "True ReadyForNewScale", "True ScaleUpLimit"},
		"never more than the maximum":   {nil, 90, []int32{500}, []int32{100}, "True ReadyForNewScale", "True TooManyReplicas"},
		"down only when it stays so":    {nil, 10, []int32{2, 2, 2}, []int32{10, 10, 10}, "True ScaleDownStabilized", "False DesiredWithinRange"},
		"never fewer than the minimum":  {down(autoscalingv2.HPAScalingRules{}), 10, []int32{0}, []int32{1}, "True ReadyForNewScale", "True TooFewReplicas"},
		"within the range":              {nil, 10, []int32{15}, []int32{15}, "True ReadyForNewScale", "False DesiredWithinRange"},
		"so many pods in a period":      {up(autoscalingv2.HPAScalingRules{Policies: []autoscalingv2.HPAScalingPolicy{rule("Pods", 2, 30)}}), 10, []int32{50, 50, 50, 50}, []int32{12, 12, 14, 14}, "True ReadyForNewScale", "True ScaleUpLimit"},
		"so large a share, rounded up":  {up(autoscalingv2.HPAScalingRules{Policies: []autoscalingv2.HPAScalingPolicy{rule("Percent", 10, 15)}}), 11, []int32{50}, []int32{13}, "True ReadyForNewScale", "True ScaleUpLimit"},
		"the policy that allows most":   {up(autoscalingv2.HPAScalingRules{Policies: []autoscalingv2.HPAScalingPolicy{rule("Pods", 2, 15), rule("Percent", 50, 15)}}), 10, []int32{50}, []int32{15}, "True ReadyForNewScale", "True ScaleUpLimit"},
		"the policy that allows least":  {up(autoscalingv2.HPAScalingRules{SelectPolicy: ptr.To(autoscalingv2.MinChangePolicySelect), Policies: []autoscalingv2.HPAScalingPolicy{rule("Pods", 2, 15), rule("Percent", 50, 15)}}), 10, []int32{50}, []int32{12}, "True ReadyForNewScale", "True ScaleUpLimit"},
		"never up":                      {up(autoscalingv2.HPAScalingRules{SelectPolicy: ptr.To(autoscalingv2.DisabledPolicySelect)}), 10, []int32{50}, []int32{10}, "True ReadyForNewScale", "True ScaleUpLimit"},
		"up only when it stays so":      {up(autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: one(40)}), 10, []int32{14, 14, 14}, []int32{10, 10, 14}, "True ReadyForNewScale", "False DesiredWithinRange"},
		"down by so many pods":          {down(autoscalingv2.HPAScalingRules{Policies: []autoscalingv2.HPAScalingPolicy{rule("Pods", 3, 60)}}), 10, []int32{1, 1, 1, 1, 1}, []int32{7, 7, 7, 7, 4}, "True ReadyForNewScale", "True ScaleDownLimit"},
		"down by a share":               {down(autoscalingv2.HPAScalingRules{Policies: []autoscalingv2.HPAScalingPolicy{rule("Percent", 25, 15)}}), 10, []int32{1}, []int32{7}, "True ReadyForNewScale", "True ScaleDownLimit"},
		"down by what changes least":    {down(autoscalingv2.HPAScalingRules{SelectPolicy: ptr.To(autoscalingv2.MinChangePolicySelect), Policies: []autoscalingv2.HPAScalingPolicy{rule("Percent", 50, 15), rule("Pods", 1, 15)}}), 10, []int32{1}, []int32{9}, "True ReadyForNewScale", "True ScaleDownLimit"},
		"never down":                    {down(autoscalingv2.HPAScalingRules{SelectPolicy: ptr.To(autoscalingv2.DisabledPolicySelect)}), 10, []int32{1}, []int32{10}, "True ReadyForNewScale", "True ScaleDownLimit"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScaled(tt.from, tt.behavior)
				for i, proposed := range tt.proposals {
					if got := s.step(proposed); got != tt.want[i] {
						t.Errorf("round %d: %d, want %d", i, got, tt.want[i])
					}
				}
				if able, limited := s.reason(autoscalingv2.AbleToScale), s.reason(autoscalingv2.ScalingLimited); able != tt.able || limited != tt.limited {
					t.Errorf("able %q, limited %q; want %q, %q", able, limited, tt.able, tt.limited)
				}
			})
		})
	}
}

func TestStabilizationEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScaled(10, nil)
		rounds := 0
		for s.step(2) == 10 {
			rounds++
		}
		if waited := time.Duration(rounds+1) * period; waited != 5*time.Minute || s.current != 2 {
			t.Errorf("scaled to %d after %s", s.current, waited)
		}
	})
}
