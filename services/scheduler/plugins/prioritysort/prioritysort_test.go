package prioritysort

import (
	"testing"
	"time"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

func TestLess(t *testing.T) {
	queued := func(priority int32, since int64) *framework.QueuedPod {
		return &framework.QueuedPod{PodInfo: schedtest.Pod("p").Priority(priority).Info(), Since: time.Unix(since, 0)}
	}
	for _, tt := range []struct {
		name string
		a, b *framework.QueuedPod
		want bool
	}{
		{"more important", queued(2, 9), queued(1, 0), true},
		{"less important", queued(1, 0), queued(2, 9), false},
		{"waited longer", queued(1, 0), queued(1, 9), true},
		{"equal", queued(1, 0), queued(1, 0), false},
	} {
		if got := New().Less(tt.a, tt.b); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
