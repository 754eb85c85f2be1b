package job

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestIndexes(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "0": "0", "0-1": "0,1", "0-3": "0-3", "2,0,1,7": "0-2,7", "x,1,-3,5-": "1", "8-12,3": "3,8,9",
	} {
		if got := parseIndexes(in, 10).String(); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func FuzzIndexes(f *testing.F) {
	f.Add("0-3,7")
	f.Add("5-2")
	f.Fuzz(func(t *testing.T, s string) {
		once := parseIndexes(s, 1000).String()
		if twice := parseIndexes(once, 1000).String(); twice != once {
			t.Errorf("%q: %q, then %q", s, once, twice)
		}
	})
}

func TestGiveIndexTellsTheContainers(t *testing.T) {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "work"}}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
	giveIndex(job, pod, 7)
	if i, ok := indexOf(pod); !ok || i != 7 || pod.Spec.Hostname != "work-7" || pod.GenerateName != "work-7-" {
		t.Errorf("pod %+v", pod)
	}
	if env := pod.Spec.Containers[0].Env; len(env) != 1 || env[0].Name != "JOB_COMPLETION_INDEX" {
		t.Errorf("env %v", env)
	}
}
