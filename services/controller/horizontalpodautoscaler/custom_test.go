package horizontalpodautoscaler

import (
	"math"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// pods makes so many ready pods, and others that are not.
func pods(ready int, others ...string) []*corev1.Pod {
	now := time.Now()
	var all []*corev1.Pod
	for i := range ready {
		all = append(all, state{}.pod(i, now))
	}
	for i, kind := range others {
		all = append(all, state{kind: kind}.pod(ready+i, now))
	}
	return all
}

func TestInTotal(t *testing.T) {
	for name, tt := range map[string]struct {
		current       int32
		usage, target int64
		pods          []*corev1.Pod
		want          int32 // -1: an error
	}{
		"as it should be":                 {3, 100, 100, pods(3), 3},
		"twice as much":                   {3, 200, 100, pods(3), 6},
		"half as much":                    {4, 50, 100, pods(4), 2},
		"a little more is tolerated":      {10, 110, 100, pods(10), 10},
		"more than a little is not":       {10, 111, 100, pods(10), 12},
		"a little less is tolerated":      {10, 90, 100, pods(10), 10},
		"rounded up":                      {3, 120, 100, pods(3), 4},
		"nothing at all":                  {3, 0, 100, pods(3), 0},
		"only ready pods cause it":        {4, 200, 100, pods(2, "never ready", "pending"), 4},
		"from none: what reaches it":      {0, 250, 100, nil, 3},
		"from none: nothing":              {0, 0, 100, nil, 0},
		"no pods to know":                 {3, 200, 100, nil, -1},
		"more than can be counted":        {3, mostMilli, 1, pods(3), math.MaxInt32},
		"from none: more than is counted": {0, mostMilli, 1, nil, math.MaxInt32},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := inTotal(toleranceOf(nil), tt.current, tt.usage, tt.target, tt.pods)
			if err != nil {
				got = -1
			}
			if got != tt.want {
				t.Errorf("%d (%v), want %d", got, err, tt.want)
			}
		})
	}
}

func TestPerReplica(t *testing.T) {
	for name, tt := range map[string]struct {
		replicas      int32
		usage, target int64
		want          int32
		share         int64
	}{
		"as it should be":            {3, 300, 100, 3, 100},
		"twice as much":              {3, 600, 100, 6, 200},
		"half as much":               {4, 200, 100, 2, 50},
		"a little more is tolerated": {10, 1100, 100, 10, 110},
		"more than a little is not":  {10, 1101, 100, 12, 111},
		"a little less is tolerated": {10, 900, 100, 10, 90},
		"shares are rounded up":      {3, 400, 100, 4, 134},
		"nothing at all":             {3, 0, 100, 0, 0},
		"from none":                  {0, 250, 100, 3, 250},
		"from none: nothing":         {0, 0, 100, 0, 0},
		"more than can be counted":   {1, mostMilli, 1, math.MaxInt32, mostMilli},
	} {
		t.Run(name, func(t *testing.T) {
			got, share := perReplica(toleranceOf(nil), tt.replicas, tt.usage, tt.target)
			if got != tt.want || share != tt.share {
				t.Errorf("%d, %d each; want %d, %d", got, share, tt.want, tt.share)
			}
		})
	}
}
