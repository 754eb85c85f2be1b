package volumerestrictions

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// TestAdvise: what helps is said of every node, wherever the pod is that has the
// claim.
func TestAdvise(t *testing.T) {
	exclusive := schedtest.Claim("data", "")
	exclusive.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
	const taken, another = "claim data is for one pod at a time, and default/q on n2 uses it", "use another claim than data"
	for _, tt := range []struct {
		name   string
		there  *schedtest.PodBuilder
		detail string
		want   []string
	}{
		{"free", schedtest.Pod("q"), "", nil},
		{"taken", schedtest.Pod("q").Claims("data"), taken, []string{"evict default/q", another}},
		{"taken by one that is going", schedtest.Pod("q").Claims("data").With(func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }), taken,
			[]string{"wait for the end of default/q", another}},
		{"taken by a more important one", schedtest.Pod("q").Claims("data").Priority(1), taken, []string{another}},
	} {
		p, state, pod := New(schedtest.NewStorage(exclusive)), &framework.CycleState{}, schedtest.Pod("p").Claims("data").Info()
		n1 := schedtest.Node("n1").Info()
		p.PreFilter(t.Context(), state, pod, snapshot.New(n1, schedtest.Node("n2").Pods(tt.there).Info()))
		got := p.Advise(t.Context(), state, pod, n1)
		var texts []string
		for _, r := range got.Remedies {
			texts = append(texts, r.Description)
		}
		if diff := cmp.Diff(tt.want, texts); diff != "" || got.Detail != tt.detail {
			t.Errorf("%s: %q %s", tt.name, got.Detail, diff)
		}
	}
}
