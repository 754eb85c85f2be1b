package imagelocality

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

func TestScore(t *testing.T) {
	pod := schedtest.Pod("p").With(func(p *corev1.Pod) { p.Spec.Containers[0].Image = "example.com:5000/app" })
	has := schedtest.Node("has").Image("example.com:5000/app:latest", 1000*mebibyte).Info()
	not := schedtest.Node("not").Info()
	volume := schedtest.Pod("p").With(func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "example.com:5000/app"}}}}
	})
	for _, tt := range []struct {
		name  string
		pod   *schedtest.PodBuilder
		nodes []*snapshot.NodeInfo
		want  int64
	}{
		{"everywhere", pod, []*snapshot.NodeInfo{has}, 100},
		{"on half of the nodes", pod, []*snapshot.NodeInfo{has, not}, (500 - 23) * 100 / (1000 - 23)},
		{"one of two images, a volume's", volume, []*snapshot.NodeInfo{has}, (1000 - 23) * 100 / (2000 - 23)},
	} {
		p, state := New(), &framework.CycleState{}
		if s := p.PreScore(t.Context(), state, tt.pod.Info(), snapshot.New(tt.nodes...), snapshot.Selection{}); !s.Success() {
			t.Fatal(s)
		}
		if got, _ := p.Score(t.Context(), state, tt.pod.Info(), has); got != tt.want {
			t.Errorf("%s: %d, not %d", tt.name, got, tt.want)
		}
		if got, _ := p.Score(t.Context(), state, pod.Info(), not); got != 0 {
			t.Errorf("%s: %d without the image", tt.name, got)
		}
	}
	if s := New().PreScore(t.Context(), &framework.CycleState{}, pod.Info(), snapshot.New(not), snapshot.Selection{}); s.Code() != framework.Skip {
		t.Error("scored though no node has the image")
	}
}

func TestNormalize(t *testing.T) {
	for name, want := range map[string]string{
		"app": "app:latest", "app:1": "app:1", "host:5000/app": "host:5000/app:latest", "app@sha256:0": "app@sha256:0", "": "",
	} {
		if got := normalize(name); got != want {
			t.Errorf("%q: %q, not %q", name, got, want)
		}
	}
}
