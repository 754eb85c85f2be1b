package job

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	batchv1 "k8s.io/api/batch/v1"
)

// TestDelay shows how long after the last of so many failures in a row a pod
// is replaced.
func TestDelay(t *testing.T) {
	now := time.Unix(1e9, 0)
	for name, tt := range map[string]struct {
		ends string // how pods ended, a minute after each other, the last one now
		want time.Duration
	}{
		"nothing has failed":          {"", 0},
		"once":                        {"f", 10 * time.Second},
		"twice":                       {"ff", 20 * time.Second},
		"three times":                 {"fff", 40 * time.Second},
		"six times":                   {"ffffff", 320 * time.Second},
		"seven times: the longest":    {"fffffff", 10 * time.Minute},
		"ever after":                  {"ffffffffff", 10 * time.Minute},
		"a success begins anew":       {"fffs", 0},
		"a failure after a success":   {"fffsf", 10 * time.Second},
		"successes before count not":  {"ssf", 10 * time.Second},
		"long ago, then it is waited": {"f          ", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := &step{job: &batchv1.Job{}, now: now}
			for i, how := range tt.ends {
				if how == ' ' {
					continue
				}
				phase := corev1.PodSucceeded
				if how == 'f' {
					phase = corev1.PodFailed
				}
				end := metav1.NewTime(now.Add(time.Duration(i+1-len(tt.ends)) * time.Minute))
				s.pods = append(s.pods, &corev1.Pod{Status: corev1.PodStatus{Phase: phase, ContainerStatuses: []corev1.ContainerStatus{{
					State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: end}},
				}}}})
			}
			if got := s.delay(); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}
