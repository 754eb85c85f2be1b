package resourcequota

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	var p pace
	for _, tt := range []struct{ took, after time.Duration }{
		{100 * time.Microsecond, 0}, {20 * time.Millisecond, 200 * time.Millisecond}, {time.Minute, longestPace}, {0, 0},
	} {
		p.took("ns/q", tt.took)
		if got := p.after("ns/q"); got != tt.after {
			t.Errorf("a count that took %v is repeated after %v, want %v", tt.took, got, tt.after)
		}
	}
	if p.after("ns/other") != 0 || len(p.byKey) != 0 {
		t.Errorf("what is left: %v", p.byKey)
	}
}
