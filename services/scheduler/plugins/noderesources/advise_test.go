package noderesources

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

func going(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }

func daemon(p *corev1.Pod) {
	yes := true
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "d", Controller: &yes}}
}

// TestAdvise is of nodes of 4 CPUs and 8Gi.
func TestAdvise(t *testing.T) {
	pod := func(name, cpu string) *schedtest.PodBuilder { return schedtest.Pod(name).CPU(cpu) }
	for _, tt := range []struct {
		name   string
		pod    *schedtest.PodBuilder
		there  []*schedtest.PodBuilder
		detail string
		want   []string
	}{
		{"fits", pod("p", "1"), nil, "", nil},
		{"one pod would do", pod("p", "300m"), []*schedtest.PodBuilder{pod("x", "3880m")},
			"needs 300m of cpu, 120m of 4 are free", []string{"evict default/x", "request at most 120m of cpu"}},
		{"the smallest two that would do", pod("p", "1"), []*schedtest.PodBuilder{pod("a", "500m"), pod("b", "1500m"), pod("c", "1"), pod("d", "1")},
			"needs 1 of cpu, 0 of 4 are free", []string{"evict default/c", "evict default/d"}},
		{"less important ones first", pod("p", "1").Priority(5), []*schedtest.PodBuilder{pod("a", "1").Priority(3), pod("b", "3")},
			"needs 1 of cpu, 0 of 4 are free", []string{"evict default/b", "evict default/a"}},
		{"more important ones stay", pod("p", "1"), []*schedtest.PodBuilder{pod("a", "4").Priority(1)},
			"needs 1 of cpu, 0 of 4 are free", nil},
		{"those of DaemonSets would come back", pod("p", "1"), []*schedtest.PodBuilder{pod("a", "4").With(daemon)},
			"needs 1 of cpu, 0 of 4 are free", nil},
		{"several together, no more than needed", pod("p", "2500m"), []*schedtest.PodBuilder{pod("a", "500m"), pod("b", "1500m"), pod("c", "2")},
			"needs 2500m of cpu, 0 of 4 are free", []string{"evict default/a, default/c"}},
		{"room is being made", pod("p", "1"), []*schedtest.PodBuilder{pod("a", "3").With(going), pod("b", "1")},
			"needs 1 of cpu, 0 of 4 are free", []string{"wait for the end of default/a"}},
		{"too little room is being made", pod("p", "2"), []*schedtest.PodBuilder{pod("a", "1").With(going), pod("b", "3")},
			"needs 2 of cpu, 0 of 4 are free", []string{"evict default/b"}},
		{"too large for the node", pod("p", "5"), []*schedtest.PodBuilder{pod("a", "1")},
			"needs 5 of cpu, 3 of 4 are free", []string{"request at most 3 of cpu"}},
		{"two resources", pod("p", "3").Memory("6Gi"), []*schedtest.PodBuilder{pod("a", "2").Memory("1Gi"), schedtest.Pod("b").Memory("3Gi")},
			"needs 3 of cpu, 2 of 4 are free; 6Gi of memory, 4Gi of 8Gi are free", []string{"evict default/a, default/b", "request at most 2 of cpu and 4Gi of memory"}},
		{"a resource the node has not", schedtest.Pod("p").Request("example.com/gpu", "2"), nil, "needs 2 of example.com/gpu, the node has none", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := New(DefaultArgs(), nil, nil)
			node := schedtest.Node("n").Pods(tt.there...).Info()
			got := p.Advise(t.Context(), nil, tt.pod.Info(), node)
			var texts []string
			for _, r := range got.Remedies {
				texts = append(texts, r.Description)
				if r.Kind != framework.EvictPods && r.Kind != framework.AwaitPods {
					continue
				}
				without := node.Clone()
				for _, key := range r.Pods {
					without.RemovePod(types.UID(strings.TrimPrefix(key, "default/")))
				}
				if s := p.Filter(t.Context(), nil, tt.pod.Info(), without); !s.Success() {
					t.Errorf("%q does not help: %s", r.Description, s.Message())
				}
			}
			if diff := cmp.Diff(tt.want, texts); diff != "" || got.Detail != tt.detail {
				t.Errorf("%q %s", got.Detail, diff)
			}
		})
	}
	full := schedtest.Node("n").Allocatable("pods", "1").Pods(schedtest.Pod("a")).Info()
	got := New(DefaultArgs(), nil, nil).Advise(t.Context(), nil, schedtest.Pod("p").Info(), full)
	if got.Detail != "needs a place, all 1 are taken" || len(got.Remedies) != 1 || got.Remedies[0].Description != "evict default/a" {
		t.Errorf("%+v", got)
	}
}
