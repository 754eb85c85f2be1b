package tainttoleration

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

func tolerating(tolerations ...corev1.Toleration) *schedtest.PodBuilder {
	return schedtest.Pod("p").With(func(p *corev1.Pod) { p.Spec.Tolerations = tolerations })
}

func TestFilterAndScore(t *testing.T) {
	node := schedtest.Node("n")
	tainted := schedtest.Node("n").Taint("team", corev1.TaintEffectNoSchedule)
	evicting := schedtest.Node("n").Taint("team", corev1.TaintEffectNoExecute)
	soft := schedtest.Node("n").Taint("a", corev1.TaintEffectPreferNoSchedule).Taint("b", corev1.TaintEffectPreferNoSchedule)
	for _, tt := range []struct {
		name  string
		pod   *schedtest.PodBuilder
		node  *schedtest.NodeBuilder
		fits  bool
		score int64
	}{
		{"no taint", tolerating(), node, true, 0},
		{"NoSchedule", tolerating(), tainted, false, 0},
		{"NoExecute", tolerating(), evicting, false, 0},
		{"tolerated by key", tolerating(corev1.Toleration{Key: "team", Operator: corev1.TolerationOpExists}), tainted, true, 0},
		{"tolerated by everything", tolerating(corev1.Toleration{Operator: corev1.TolerationOpExists}), evicting, true, 0},
		{"another effect tolerated", tolerating(corev1.Toleration{Key: "team", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}), evicting, false, 0},
		{"put off", tolerating(), soft, true, 2},
		{"put off by one", tolerating(corev1.Toleration{Key: "a", Operator: corev1.TolerationOpExists}), soft, true, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := New().Filter(t.Context(), nil, tt.pod.Info(), tt.node.Info())
			if s.Success() != tt.fits || !tt.fits && s.Message() != Reason {
				t.Errorf("%v %q", s.Code(), s.Message())
			}
			if score, _ := New().Score(t.Context(), nil, tt.pod.Info(), tt.node.Info()); score != tt.score {
				t.Errorf("score %d, not %d", score, tt.score)
			}
		})
	}
}

func TestNormalizeScore(t *testing.T) {
	scores := []int64{0, 1, 2}
	New().NormalizeScore(t.Context(), nil, nil, scores)
	if scores[0] != 100 || scores[1] != 50 || scores[2] != 0 {
		t.Errorf("%v", scores)
	}
}

func TestHint(t *testing.T) {
	e := framework.Event{New: schedtest.Node("n").Taint("team", corev1.TaintEffectNoSchedule).Node()}
	if nowTolerated(tolerating().Info(), e) {
		t.Error("a tainted node helps")
	}
	e.New = schedtest.Node("n").Node()
	if !nowTolerated(tolerating().Info(), e) {
		t.Error("an untainted node does not help")
	}
}
