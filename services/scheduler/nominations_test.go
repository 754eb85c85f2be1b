package scheduler

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// waiting returns a pod whose status shows a nomination.
func waiting(name string, priority int32, shown string) *snapshot.PodInfo {
	return schedtest.Pod(name).Priority(priority).With(func(p *corev1.Pod) { p.Status.NominatedNodeName = shown }).Info()
}

func names(pods []*snapshot.PodInfo) []string {
	var out []string
	for _, p := range pods {
		out = append(out, p.Pod.Name)
	}
	return out
}

// TestDisplace: low and equal are nominated to n1, elsewhere to n2. One of equal's
// priority comes to n1.
func TestDisplace(t *testing.T) {
	n := newNominations()
	low, equal := waiting("low", 1, ""), waiting("equal", 5, "")
	n.set(low, "n1")
	n.set(equal, "n1")
	n.set(waiting("elsewhere", 1, ""), "n2")
	come := waiting("come", 5, "")
	if diff := cmp.Diff([]string{"low"}, names(n.displace("n1", come))); diff != "" {
		t.Errorf("displaced (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"equal"}, names(n.On("n1", waiting("lowest", 0, "")))); diff != "" {
		t.Errorf("left on n1 (-want +got):\n%s", diff)
	}
	if left := n.On("n2", waiting("lowest", 0, "")); len(left) != 1 {
		t.Errorf("left on n2: %v", names(left))
	}
	n.set(low, "") // it has been tried, and still has no place
	shown := waiting("low", 1, "n1")
	if before := n.show(shown, "n1"); before != "" || n.known(shown).Pod.Status.NominatedNodeName != "" {
		t.Error("a status that shows late what was taken back counts")
	}
	n.show(low, "")
	if n.known(shown).Pod.Status.NominatedNodeName != "" {
		t.Error("an attempt that began before counts what was taken back")
	}
	for range 2 { // the second time after somebody else has taken it back
		if n.show(shown, "n1"); n.known(shown) != shown {
			t.Error("a new nomination does not count")
		}
		n.show(low, "")
	}
}

func TestNominationsTellWhatChanged(t *testing.T) {
	n := newNominations()
	pod := waiting("p", 1, "")
	for _, step := range []struct{ to, before string }{{"", ""}, {"n1", ""}, {"n1", ""}, {"n2", "n1"}, {"", "n2"}, {"", ""}} {
		if before := n.set(pod, step.to); before != step.before {
			t.Errorf("from %q to %q", before, step.to)
		}
	}
	n.set(pod, "n1")
	if node := n.remove(pod.Pod.UID); node != "n1" {
		t.Errorf("the pod was nominated to %q", node)
	}
	if n.Any() || len(n.byNode) != 0 || len(n.withdrawn) != 0 {
		t.Errorf("left: %v", n)
	}
}

// TestClearedNominations: what is about to be written of a pod stays, without the
// nomination.
func TestClearedNominations(t *testing.T) {
	w := newConditionWriter(nil, nil, nil)
	pod, other := waiting("p", 1, "n1").Pod, waiting("q", 1, "").Pod
	w.set(pod, corev1.PodReasonUnschedulable, "no room", "n1")
	w.clearNomination(pod)
	w.clearNomination(other)
	want := []verdict{
		{namespace: pod.Namespace, name: "p", uid: pod.UID, reason: corev1.PodReasonUnschedulable, message: "no room"},
		{namespace: other.Namespace, name: "q", uid: other.UID},
	}
	for _, expected := range want {
		if v, ok := w.next(); !ok || v != expected {
			t.Errorf("%+v, want %+v", v, expected)
		}
	}
	for name, tt := range map[string]struct {
		v    verdict
		want string
	}{
		"all":        {want[0], `{"metadata":{"uid":"p"},"status":{"conditions":[{"type":"PodScheduled","status":"False","lastProbeTime":null,"lastTransitionTime":null,"reason":"Unschedulable","message":"no room"}],"nominatedNodeName":""}}`},
		"nomination": {want[1], `{"metadata":{"uid":"q"},"status":{"nominatedNodeName":""}}`},
	} {
		patch, err := statusPatch(pod, tt.v, metav1.Time{})
		if err != nil || string(patch) != tt.want {
			t.Errorf("%s: %v\ngot  %s\nwant %s", name, err, patch, tt.want)
		}
	}
	if says(other, want[1]) {
		t.Error("a nomination that may be on its way is not taken back")
	}
}
