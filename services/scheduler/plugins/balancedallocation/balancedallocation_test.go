package balancedallocation

import "testing"

func TestBalance(t *testing.T) {
	for _, tt := range []struct {
		cpu, memory float64
		want        int64
	}{{0, 0, 100}, {0.5, 0.5, 100}, {1, 0, 50}, {0, 1, 50}, {0.75, 0.25, 75}} {
		if got := balance(tt.cpu, tt.memory); got != tt.want {
			t.Errorf("%v and %v: %d, not %d", tt.cpu, tt.memory, got, tt.want)
		}
	}
}
