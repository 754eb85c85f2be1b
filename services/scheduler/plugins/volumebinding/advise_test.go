package volumebinding

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// TestAdvise: the pod uses claims data and logs, as far as they are there, and
// is to go to n1.
func TestAdvise(t *testing.T) {
	static, dynamic := schedtest.Class("static", volume.NotSupportedProvisioner), schedtest.Class("dynamic", "example.com/disk")
	zonal := schedtest.Class("zonal", "example.com/disk")
	zonal.AllowedTopologies = []corev1.TopologySelectorTerm{{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: "zone", Values: []string{"b", "c"}}}}}
	racks := schedtest.Volume("pv-2", "", "n2")
	racks.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0] = corev1.NodeSelectorRequirement{Key: "rack", Operator: corev1.NodeSelectorOpIn, Values: []string{"r7"}}
	bound := func(claim, pv string) *corev1.PersistentVolumeClaim {
		return schedtest.Bound(schedtest.Claim(claim, ""), pv)
	}
	const another = "use another claim than data"
	for _, tt := range []struct {
		name     string
		have     []metav1.Object
		detail   string
		remedies []string
	}{
		{"fits", []metav1.Object{bound("data", "pv-1"), schedtest.Volume("pv-1", "", "n1")}, "", nil},
		{"elsewhere", []metav1.Object{bound("data", "pv-1"), schedtest.Volume("pv-1", "", "n2")}, "claim data is bound to volume pv-1 that is only on n2", []string{another}},
		{"by another label", []metav1.Object{bound("data", "pv-2"), racks}, "claim data is bound to volume pv-2 that is only on rack=r7", []string{another}},
		{"two", []metav1.Object{bound("data", "pv-1"), schedtest.Volume("pv-1", "", "n2"), bound("logs", "pv-2"), racks},
			"claim data is bound to volume pv-1 that is only on n2; claim logs is bound to volume pv-2 that is only on rack=r7", []string{another + ", logs"}},
		{"gone", []metav1.Object{bound("data", "pv-1")}, "claim data is bound to volume pv-1 that does not exist", []string{"make claim data anew"}},
		{"no free volume", []metav1.Object{static, schedtest.Claim("data", "static"), schedtest.Volume("pv-1", "static", "n2")},
			"claim data finds no free volume of class static with 1Gi on the node", []string{"add a volume of class static with 1Gi that the node can use", another}},
		{"made elsewhere", []metav1.Object{zonal, schedtest.Claim("data", "zonal")},
			"claim data is of class zonal whose volumes are made only on zone in (b,c)", []string{"add a volume of class zonal with 1Gi that the node can use", another}},
		{"being made elsewhere", []metav1.Object{dynamic, onNode(schedtest.Claim("data", "dynamic"), "n2")}, "the volume of claim data is being made on n2", []string{another}},
		{"too little space", []metav1.Object{dynamic, schedtest.Driver("example.com/disk"), schedtest.Capacity("dynamic", "n1", "512Mi"), schedtest.Capacity("dynamic", "n2", "1Gi"), schedtest.Claim("data", "dynamic")},
			"claim data needs 1Gi of class dynamic, a volume can have 512Mi on the node", []string{"make claim data anew with at most 512Mi", another}},
		{"no space", []metav1.Object{dynamic, schedtest.Driver("example.com/disk"), schedtest.Capacity("dynamic", "n2", "1Gi"), schedtest.Claim("data", "dynamic")},
			"claim data needs 1Gi of class dynamic, and example.com/disk has no space that the node can use", []string{"add a volume of class dynamic with 1Gi that the node can use", another}},
		{"bound elsewhere, and no free volume", []metav1.Object{static, bound("data", "pv-1"), schedtest.Volume("pv-1", "", "n2"), schedtest.Claim("logs", "static")},
			"claim data is bound to volume pv-1 that is only on n2; claim logs finds no free volume of class static with 1Gi on the node", []string{another + ", logs"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := schedtest.NewStorage(tt.have...)
			p, state, node := New(DefaultArgs(), s, NewReservations()), &framework.CycleState{}, schedtest.Node("n1").Info()
			var used []string
			for _, name := range []string{"data", "logs"} {
				if _, ok := s.Claim("default", name); ok {
					used = append(used, name)
				}
			}
			pod := schedtest.Pod("p").Claims(used...).Info()
			if _, status := p.PreFilter(t.Context(), state, pod, snapshot.New(node)); !status.Success() {
				t.Fatal(status)
			}
			got := p.Advise(t.Context(), state, pod, node)
			if fits := p.Filter(t.Context(), state, pod, node).Success(); fits != (got.Detail == "") {
				t.Errorf("fits: %t", fits)
			}
			expectAdvice(t, got, tt.detail, tt.remedies)
		})
	}
}

// TestAdvisePod: no node will do for a pod that uses claim data.
func TestAdvisePod(t *testing.T) {
	now := schedtest.Class("now", "example.com/disk")
	now.VolumeBindingMode = nil
	hand := schedtest.Class("hand", volume.NotSupportedProvisioner)
	hand.VolumeBindingMode = nil
	lost := schedtest.Bound(schedtest.Claim("data", ""), "pv-1")
	lost.Status.Phase = corev1.ClaimLost
	going := schedtest.Claim("data", "")
	going.DeletionTimestamp = &metav1.Time{}
	half := schedtest.Claim("data", "")
	half.Spec.VolumeName = "pv-1"
	for _, tt := range []struct {
		name   string
		have   []metav1.Object
		detail string
		remedy string
	}{
		{"not there", nil, "claim data does not exist", "create claim data"},
		{"lost", []metav1.Object{lost}, "claim data is bound to volume pv-1 that does not exist", "make claim data anew"},
		{"being deleted", []metav1.Object{going}, "claim data is being deleted", "make claim data anew once it is gone"},
		{"being bound", []metav1.Object{half}, "claim data is being bound to volume pv-1", ""},
		{"no class", []metav1.Object{schedtest.Claim("data", "")}, "claim data has no class, and finds no free volume with 1Gi", "add a volume without a class with 1Gi"},
		{"a class that is not there", []metav1.Object{schedtest.Claim("data", "gone")}, "claim data is of class gone that does not exist, and finds no free volume", "create class gone"},
		{"volumes made by hand", []metav1.Object{hand, schedtest.Claim("data", "hand")}, "claim data finds no free volume of class hand with 1Gi", "add a volume of class hand with 1Gi"},
		{"a volume that is to come", []metav1.Object{now, schedtest.Claim("data", "now")}, "the volume of claim data is being made by example.com/disk", "see that example.com/disk runs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, pod := New(DefaultArgs(), schedtest.NewStorage(tt.have...), NewReservations()), schedtest.Pod("p").Claims("data").Info()
			if _, s := p.PreFilter(t.Context(), &framework.CycleState{}, pod, nodes()); !s.Rejected() {
				t.Fatalf("%v", s)
			}
			var remedies []string
			if tt.remedy != "" {
				remedies = []string{tt.remedy}
			}
			expectAdvice(t, p.AdvisePod(t.Context(), pod), tt.detail, remedies)
		})
	}
}

// TestAdviseReserved: another pod's binding has taken the claim's volume.
func TestAdviseReserved(t *testing.T) {
	s := schedtest.NewStorage(schedtest.Class("static", volume.NotSupportedProvisioner), schedtest.Claim("data", "static"), schedtest.Volume("pv-1", "static", "n2"))
	p, state, all := New(DefaultArgs(), s, NewReservations()), &framework.CycleState{}, nodes()
	first, second := schedtest.Pod("p").Claims("data").Info(), schedtest.Pod("q").Claims("data").Info()
	p.PreFilter(t.Context(), state, first, all)
	if status := p.Reserve(t.Context(), state, first, "n2"); !status.Success() {
		t.Fatal(status)
	}
	state = &framework.CycleState{}
	p.PreFilter(t.Context(), state, second, all)
	expectAdvice(t, p.Advise(t.Context(), state, second, all.Get("n1")), "claim data is being bound to volume pv-1 that is only on n2", []string{"use another claim than data"})
}

func expectAdvice(t *testing.T, got framework.Advice, detail string, remedies []string) {
	t.Helper()
	var texts []string
	for _, r := range got.Remedies {
		texts = append(texts, r.Description)
	}
	if diff := cmp.Diff(remedies, texts); diff != "" || got.Detail != detail {
		t.Errorf("%q %s", got.Detail, diff)
	}
}
