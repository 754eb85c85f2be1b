package schedulinggates

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestCheck(t *testing.T) {
	if s := check(nil); !s.Success() {
		t.Error(s)
	}
	s := check([]corev1.PodSchedulingGate{{Name: "a"}, {Name: "b"}})
	if !s.Rejected() || s.Message() != "waiting for scheduling gates: [a b]" {
		t.Errorf("%v %q", s.Code(), s.Message())
	}
}
