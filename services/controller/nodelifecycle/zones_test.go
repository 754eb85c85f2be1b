package nodelifecycle

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// zoneNode returns a node of a zone.
func zoneNode(zone string, i int, ready bool) *corev1.Node {
	status := corev1.ConditionUnknown
	if ready {
		status = corev1.ConditionTrue
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", zone, i), Labels: map[string]string{corev1.LabelTopologyZone: zone}},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}},
	}
}

// fill adds nodes to a zone, the unready ones first.
func fill(z *zones, zone string, ready, unready int) {
	for i := range ready + unready {
		z.observe(zoneNode(zone, i, i >= unready), false)
	}
}

func TestZoneStates(t *testing.T) {
	for _, tt := range []struct {
		name           string
		ready, unready int
		state          zoneState
		rate           float64
	}{
		{name: "all ready", ready: 10, state: zoneNormal, rate: 0.1},
		{name: "two of three are too few to tell", ready: 1, unready: 2, state: zoneNormal, rate: 0.1},
		{name: "below the threshold", ready: 50, unready: 50, state: zoneNormal, rate: 0.1},
		{name: "at the threshold", ready: 45, unready: 55, state: zonePartial, rate: 0.01},
		{name: "a small zone is left alone", ready: 22, unready: 28, state: zonePartial, rate: 0},
		{name: "one more is a large zone", ready: 22, unready: 29, state: zonePartial, rate: 0.01},
		{name: "all of it", unready: 4, state: zoneFull, rate: 0.1},
		{name: "its only node", unready: 1, state: zoneFull, rate: 0.1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			z := newZones(DefaultConfig())
			fill(z, "a", tt.ready, tt.unready)
			got := z.byName["/a"]
			if got.state != tt.state || float64(got.limiter.Limit()) != tt.rate {
				t.Errorf("got %s at %v nodes/s, want %s at %v", got.state, got.limiter.Limit(), tt.state, tt.rate)
			}
		})
	}
}

func TestNodesAreEmptiedAtTheZonesRate(t *testing.T) {
	z := newZones(DefaultConfig())
	fill(z, "a", 8, 2)
	fill(z, "b", 0, 2)
	now := time.Unix(1000, 0)
	if _, ok := z.admit(zoneNode("a", 0, false), now, trusted); !ok {
		t.Fatal("the first node was made to wait")
	}
	if wait, ok := z.admit(zoneNode("a", 1, false), now, trusted); ok || wait != 10*time.Second {
		t.Errorf("the second node: admitted %v, to wait %s; want 10s", ok, wait)
	}
	if _, ok := z.admit(zoneNode("b", 0, false), now, trusted); !ok {
		t.Error("a zone that is lost as a whole waits for another zone")
	}
	if _, ok := z.admit(zoneNode("a", 1, false), now.Add(10*time.Second), trusted); !ok {
		t.Error("the second node was not admitted when its time had come")
	}
}

func TestNothingIsEmptiedWithoutAReadyNode(t *testing.T) {
	z := newZones(DefaultConfig())
	fill(z, "a", 0, 2)
	fill(z, "b", 1, 2)
	node := zoneNode("a", 0, false)
	if changed, _ := z.observe(zoneNode("b", 2, false), false); !changed {
		t.Error("that the last node became silent changed nothing")
	}
	if wait, ok := z.admit(node, time.Unix(1000, 0), trusted); ok || wait != 0 {
		t.Errorf("admitted %v, to wait %s", ok, wait)
	}
	if changed, _ := z.observe(zoneNode("b", 2, true), false); !changed {
		t.Error("that a node is back changed nothing")
	}
	if _, ok := z.admit(node, time.Unix(1000, 0), trusted); !ok {
		t.Error("not admitted although a node is back")
	}
}

func TestZonesFollowTheirNodes(t *testing.T) {
	z := newZones(DefaultConfig())
	fill(z, "a", 2, 4)
	fill(z, "b", 1, 0)
	if z.byName["/a"].state != zonePartial {
		t.Fatalf("four of six silent: %s", z.byName["/a"].state)
	}
	moving := zoneNode("a", 0, false)
	moving.Labels[corev1.LabelTopologyZone] = "b"
	z.observe(moving, false)
	z.observe(zoneNode("a", 1, false), true)
	if a, b := z.byName["/a"], z.byName["/b"]; a.state != zoneNormal || a.unready != 2 || b.unready != 1 {
		t.Errorf("after a node moved and one left: a %+v, b %+v", a, b)
	}
	for i := 2; i < 6; i++ {
		z.observe(zoneNode("a", i, false), true)
	}
	if _, ok := z.byName["/a"]; ok {
		t.Error("a zone without nodes is kept")
	}
	if changed, _ := z.observe(zoneNode("a", 9, true), true); changed {
		t.Error("a node that was never seen left something behind")
	}
}

// trusted doubts no node.
func trusted(string) bool { return false }
