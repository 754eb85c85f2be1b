package volumezone

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

func TestFilter(t *testing.T) {
	for _, tt := range []struct {
		name          string
		volume, nodes map[string]string
		want          bool
	}{
		{"no labels", nil, map[string]string{corev1.LabelTopologyZone: "b"}, true},
		{"same zone", map[string]string{corev1.LabelTopologyZone: "a"}, map[string]string{corev1.LabelTopologyZone: "a"}, true},
		{"another zone", map[string]string{corev1.LabelTopologyZone: "a"}, map[string]string{corev1.LabelTopologyZone: "b"}, false},
		{"one of its zones", map[string]string{corev1.LabelTopologyZone: "a__b"}, map[string]string{corev1.LabelTopologyZone: "b"}, true},
		{"the label's old name", map[string]string{corev1.LabelFailureDomainBetaZone: "a"}, map[string]string{corev1.LabelTopologyZone: "a"}, true},
		{"another region", map[string]string{corev1.LabelTopologyRegion: "x"}, map[string]string{corev1.LabelTopologyRegion: "y"}, false},
		{"nodes without zones", map[string]string{corev1.LabelTopologyZone: "a"}, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pv := schedtest.Volume("v", "", "")
			pv.Labels = tt.volume
			p, state := New(schedtest.NewStorage(pv, schedtest.Bound(schedtest.Claim("a", ""), "v"))), &framework.CycleState{}
			node := schedtest.Node("n")
			for k, v := range tt.nodes {
				node.Label(k, v)
			}
			pod := schedtest.Pod("p").Claims("a").Info()
			if _, s := p.PreFilter(t.Context(), state, pod, nil); s.Code() == framework.Skip {
				if !tt.want {
					t.Error("skipped")
				}
				return
			}
			if s := p.Filter(t.Context(), state, pod, node.Info()); s.Success() != tt.want || !tt.want && s.Message() != Reason {
				t.Errorf("%v %q", s.Code(), s.Message())
			}
		})
	}
}
