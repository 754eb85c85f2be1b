package nodevolumelimits

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

const driver = "disk.example.com"

// csi makes a volume the driver's.
func csi(name string) *corev1.PersistentVolume {
	pv := schedtest.Volume(name, "", "")
	pv.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: "disk-" + name}
	return pv
}

// csiNode says how many volumes drivers of node n can attach; -1 is no limit.
func csiNode(limits map[string]int32) *storagev1.CSINode {
	n := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	for name, count := range limits {
		d := storagev1.CSINodeDriver{Name: name}
		if count >= 0 {
			d.Allocatable = &storagev1.VolumeNodeResources{Count: &count}
		}
		n.Spec.Drivers = append(n.Spec.Drivers, d)
	}
	return n
}

func attachment(name, pv string) *storagev1.VolumeAttachment {
	return &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: storagev1.VolumeAttachmentSpec{
		Attacher: driver, NodeName: "n", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &pv},
	}}
}

// world: claims a, b and c are bound to volumes of the driver, new waits to be
// provisioned by it, local is bound to a volume that nobody attaches, static
// waits for a volume that is there.
func world(objects ...metav1.Object) *schedtest.Storage {
	return schedtest.NewStorage(append([]metav1.Object{
		csi("a"), csi("b"), csi("c"), schedtest.Volume("local", "", ""),
		schedtest.Class("disks", driver), schedtest.Class("static", "kubernetes.io/no-provisioner"),
		schedtest.Bound(schedtest.Claim("a", ""), "a"), schedtest.Bound(schedtest.Claim("b", ""), "b"), schedtest.Bound(schedtest.Claim("c", ""), "c"),
		schedtest.Bound(schedtest.Claim("local", ""), "local"), schedtest.Claim("new", "disks"), schedtest.Claim("static", "static"),
	}, objects...)...)
}

func TestFilter(t *testing.T) {
	limit := func(n int32) metav1.Object { return csiNode(map[string]int32{driver: n}) }
	needed := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driver}, Spec: storagev1.CSIDriverSpec{PreventPodSchedulingIfMissing: ptr.To(true)}}
	const skipped = "skipped"
	for _, tt := range []struct {
		name    string
		objects []metav1.Object
		there   []string // claims of a pod on the node
		pod     []string // claims of the pod
		want    string
	}{
		{"no claim", []metav1.Object{limit(0)}, nil, nil, skipped},
		{"no driver's", []metav1.Object{limit(0)}, nil, []string{"local", "static", "missing"}, skipped},
		{"no limits known", nil, []string{"b"}, []string{"a"}, ""},
		{"no limit", []metav1.Object{limit(-1)}, []string{"b"}, []string{"a"}, ""},
		{"another driver's limit", []metav1.Object{csiNode(map[string]int32{"other": 0})}, nil, []string{"a"}, ""},
		{"just fits", []metav1.Object{limit(2)}, []string{"b"}, []string{"a"}, ""},
		{"one too many", []metav1.Object{limit(1)}, []string{"b"}, []string{"a"}, Reason},
		{"two too many", []metav1.Object{limit(1)}, nil, []string{"a", "b"}, Reason},
		{"none at all", []metav1.Object{limit(0)}, nil, []string{"a"}, Reason},
		{"the same volume counts once", []metav1.Object{limit(1)}, []string{"a"}, []string{"a"}, ""},
		{"a volume still to be made", []metav1.Object{limit(1)}, []string{"b"}, []string{"new"}, Reason},
		{"one being made for another pod", []metav1.Object{limit(1)}, []string{"new"}, []string{"a"}, Reason},
		{"attached without a pod", []metav1.Object{limit(1), attachment("x", "b")}, nil, []string{"a"}, Reason},
		{"attached for the pod that is there", []metav1.Object{limit(2), attachment("x", "b")}, []string{"b"}, []string{"a"}, ""},
		{"attached of a volume that has gone", []metav1.Object{limit(1), attachment("x", "gone")}, nil, []string{"a"}, ""},
		{"attached already", []metav1.Object{limit(1), attachment("x", "a")}, nil, []string{"a"}, ""},
		{"a driver that must be there is not", []metav1.Object{needed}, nil, []string{"a"}, driver + " " + ReasonNoDriver},
		{"nor among others", []metav1.Object{needed, csiNode(map[string]int32{"other": 1})}, nil, []string{"a"}, driver + " " + ReasonNoDriver},
		{"it is", []metav1.Object{needed, limit(-1)}, nil, []string{"a"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, state := New(world(tt.objects...)), &framework.CycleState{}
			pod := schedtest.Pod("p").Claims(tt.pod...).Info()
			node := schedtest.Node("n").Pods(schedtest.Pod("there").Claims(tt.there...)).Info()
			got := skipped
			if _, s := p.PreFilter(t.Context(), state, pod, nil); s.Code() != framework.Skip {
				got = p.Filter(t.Context(), state, pod, node).Message()
			}
			if got != tt.want {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestEvents(t *testing.T) {
	update := func(before, after map[string]int32) framework.Event {
		return framework.Event{Resource: framework.CSINode, Action: framework.Update, Old: csiNode(before), New: csiNode(after)}
	}
	none := map[string]int32{}
	one, two, unlimited := map[string]int32{driver: 1}, map[string]int32{driver: 2}, map[string]int32{driver: -1}
	for _, tt := range []struct {
		name  string
		event framework.Event
		want  bool
	}{
		{"a pod with claims goes", framework.Event{Resource: framework.AssignedPod, Action: framework.Delete, Old: schedtest.Pod("x").Claims("b").Pod()}, true},
		{"a pod without claims goes", framework.Event{Resource: framework.AssignedPod, Action: framework.Delete, Old: schedtest.Pod("x").Pod()}, false},
		{"a volume is detached", framework.Event{Resource: framework.VolumeAttachment, Action: framework.Delete, Old: attachment("x", "b")}, true},
		{"a node's drivers come", framework.Event{Resource: framework.CSINode, Action: framework.Add, New: csiNode(one)}, true},
		{"a higher limit", update(one, two), true},
		{"a lower limit", update(two, one), false},
		{"no limit any more", update(one, unlimited), true},
		{"a limit where there was none", update(unlimited, two), false},
		{"a driver comes", update(none, unlimited), true},
		{"a driver goes", update(one, none), false},
		{"nothing", update(one, one), false},
	} {
		got := false
		for _, hint := range New(nil).EventsToRegister() {
			got = got || hint.Covers(schedtest.Pod("p").Claims("a").Info(), tt.event)
		}
		if got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
