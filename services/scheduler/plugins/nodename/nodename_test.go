package nodename

import (
	"testing"

	"navarch.dev/navarch/services/scheduler/schedtest"
)

func TestFilter(t *testing.T) {
	for _, tt := range []struct {
		wanted string
		fits   bool
	}{{"", true}, {"n", true}, {"other", false}} {
		s := New().Filter(t.Context(), nil, schedtest.Pod("p").Node(tt.wanted).Info(), schedtest.Node("n").Info())
		if s.Success() != tt.fits || !tt.fits && s.Message() != Reason {
			t.Errorf("%q: %v %q", tt.wanted, s.Code(), s.Message())
		}
	}
}
