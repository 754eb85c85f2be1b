package interpodaffinity

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// TestAdvise: zone a has n1 with db and n2; zone b has n3 with a loner that
// keeps web away and four crowd pods; n4 has no zone.
func TestAdvise(t *testing.T) {
	crowd := []*schedtest.PodBuilder{app("loner").With(apart(term(corev1.LabelHostname, "web")))}
	for i := range 4 {
		crowd = append(crowd, schedtest.Pod(fmt.Sprint("crowd-", i)).Label("app", "crowd"))
	}
	leaving := app("old").With(func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} })
	nodes := snapshot.New(
		schedtest.Node("n1").Label(zone, "a").Pods(app("db"), leaving).Info(),
		schedtest.Node("n2").Label(zone, "a").Info(),
		schedtest.Node("n3").Label(zone, "b").Pods(crowd...).Info(),
		schedtest.Node("n4").Info(),
	)
	for _, tt := range []struct {
		name   string
		pod    *schedtest.PodBuilder
		node   string
		detail string
		want   []string
	}{
		{"apart from db", app("x").With(apart(term(zone, "db"))), "n2", "must keep away from default/db", []string{"evict default/db", "no longer keep away from default/db"}},
		{"apart from one that is going", app("x").With(apart(term(zone, "old"))), "n2", "must keep away from default/old", []string{"wait for the end of default/old", "no longer keep away from default/old"}},
		{"apart from many", app("x").With(apart(term(zone, "crowd"))), "n3", "must keep away from default/crowd-0, default/crowd-1, default/crowd-2 and 1 more",
			[]string{"no longer keep away from default/crowd-0, default/crowd-1, default/crowd-2 and 1 more"}},
		{"kept away", app("web"), "n3", "is kept away by default/loner", []string{"evict default/loner"}},
		{"without company", app("x").With(with(term(zone, "db"))), "n3", "needs a pod that matches app=db in topology.kubernetes.io/zone=b",
			[]string{"start a pod that matches app=db in topology.kubernetes.io/zone=b"}},
		{"outside of the topology", app("x").With(with(term(zone, "db"))), "n4", "the node has no label topology.kubernetes.io/zone", []string{"label the node with topology.kubernetes.io/zone"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, state := New(DefaultArgs(), func(string) labels.Set { return nil }), &framework.CycleState{}
			if _, s := p.PreFilter(t.Context(), state, tt.pod.Info(), nodes); !s.Success() {
				t.Fatal(s.Code())
			}
			if s := p.Filter(t.Context(), state, tt.pod.Info(), nodes.Get(tt.node)); s.Success() {
				t.Error("the node is not rejected")
			}
			got := p.Advise(t.Context(), state, tt.pod.Info(), nodes.Get(tt.node))
			var texts []string
			for _, r := range got.Remedies {
				texts = append(texts, r.Description)
			}
			if diff := cmp.Diff(tt.want, texts); diff != "" || got.Detail != tt.detail {
				t.Errorf("%q %s", got.Detail, diff)
			}
		})
	}
}
