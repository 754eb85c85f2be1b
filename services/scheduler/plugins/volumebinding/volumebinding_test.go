package volumebinding

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// nodes are n1 and n2; the first is in zone a.
func nodes() *snapshot.Snapshot {
	return snapshot.New(schedtest.Node("n1").Label("zone", "a").Info(), schedtest.Node("n2").Info())
}

// verdicts runs PreFilter, and Filter for each node: "ok", or the reason.
func verdicts(t *testing.T, p *Plugin, pod *snapshot.PodInfo) (*framework.CycleState, string) {
	t.Helper()
	state, all := &framework.CycleState{}, nodes()
	if _, s := p.PreFilter(t.Context(), state, pod, all); !s.Success() {
		if s.Code() == framework.Skip {
			return state, "skip"
		}
		return state, s.Message()
	}
	var out []string
	for _, n := range all.Nodes() {
		s := p.Filter(t.Context(), state, pod, n)
		if s.Success() {
			out = append(out, n.Name()+" ok")
		} else {
			out = append(out, n.Name()+" "+s.Message())
		}
	}
	return state, strings.Join(out, "; ")
}

func onNode(claim *corev1.PersistentVolumeClaim, node string) *corev1.PersistentVolumeClaim {
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, volume.AnnSelectedNode, node)
	return claim
}

func TestFilter(t *testing.T) {
	static := schedtest.Class("static", volume.NotSupportedProvisioner)
	dynamic := schedtest.Class("dynamic", "example.com/disk")
	zonal := schedtest.Class("zonal", "example.com/disk")
	zonal.AllowedTopologies = []corev1.TopologySelectorTerm{{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: "zone", Values: []string{"a"}}}}}
	lost := schedtest.Bound(schedtest.Claim("a", "static"), "v")
	lost.Status.Phase = corev1.ClaimLost
	const all, neither = "n1 ok; n2 ok", "n1 " + ReasonBindConflict + "; n2 " + ReasonBindConflict
	for _, tt := range []struct {
		name   string
		claims []string
		have   []metav1.Object
		want   string
	}{
		{"no claim", nil, nil, "skip"},
		{"not there", []string{"a"}, nil, `persistentvolumeclaim "a" not found`},
		{"lost", []string{"a"}, []metav1.Object{lost}, `persistentvolumeclaim "a" bound to non-existent persistentvolume "v"`},
		{"unbound, immediate", []string{"a"}, []metav1.Object{schedtest.Claim("a", "")}, ReasonUnboundImmediate},
		{"bound to a volume of a node", []string{"a"}, []metav1.Object{schedtest.Bound(schedtest.Claim("a", ""), "v"), schedtest.Volume("v", "", "n2")},
			"n1 " + ReasonNodeConflict + "; n2 ok"},
		{"bound to a volume of every node", []string{"a"}, []metav1.Object{schedtest.Bound(schedtest.Claim("a", ""), "v"), schedtest.Volume("v", "", "")}, all},
		{"bound to nothing", []string{"a"}, []metav1.Object{schedtest.Bound(schedtest.Claim("a", ""), "v")},
			"n1 " + ReasonVolumeMissing + "; n2 " + ReasonVolumeMissing},
		{"a free volume on one node", []string{"a"}, []metav1.Object{static, schedtest.Claim("a", "static"), schedtest.Volume("v", "static", "n2")},
			"n1 " + ReasonBindConflict + "; n2 ok"},
		{"one volume for two claims", []string{"a", "b"}, []metav1.Object{static, schedtest.Claim("a", "static"), schedtest.Claim("b", "static"), schedtest.Volume("v", "static", "")}, neither},
		{"two volumes for two claims", []string{"a", "b"}, []metav1.Object{static, schedtest.Claim("a", "static"), schedtest.Claim("b", "static"),
			schedtest.Volume("v", "static", ""), schedtest.Volume("w", "static", "n1")}, "n1 ok; n2 " + ReasonBindConflict},
		{"none, and none can be made", []string{"a"}, []metav1.Object{static, schedtest.Claim("a", "static")}, neither},
		{"one can be made anywhere", []string{"a"}, []metav1.Object{dynamic, schedtest.Claim("a", "dynamic")}, all},
		{"one can be made in a zone", []string{"a"}, []metav1.Object{zonal, schedtest.Claim("a", "zonal")}, "n1 ok; n2 " + ReasonBindConflict},
		{"one is being made", []string{"a"}, []metav1.Object{dynamic, onNode(schedtest.Claim("a", "dynamic"), "n2")}, "n1 " + ReasonBindConflict + "; n2 ok"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := New(DefaultArgs(), schedtest.NewStorage(tt.have...), NewReservations())
			if _, got := verdicts(t, p, schedtest.Pod("p").Claims(tt.claims...).Info()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// bindAll is the persistentvolume controller's and a provisioner's part.
func bindAll(s *schedtest.Storage) {
	for _, pv := range s.Candidates("", types.NamespacedName{}) {
		if ref := pv.Spec.ClaimRef; ref != nil {
			claim, _ := s.Claim(ref.Namespace, ref.Name)
			s.Put(schedtest.Bound(claim.DeepCopy(), pv.Name))
		}
	}
	for _, name := range []string{"a", "b"} {
		claim, ok := s.Claim("default", name)
		if ok && claim.Annotations[volume.AnnSelectedNode] != "" && claim.Spec.VolumeName == "" {
			s.Put(schedtest.Volume("made-"+name, "dynamic", claim.Annotations[volume.AnnSelectedNode]))
			s.Put(schedtest.Bound(claim.DeepCopy(), "made-"+name))
		}
	}
}

func TestBind(t *testing.T) {
	have := []metav1.Object{
		schedtest.Class("static", volume.NotSupportedProvisioner), schedtest.Class("dynamic", "example.com/disk"),
		schedtest.Claim("a", "static"), schedtest.Claim("b", "dynamic"), schedtest.Volume("v", "static", "n2"),
	}
	s := schedtest.NewStorage(have...)
	s.OnWrite = bindAll
	p, pod := New(DefaultArgs(), s, NewReservations()), schedtest.Pod("p").Claims("a", "b").Info()
	state, got := verdicts(t, p, pod)
	if got != "n1 "+ReasonBindConflict+"; n2 ok" {
		t.Fatal(got)
	}
	if status := p.Reserve(t.Context(), state, pod, "n2"); !status.Success() || !p.NeedsPreBind(state, pod) {
		t.Fatal(status)
	}
	// What is reserved is nobody else's.
	if _, got := verdicts(t, p, schedtest.Pod("q").Claims("c").Info()); !strings.Contains(got, "not found") {
		t.Error(got)
	}
	s.Put(schedtest.Claim("c", "static"))
	if _, got := verdicts(t, p, schedtest.Pod("q").Claims("c").Info()); strings.Contains(got, "ok") {
		t.Errorf("a reserved volume is offered to another claim: %s", got)
	}
	// A pod that shares the claims goes to the same node.
	if _, got := verdicts(t, p, schedtest.Pod("q").Claims("b").Info()); got != "n1 "+ReasonBindConflict+"; n2 ok" {
		t.Error(got)
	}
	if status := p.PreBind(t.Context(), state, pod, "n2"); !status.Success() {
		t.Fatal(status)
	}
	if _, got := verdicts(t, p, schedtest.Pod("q").Claims("a", "b").Info()); got != "n1 "+ReasonNodeConflict+"; n2 ok" {
		t.Error(got)
	}
	if len(p.reserved.byClaim)+len(p.reserved.byName) > 0 {
		t.Errorf("reservations are left: %+v", p.reserved.byClaim)
	}
}

func TestUnreserve(t *testing.T) {
	s := schedtest.NewStorage(schedtest.Class("static", volume.NotSupportedProvisioner), schedtest.Claim("a", "static"), schedtest.Volume("v", "static", ""))
	p, pod, other := New(DefaultArgs(), s, NewReservations()), schedtest.Pod("p").Claims("a").Info(), schedtest.Pod("q").Claims("a").Info()
	state, _ := verdicts(t, p, pod)
	p.Reserve(t.Context(), state, pod, "n1")
	state2, _ := verdicts(t, p, other)
	p.Reserve(t.Context(), state2, other, "n1")
	p.Unreserve(t.Context(), state, pod, "n1")
	if !p.reserved.taken("v") {
		t.Error("the volume of a pod that is still being bound is free")
	}
	p.Unreserve(t.Context(), state2, other, "n1")
	if p.reserved.taken("v") {
		t.Error("the volume is still taken")
	}
}

func TestBindingThatCannotBe(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		happens    func(s *schedtest.Storage, pod *corev1.Pod)
	}{
		{"the provisioner wants another node", `provisioning failed for PVC "a"`, func(s *schedtest.Storage, _ *corev1.Pod) {
			s.Put(schedtest.Claim("a", "dynamic"))
		}},
		{"the pod is deleted", "pod does not exist any more", func(s *schedtest.Storage, pod *corev1.Pod) { s.DeletePod(pod) }},
		{"bound elsewhere", `persistentvolume "v" cannot be used from node "n1"`, func(s *schedtest.Storage, _ *corev1.Pod) {
			s.Put(schedtest.Volume("v", "dynamic", "n2"))
			s.Put(schedtest.Bound(schedtest.Claim("a", "dynamic"), "v"))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := schedtest.NewStorage(schedtest.Class("dynamic", "example.com/disk"), schedtest.Claim("a", "dynamic"))
			p, pod := New(DefaultArgs(), s, NewReservations()), schedtest.Pod("p").Claims("a").Info()
			s.OnWrite = func(s *schedtest.Storage) { tt.happens(s, pod.Pod) }
			state, _ := verdicts(t, p, pod)
			if status := p.Reserve(t.Context(), state, pod, "n1"); !status.Success() {
				t.Fatal(status)
			}
			if status := p.PreBind(t.Context(), state, pod, "n1"); status.Code() != framework.Error || !strings.Contains(status.Message(), tt.want) {
				t.Errorf("%v %q", status.Code(), status.Message())
			}
		})
	}
}

func TestEvents(t *testing.T) {
	pod := schedtest.Pod("p").Claims("a").Info()
	for _, tt := range []struct {
		name  string
		event framework.Event
		want  bool
	}{
		{"its claim", framework.Event{Resource: framework.PersistentVolumeClaim, Action: framework.Add, New: schedtest.Claim("a", "")}, true},
		{"another claim", framework.Event{Resource: framework.PersistentVolumeClaim, Action: framework.Add, New: schedtest.Claim("b", "")}, false},
		{"a volume", framework.Event{Resource: framework.PersistentVolume, Action: framework.Update, New: schedtest.Volume("v", "", "")}, true},
		{"a class", framework.Event{Resource: framework.StorageClass, Action: framework.Add, New: &storagev1.StorageClass{}}, true},
		{"a pod goes", framework.Event{Resource: framework.AssignedPod, Action: framework.Delete}, false},
	} {
		got := false
		for _, hint := range New(DefaultArgs(), nil, NewReservations()).EventsToRegister() {
			got = got || hint.Covers(pod, tt.event)
		}
		if got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
