package admission_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/store"
	"navarch.dev/navarch/services/store/storetest"
)

func TestDefaultTolerationSeconds(t *testing.T) {
	short := store.DefaultConfig()
	short.Tolerations.NotReady, short.Tolerations.Unreachable = 60, 0
	var own int64 = 7
	unreachable := corev1.Toleration{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &own}
	for _, tt := range []struct {
		name                  string
		config                store.Config
		tolerations           []corev1.Toleration
		notReady, unreachable int64
	}{
		{name: "stock", config: store.DefaultConfig(), notReady: 300, unreachable: 300},
		{name: "shorter", config: short, notReady: 60, unreachable: 0},
		{name: "its own stays", config: short, tolerations: []corev1.Toleration{unreachable}, notReady: 60, unreachable: 7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := storetest.New(t, storetest.WithConfig(tt.config)).Client(storetest.Admin())
			pod := &corev1.Pod{ObjectMeta: named("p"), Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "c", Image: "c"}}, Tolerations: tt.tolerations,
			}}
			mustCreate(t, c, pod)
			got := make(map[string]int64)
			for _, toleration := range pod.Spec.Tolerations {
				got[toleration.Key] = *toleration.TolerationSeconds
			}
			if len(got) != 2 || got[corev1.TaintNodeNotReady] != tt.notReady || got[corev1.TaintNodeUnreachable] != tt.unreachable {
				t.Errorf("tolerations %v", got)
			}
		})
	}
	for _, seconds := range []int64{-1, -300} {
		config := store.DefaultConfig()
		config.Tolerations.Unreachable = seconds
		if config.Validate() == nil {
			t.Errorf("%d seconds were taken", seconds)
		}
	}
}
