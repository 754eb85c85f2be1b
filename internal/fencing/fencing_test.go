package fencing

import (
	"math"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestPromise(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "5s": 5 * time.Second, "3s": Shortest, "40s": Longest,
		"1s": 0, "41s": 0, "-5s": 0, "5": 0, "soon": 0,
	} {
		got, ok := Promise(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{PromiseAnnotation: text}}})
		if ok != (want > 0) || ok && got != want {
			t.Errorf("%q: %v, %v", text, got, ok)
		}
	}
	if _, ok := Promise(&coordinationv1.Lease{}); ok {
		t.Error("a Lease without annotations promises something")
	}
}

func TestAfter(t *testing.T) {
	const promise = 5 * time.Second
	tolerate := func(key string, effect corev1.TaintEffect, seconds *int64) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect, TolerationSeconds: seconds}
	}
	unreachable := func(seconds *int64) corev1.Toleration {
		return tolerate(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute, seconds)
	}
	for _, tt := range []struct {
		name        string
		tolerations []corev1.Toleration
		mirror      bool
		want        time.Duration
		fenced      bool
	}{
		{name: "says nothing", want: promise, fenced: true},
		{name: "of something else", tolerations: []corev1.Toleration{tolerate(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute, nil)}, want: promise, fenced: true},
		{name: "does not schedule", tolerations: []corev1.Toleration{tolerate(corev1.TaintNodeUnreachable, corev1.TaintEffectNoSchedule, nil)}, want: promise, fenced: true},
		{name: "shorter than the promise", tolerations: []corev1.Toleration{unreachable(ptr.To[int64](2))}, want: promise, fenced: true},
		{name: "longer", tolerations: []corev1.Toleration{unreachable(ptr.To[int64](300))}, want: 300 * time.Second, fenced: true},
		{name: "the least counts", tolerations: []corev1.Toleration{unreachable(nil), unreachable(ptr.To[int64](9))}, want: 9 * time.Second, fenced: true},
		{name: "for ever", tolerations: []corev1.Toleration{unreachable(nil)}},
		{name: "everything", tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}},
		{name: "longer than can be counted", tolerations: []corev1.Toleration{unreachable(ptr.To[int64](math.MaxInt64))}},
		{name: "mirror of a static pod", mirror: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{Tolerations: tt.tolerations}}
			if tt.mirror {
				pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: ""}
			}
			if got, fenced := After(pod, promise); got != tt.want || fenced != tt.fenced {
				t.Errorf("got %v, %v; want %v, %v", got, fenced, tt.want, tt.fenced)
			}
		})
	}
}
