package volumebinding

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/schedtest"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// TestMigratedVolumes: node "old" has the label of zones that people use, node
// "new" the EBS driver's too; both are in zone a.
func TestMigratedVolumes(t *testing.T) {
	const ebs, drivers = "kubernetes.io/aws-ebs", "topology.ebs.csi.aws.com/zone"
	migrates := func(node, kinds string) *storagev1.CSINode {
		return &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: node, Annotations: map[string]string{corev1.MigratedPluginsAnnotationKey: kinds}}}
	}
	disk := func(change func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
		pv := schedtest.Volume("v", "", "")
		pv.Spec.AWSElasticBlockStore = &corev1.AWSElasticBlockStoreVolumeSource{VolumeID: "vol-1"}
		change(pv)
		return pv
	}
	affinity := func(zone string) func(*corev1.PersistentVolume) {
		return func(pv *corev1.PersistentVolume) {
			pv.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{zone}}},
			}}}}
		}
	}
	label := func(pv *corev1.PersistentVolume) {
		pv.Labels = map[string]string{corev1.LabelFailureDomainBetaZone: "a__b"}
	}
	for _, tt := range []struct {
		name     string
		pv       *corev1.PersistentVolume
		nodes    []metav1.Object
		old, new bool
	}{
		{"by the zone's label, no node leaves it to the driver", disk(affinity("a")), nil, true, true},
		{"by the driver's label, on nodes that do", disk(affinity("a")), []metav1.Object{migrates("old", ebs), migrates("new", "x,"+ebs)}, false, true},
		{"nodes leave other kinds to drivers", disk(affinity("a")), []metav1.Object{migrates("old", "kubernetes.io/gce-pd"), migrates("new", "")}, true, true},
		{"another zone", disk(affinity("c")), []metav1.Object{migrates("new", ebs)}, false, false},
		{"by the volume's own label", disk(label), []metav1.Object{migrates("old", ebs), migrates("new", ebs)}, false, true},
		{"a volume of a driver", schedtest.Volume("v", "", ""), []metav1.Object{migrates("old", ebs)}, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			have := append([]metav1.Object{schedtest.Bound(schedtest.Claim("a", ""), "v"), tt.pv}, tt.nodes...)
			p, state, pod := New(DefaultArgs(), schedtest.NewStorage(have...), NewReservations()), &framework.CycleState{}, schedtest.Pod("p").Claims("a").Info()
			all := snapshot.New(schedtest.Node("old").Label(corev1.LabelTopologyZone, "a").Info(),
				schedtest.Node("new").Label(corev1.LabelTopologyZone, "a").Label(drivers, "a").Info())
			if _, s := p.PreFilter(t.Context(), state, pod, all); !s.Success() {
				t.Fatal(s)
			}
			for node, want := range map[string]bool{"old": tt.old, "new": tt.new} {
				if got := p.Filter(t.Context(), state, pod, all.Get(node)); got.Success() != want {
					t.Errorf("node %s: %v", node, got)
				}
			}
		})
	}
}

func TestEventsOfMigration(t *testing.T) {
	node := func(kinds string) *storagev1.CSINode {
		return &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{corev1.MigratedPluginsAnnotationKey: kinds}}}
	}
	for _, tt := range []struct {
		name  string
		event framework.Event
		want  bool
	}{
		{"new", framework.Event{Resource: framework.CSINode, Action: framework.Add, New: node("")}, true},
		{"another kind", framework.Event{Resource: framework.CSINode, Action: framework.Update, Old: node("a"), New: node("a,b")}, true},
		{"another limit", framework.Event{Resource: framework.CSINode, Action: framework.Update, Old: node("a"), New: node("a")}, false},
	} {
		expectHelp(t, tt.name, tt.event, tt.want)
	}
}
