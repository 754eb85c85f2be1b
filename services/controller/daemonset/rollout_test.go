package daemonset

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/podset"
)

type silence struct{}

func (silence) Event(kinds.Object, string, string, string) {}

// daemon returns a pod of a node. It has been ready for an hour unless it is changed.
func daemon(name, hash string, change ...func(*corev1.Pod)) *corev1.Pod {
	hour := metav1.NewTime(time.Now().Add(-time.Hour))
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: hour, Labels: map[string]string{appsv1.ControllerRevisionHashLabelKey: hash}},
		Spec:       corev1.PodSpec{NodeName: "n"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{
			Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: hour,
		}}},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func unready(p *corev1.Pod)   { p.Status.Conditions = nil }
func justReady(p *corev1.Pod) { p.Status.Conditions[0].LastTransitionTime = metav1.Now() }
func leaving(p *corev1.Pod)   { p.DeletionTimestamp = ptr.To(metav1.Now()) }
func failed(p *corev1.Pod)    { p.Status = corev1.PodStatus{Phase: corev1.PodFailed} }
func young(p *corev1.Pod)     { p.CreationTimestamp = metav1.Now() }
func unbound(p *corev1.Pod)   { p.Spec.NodeName = "" }

// spot returns a node with pods; "new" is the newest revision.
func spot(node string, f fit, pods ...*corev1.Pod) *place {
	p := &place{node: node, fit: f}
	for _, pod := range pods {
		p.add(pod, "new")
	}
	return p
}

func rolling(surge, unavailable int32) appsv1.DaemonSetUpdateStrategy {
	return appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{
		MaxSurge: ptr.To(intstr.FromInt32(surge)), MaxUnavailable: ptr.To(intstr.FromInt32(unavailable)),
	}}
}

func rolloutOf(strategy appsv1.DaemonSetUpdateStrategy, places ...*place) *rollout {
	return &rollout{
		reconciler: &reconciler{control: &podset.Control{Events: silence{}}, backoff: newBackoff()},
		set:        &appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{UpdateStrategy: strategy, MinReadySeconds: 60}},
		hash:       "new", places: places, now: time.Now(),
	}
}

func TestPlan(t *testing.T) {
	should, may, mustNot := fit{run: true, stay: true}, fit{stay: true}, fit{}
	onDelete := appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
	for name, tt := range map[string]struct {
		strategy       appsv1.DaemonSetUpdateStrategy
		places         []*place
		create, remove []string
	}{
		"a node without a pod":            {rolling(0, 1), []*place{spot("a", should)}, []string{"a"}, nil},
		"not before the last one is gone": {rolling(0, 1), []*place{spot("a", should, daemon("x", "new", leaving))}, nil, nil},
		"one that has ended and is held by a finalizer is gone": {
			rolling(0, 1), []*place{spot("a", should, daemon("x", "new", failed, leaving))}, []string{"a"}, nil,
		},
		"with a surge, beside the last one": {rolling(1, 0), []*place{spot("a", should, daemon("x", "new", leaving))}, []string{"a"}, nil},
		"no pod may stay":                   {rolling(0, 1), []*place{spot("a", mustNot, daemon("x", "new"), daemon("y", "old", failed))}, nil, []string{"x", "y"}},
		"a failed one is replaced":          {rolling(0, 1), []*place{spot("a", should, daemon("x", "new", failed))}, []string{"a"}, []string{"x"}},
		"of two the older one stays":        {rolling(0, 1), []*place{spot("a", should, daemon("x", "new"), daemon("y", "new", young))}, nil, []string{"y"}},
		"old pods go as far as may be down": {
			rolling(0, 1), []*place{spot("a", should, daemon("x", "old")), spot("b", should, daemon("y", "old"))}, nil, []string{"x"},
		},
		"one that serves nobody first": {
			rolling(0, 1), []*place{spot("a", should, daemon("x", "old")), spot("b", should, daemon("y", "old", unready))}, nil, []string{"y"},
		},
		"new pods come as far as may surge": {
			rolling(1, 0), []*place{spot("a", should, daemon("x", "old")), spot("b", should, daemon("y", "old"))}, []string{"a"}, nil,
		},
		"beside one that is not available in any case, which stays": {
			rolling(1, 0), []*place{spot("a", should, daemon("x", "old")), spot("b", should, daemon("y", "old", justReady))}, []string{"a", "b"}, nil,
		},
		"while a new pod is not available the old one stays": {
			rolling(1, 0), []*place{spot("a", should, daemon("x", "old", justReady), daemon("z", "new", unready, young))}, nil, nil,
		},
		"unless it is not ready either": {
			rolling(1, 0), []*place{spot("a", should, daemon("x", "old", unready), daemon("z", "new", unready, young))}, nil, []string{"x"},
		},
		"a new pod that is available does not count as surging": {
			rolling(1, 0), []*place{spot("a", should, daemon("x", "old"), daemon("z", "new")), spot("b", should, daemon("y", "old"))}, []string{"b"}, []string{"x"},
		},
		"where no new one may come the old one stays as long as it is needed": {
			rolling(1, 0), []*place{spot("a", may, daemon("x", "old")), spot("b", should, daemon("y", "new", unready))}, nil, nil,
		},
		"and goes when there are enough": {
			rolling(1, 0), []*place{spot("a", may, daemon("x", "old")), spot("b", should, daemon("y", "new"))}, nil, []string{"x"},
		},
		"on deletion": {onDelete, []*place{spot("a", should, daemon("x", "old"))}, nil, nil},
		"on deletion the older of two stays": {
			onDelete, []*place{spot("a", should, daemon("x", "old"), daemon("z", "new", young))}, nil, []string{"z"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			create, remove := rolloutOf(tt.strategy, tt.places...).plan()
			var names []string
			for _, pod := range remove {
				names = append(names, pod.Name)
			}
			if diff := cmp.Diff(tt.create, create); diff != "" {
				t.Errorf("nodes that need a pod (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.remove, names); diff != "" {
				t.Errorf("pods to delete (-want +got):\n%s", diff)
			}
		})
	}
}

func TestByAge(t *testing.T) {
	ordered := []*corev1.Pod{daemon("a", ""), daemon("b", "", young), daemon("c", "", unbound), daemon("d", "", unbound, young)}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := byAge(a, b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%s compared with %s: %d", a.Name, b.Name, got)
			}
		}
	}
}

// TestStatusOfTwoRevisions: a node is updated when its old pod is gone or going, so
// that who waits for a rollout waits until new pods serve.
func TestStatusOfTwoRevisions(t *testing.T) {
	should := fit{run: true, stay: true}
	got := rolloutOf(rolling(1, 0),
		spot("a", should, daemon("x", "old"), daemon("z", "new", unready, young)),
		spot("b", should, daemon("y", "old", leaving, unready), daemon("w", "new", young)),
		spot("c", should, daemon("v", "new")),
		spot("d", fit{stay: true}, daemon("u", "old")),
		spot("e", should),
	).status()
	want := appsv1.DaemonSetStatus{
		DesiredNumberScheduled: 4, CurrentNumberScheduled: 3, NumberMisscheduled: 1,
		NumberReady: 3, NumberAvailable: 3, NumberUnavailable: 1, UpdatedNumberScheduled: 2,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
