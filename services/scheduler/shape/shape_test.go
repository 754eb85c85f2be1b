package shape

import (
	"testing"

	configv1 "k8s.io/kube-scheduler/config/v1"
)

// TestFunction: the line rises from 20 at 10 % to 100 at 50 %, and falls to 0.
func TestFunction(t *testing.T) {
	score := Function([]configv1.UtilizationShapePoint{{Utilization: 10, Score: 2}, {Utilization: 50, Score: 10}, {Utilization: 90, Score: 0}})
	for _, tt := range []struct {
		name                 string
		used, capacity, want int64
	}{
		{"before the first point", 5, 100, 20},
		{"at the first point", 10, 100, 20},
		{"between", 30, 100, 60},
		{"at the top", 2, 4, 100},
		{"falling", 70, 100, 50},
		{"after the last point", 95, 100, 0},
		{"more than there is", 200, 100, 0},
		{"of nothing", 0, 0, 0},
	} {
		if got := score(tt.used, tt.capacity); got != tt.want {
			t.Errorf("%s: %d, not %d", tt.name, got, tt.want)
		}
	}
}
