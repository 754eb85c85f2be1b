package volumerestrictions

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

func TestFilter(t *testing.T) {
	exclusive := schedtest.Claim("own", "")
	exclusive.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
	other := schedtest.Pod("q").Claims("own").With(func(p *corev1.Pod) { p.Namespace = "other" })
	for _, tt := range []struct {
		name  string
		pod   *schedtest.PodBuilder
		there *schedtest.PodBuilder
		want  framework.Code
	}{
		{"no claim", schedtest.Pod("p"), schedtest.Pod("q").Claims("own"), framework.Skip},
		{"a claim that may be shared", schedtest.Pod("p").Claims("shared"), schedtest.Pod("q").Claims("shared"), framework.Skip},
		{"free", schedtest.Pod("p").Claims("own"), schedtest.Pod("q").Claims("shared"), framework.Success},
		{"taken", schedtest.Pod("p").Claims("own"), schedtest.Pod("q").Claims("own"), framework.Unschedulable},
		{"another namespace's", schedtest.Pod("p").Claims("own"), other, framework.Success},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, state := New(schedtest.NewStorage(exclusive, schedtest.Claim("shared", ""))), &framework.CycleState{}
			node := schedtest.Node("n").Pods(tt.there).Info()
			_, got := p.PreFilter(t.Context(), state, tt.pod.Info(), snapshot.New(node))
			if got.Success() {
				got = p.Filter(t.Context(), state, tt.pod.Info(), node)
			}
			if got.Code() != tt.want {
				t.Errorf("%v %q", got.Code(), got.Message())
			}
			if e := (framework.Event{Resource: framework.AssignedPod, Action: framework.Delete, Old: tt.there.Pod()}); tt.want == framework.Unschedulable &&
				!p.EventsToRegister()[0].Covers(tt.pod.Info(), e) {
				t.Error("the end of the pod that has the claim does not help")
			}
		})
	}
}
