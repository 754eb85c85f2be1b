package volumebinding

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

const driver = "example.com/disk"

// capacity is a Capacity of class dynamic, changed.
func capacity(node, size string, change func(*storagev1.CSIStorageCapacity)) *storagev1.CSIStorageCapacity {
	c := schedtest.Capacity("dynamic", node, size)
	change(c)
	return c
}

// TestSpace: claim a of class dynamic asks for 1Gi. Node n1 is in zone a.
func TestSpace(t *testing.T) {
	topology := func(s *metav1.LabelSelector) func(*storagev1.CSIStorageCapacity) {
		return func(c *storagev1.CSIStorageCapacity) { c.NodeTopology = s }
	}
	const all, neither = "n1 ok; n2 ok", "n1 " + ReasonNoSpace + "; n2 " + ReasonNoSpace
	const n1, n2 = "n1 ok; n2 " + ReasonNoSpace, "n1 " + ReasonNoSpace + "; n2 ok"
	tells := schedtest.Driver(driver)
	zone := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "zone", Operator: metav1.LabelSelectorOpIn, Values: []string{"a", "b"}}}}
	for _, tt := range []struct {
		name string
		have []metav1.Object
		want string
	}{
		{"no driver", []metav1.Object{schedtest.Capacity("dynamic", "n2", "1Gi")}, all},
		{"a driver that does not tell", []metav1.Object{&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driver}}}, all},
		{"nothing is told", []metav1.Object{tells}, neither},
		{"just enough", []metav1.Object{tells, schedtest.Capacity("dynamic", "n2", "1Gi")}, n2},
		{"a byte too little", []metav1.Object{tells, schedtest.Capacity("dynamic", "n2", "1073741823")}, neither},
		{"of another class", []metav1.Object{tells, schedtest.Capacity("other", "n2", "1Gi")}, neither},
		{"enough, in smaller volumes", []metav1.Object{tells, capacity("n2", "1Ti", func(c *storagev1.CSIStorageCapacity) {
			c.MaximumVolumeSize = ptr.To(resource.MustParse("512Mi"))
		})}, neither},
		{"only the largest volume is told", []metav1.Object{tells, capacity("n2", "0", func(c *storagev1.CSIStorageCapacity) {
			c.Capacity, c.MaximumVolumeSize = nil, ptr.To(resource.MustParse("1Gi"))
		})}, n2},
		{"neither is told", []metav1.Object{tells, capacity("n2", "1Ti", func(c *storagev1.CSIStorageCapacity) { c.Capacity = nil })}, neither},
		{"of no node", []metav1.Object{tells, capacity("n2", "1Ti", topology(nil))}, neither},
		{"of every node", []metav1.Object{tells, capacity("n2", "1Ti", topology(&metav1.LabelSelector{}))}, all},
		{"of a zone", []metav1.Object{tells, capacity("n2", "1Ti", topology(zone))}, n1},
		{"of nodes with two labels", []metav1.Object{tells, capacity("n2", "1Ti", topology(&metav1.LabelSelector{
			MatchLabels: map[string]string{corev1.LabelHostname: "n2", "zone": "a"},
		}))}, neither},
		{"two of one node", []metav1.Object{tells, schedtest.Capacity("dynamic", "n1", "1Mi"),
			capacity("n1", "1Gi", func(c *storagev1.CSIStorageCapacity) { c.Name = "more" })}, n1},
		{"the volume is being made", []metav1.Object{tells, onNode(schedtest.Claim("a", "dynamic"), "n2"), schedtest.Capacity("dynamic", "n2", "1Gi")},
			"n1 " + ReasonBindConflict + "; n2 ok"},
		{"a volume is there", []metav1.Object{tells, schedtest.Volume("v", "dynamic", "n1")}, n1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			have := append([]metav1.Object{schedtest.Class("dynamic", driver), schedtest.Claim("a", "dynamic")}, tt.have...)
			p := New(DefaultArgs(), schedtest.NewStorage(have...), NewReservations())
			if _, got := verdicts(t, p, schedtest.Pod("p").Claims("a").Info()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestEventsOfSpace(t *testing.T) {
	none := capacity("n1", "0", func(c *storagev1.CSIStorageCapacity) { c.Capacity = nil })
	small, large := schedtest.Capacity("dynamic", "n1", "1Gi"), schedtest.Capacity("dynamic", "n1", "2Gi")
	tells, silent := schedtest.Driver(driver), &storagev1.CSIDriver{}
	const capacities, drivers = framework.CSIStorageCapacity, framework.CSIDriver
	for _, tt := range []struct {
		name  string
		event framework.Event
		want  bool
	}{
		{"new space", framework.Event{Resource: capacities, Action: framework.Add, New: small}, true},
		{"new, and none", framework.Event{Resource: capacities, Action: framework.Add, New: none}, false},
		{"more space", framework.Event{Resource: capacities, Action: framework.Update, Old: small, New: large}, true},
		{"space where there was none", framework.Event{Resource: capacities, Action: framework.Update, Old: none, New: small}, true},
		{"less space", framework.Event{Resource: capacities, Action: framework.Update, Old: large, New: small}, false},
		{"none is left", framework.Event{Resource: capacities, Action: framework.Update, Old: large, New: none}, false},
		{"a capacity goes", framework.Event{Resource: capacities, Action: framework.Delete, Old: large}, false},
		{"a driver tells no more", framework.Event{Resource: drivers, Action: framework.Update, Old: tells, New: silent}, true},
		{"a driver goes that told", framework.Event{Resource: drivers, Action: framework.Delete, Old: tells}, true},
		{"a driver goes that did not", framework.Event{Resource: drivers, Action: framework.Delete, Old: silent}, false},
		{"a driver begins to tell", framework.Event{Resource: drivers, Action: framework.Update, Old: silent, New: tells}, false},
	} {
		expectHelp(t, tt.name, tt.event, tt.want)
	}
}

// expectHelp says whether an event is to wake a pod of claim a.
func expectHelp(t *testing.T, name string, event framework.Event, want bool) {
	t.Helper()
	got := false
	for _, hint := range New(DefaultArgs(), nil, NewReservations()).EventsToRegister() {
		got = got || hint.Covers(schedtest.Pod("p").Claims("a").Info(), event)
	}
	if got != want {
		t.Errorf("%s: %v", name, got)
	}
}

// TestScore: claims a and b ask for 1Gi each, of class dynamic unless told
// otherwise. Less use of what there is is better.
func TestScore(t *testing.T) {
	dynamic := []metav1.Object{schedtest.Class("dynamic", driver), schedtest.Driver(driver), schedtest.Claim("a", "dynamic"), schedtest.Claim("b", "dynamic")}
	sized := func(pv *corev1.PersistentVolume, size string) *corev1.PersistentVolume {
		pv.Spec.Capacity[corev1.ResourceStorage] = resource.MustParse(size)
		return pv
	}
	for _, tt := range []struct {
		name   string
		claims []string
		have   []metav1.Object
		n1, n2 int64
	}{
		{"more is left", []string{"a"}, append(dynamic, schedtest.Capacity("dynamic", "n1", "2Gi"), schedtest.Capacity("dynamic", "n2", "4Gi")), 50, 75},
		{"two of one class", []string{"a", "b"}, append(dynamic, schedtest.Capacity("dynamic", "n1", "2Gi"), schedtest.Capacity("dynamic", "n2", "4Gi")), 0, 50},
		{"two classes", []string{"a", "b"}, append(dynamic, schedtest.Class("other", driver), schedtest.Claim("b", "other"),
			schedtest.Capacity("dynamic", "n1", "2Gi"), schedtest.Capacity("dynamic", "n2", "4Gi"),
			schedtest.Capacity("other", "n1", "10Gi"), schedtest.Capacity("other", "n2", "1Gi")), 70, 38},
		{"only the largest volume is told", []string{"a"}, append(dynamic, schedtest.Capacity("dynamic", "n1", "2Gi"),
			capacity("n2", "0", func(c *storagev1.CSIStorageCapacity) {
				c.Capacity, c.MaximumVolumeSize = nil, ptr.To(resource.MustParse("4Gi"))
			})), 50, 75},
		{"nothing is told", []string{"a"}, []metav1.Object{schedtest.Class("dynamic", driver), schedtest.Claim("a", "dynamic")}, 0, 0},
		{"volumes that are there", []string{"a"}, []metav1.Object{schedtest.Class("static", volume.NotSupportedProvisioner), schedtest.Claim("a", "static"),
			sized(schedtest.Volume("v", "static", "n1"), "4Gi"), schedtest.Volume("w", "static", "n2")}, 75, 0},
		{"volumes that are there count alone", []string{"a", "b"}, append(dynamic, schedtest.Class("static", volume.NotSupportedProvisioner), schedtest.Claim("a", "static"),
			sized(schedtest.Volume("v", "static", ""), "4Gi"), schedtest.Capacity("dynamic", "n1", "1Gi"), schedtest.Capacity("dynamic", "n2", "9Gi")), 75, 75},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := New(DefaultArgs(), schedtest.NewStorage(tt.have...), NewReservations())
			pod := schedtest.Pod("p").Claims(tt.claims...).Info()
			state, fits := verdicts(t, p, pod)
			if fits != "n1 ok; n2 ok" {
				t.Fatal(fits)
			}
			all := nodes()
			if s := p.PreScore(t.Context(), state, pod, all, all.All()); !s.Success() {
				t.Fatal(s)
			}
			got := map[string]int64{}
			for _, n := range all.Nodes() {
				score, s := p.Score(t.Context(), state, pod, n)
				if !s.Success() {
					t.Fatal(s)
				}
				got[n.Name()] = score
			}
			if got["n1"] != tt.n1 || got["n2"] != tt.n2 {
				t.Errorf("%v, not %d and %d", got, tt.n1, tt.n2)
			}
		})
	}
}

func TestPreScoreSkips(t *testing.T) {
	p := New(DefaultArgs(), schedtest.NewStorage(schedtest.Bound(schedtest.Claim("a", ""), "v"), schedtest.Volume("v", "", "")), NewReservations())
	for _, pod := range []*snapshot.PodInfo{schedtest.Pod("none").Info(), schedtest.Pod("bound").Claims("a").Info()} {
		state, _ := verdicts(t, p, pod)
		if s := p.PreScore(t.Context(), state, pod, nodes(), snapshot.Selection{}); s.Code() != framework.Skip {
			t.Errorf("%s: %v", pod.Pod.Name, s)
		}
	}
}
