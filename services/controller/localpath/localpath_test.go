package localpath_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	local "navarch.dev/navarch/internal/localpath"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/localpath"
	"navarch.dev/navarch/services/controller/persistentvolume"
)

func size(s string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(s)}
}

// claim is what the scheduler leaves of a claim whose pod goes to node.
func claim(name, node string, change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: ptr.To(local.ClassName),
		Resources: corev1.VolumeResourceRequirements{Requests: size("1Gi")},
	}}
	if node != "" {
		c.Annotations = map[string]string{volume.AnnSelectedNode: node}
	}
	for _, f := range change {
		f(c)
	}
	return c
}

// start has the nodes n1 and n2, which keep volumes, and n3, which does not.
func start(t *testing.T) *controllertest.Cluster {
	c := controllertest.New(t)
	for _, name := range []string{"n1", "n2", "n3"} {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
		if name != "n3" {
			n.Annotations = map[string]string{local.DirAnnotation: "/data/" + name + "/volumes"}
		}
		c.Apply(n)
		controllertest.Change(c, n, "status", func(n *corev1.Node) {
			n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		})
	}
	c.Start(c.Controller(localpath.New(c.Deps)), c.Controller(persistentvolume.New(c.Deps)))
	return c
}

func awaitVolume(c *controllertest.Cluster, phase corev1.PersistentVolumePhase) *corev1.PersistentVolume {
	return controllertest.Await(c, "a volume that is "+string(phase), func(all []*corev1.PersistentVolume) bool {
		return len(all) == 1 && all[0].Status.Phase == phase
	})[0]
}

func TestVolumeOfAClaim(t *testing.T) {
	c := start(t)
	a := claim("a", "n2")
	c.Apply(a)
	pv := awaitVolume(c, corev1.VolumeBound)
	want := corev1.PersistentVolumeSpec{
		Capacity: size("1Gi"), AccessModes: a.Spec.AccessModes, ClaimRef: pv.Spec.ClaimRef,
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete, StorageClassName: local.ClassName,
		VolumeMode: ptr.To(corev1.PersistentVolumeFilesystem),
		PersistentVolumeSource: corev1.PersistentVolumeSource{
			Local: &corev1.LocalVolumeSource{Path: "/data/n2/volumes/" + pv.Name},
		},
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"n2"}}},
		}}}},
	}
	if diff := cmp.Diff(want, pv.Spec); diff != "" {
		t.Error(diff)
	}
	if pv.Name != "pvc-"+string(a.UID) || pv.Labels[local.NodeLabel] != "n2" || !slices.Contains(pv.Finalizers, local.Finalizer) {
		t.Errorf("volume = %+v", pv.ObjectMeta)
	}
	c.AwaitEvent("Normal ProvisioningSucceeded a: Successfully provisioned volume " + pv.Name)
}

func TestClaimsThatAreNotServed(t *testing.T) {
	prefix := `Warning ProvisioningFailed a: failed to provision volume with StorageClass "local-path": `
	for _, tt := range []struct {
		name, node, event string
		change            func(*corev1.PersistentVolumeClaim)
	}{
		{"a block device", "n1", "navarch.dev/local-path does not support block volume provisioning", func(c *corev1.PersistentVolumeClaim) {
			c.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock)
		}},
		{"many writers", "n1", "access mode ReadWriteMany is not supported", func(c *corev1.PersistentVolumeClaim) {
			c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
		}},
		{"a selector", "n1", "claim.spec.selector is not supported", func(c *corev1.PersistentVolumeClaim) {
			c.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		}},
		{"a node that is gone", "n9", `node "n9" not found`, func(*corev1.PersistentVolumeClaim) {}},
		{"a node without volumes", "n3", `node "n3" keeps no local-path volumes`, func(*corev1.PersistentVolumeClaim) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := start(t)
			c.Apply(claim("a", tt.node, tt.change))
			c.AwaitEvent(prefix + tt.event)
			if !strings.HasPrefix(tt.name, "a node") {
				return
			}
			controllertest.Await(c, "a claim whose node is chosen again", func(all []*corev1.PersistentVolumeClaim) bool {
				return len(all) == 1 && all[0].Annotations[volume.AnnSelectedNode] == ""
			})
		})
	}
}

func TestClaimsThatWaitForNoPodAreSpread(t *testing.T) {
	c := start(t)
	c.Apply(&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "now"}, Provisioner: local.Provisioner})
	now := func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = ptr.To("now") }
	c.Apply(claim("a", "", now))
	awaitVolume(c, corev1.VolumeBound)
	c.Apply(claim("b", "", now))
	controllertest.Await(c, "a volume on each node", func(all []*corev1.PersistentVolume) bool {
		var nodes []string
		for _, pv := range all {
			nodes = append(nodes, pv.Labels[local.NodeLabel])
		}
		slices.Sort(nodes)
		return fmt.Sprint(nodes) == "[n1 n2]"
	})
}

func TestExpansion(t *testing.T) {
	c := start(t)
	a := claim("a", "n1")
	c.Apply(a)
	awaitVolume(c, corev1.VolumeBound)
	controllertest.Await(c, "a bound claim", func(all []*corev1.PersistentVolumeClaim) bool {
		return all[0].Status.Phase == corev1.ClaimBound
	})
	controllertest.Change(c, a, "", func(a *corev1.PersistentVolumeClaim) { a.Spec.Resources.Requests = size("3Gi") })
	controllertest.Await(c, "a larger claim", func(all []*corev1.PersistentVolumeClaim) bool {
		have := all[0].Status.Capacity[corev1.ResourceStorage]
		return have.String() == "3Gi"
	})
	if pv := awaitVolume(c, corev1.VolumeBound); !pv.Spec.Capacity.Storage().Equal(resource.MustParse("3Gi")) {
		t.Errorf("the volume has %v", pv.Spec.Capacity)
	}
}

func TestVolumesEndWithTheirData(t *testing.T) {
	c := start(t)
	a := claim("a", "n1")
	c.Apply(a)
	awaitVolume(c, corev1.VolumeBound)
	controllertest.Await(c, "a bound claim", func(all []*corev1.PersistentVolumeClaim) bool {
		return all[0].Status.Phase == corev1.ClaimBound
	})
	c.Remove(a, "")
	controllertest.Await(c, "a volume that waits for its node", func(all []*corev1.PersistentVolume) bool {
		return len(all) == 1 && all[0].DeletionTimestamp != nil && slices.Contains(all[0].Finalizers, local.Finalizer)
	})
	// There is no agent here: the node goes, and its data with it.
	c.Remove(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, "")
	controllertest.Await(c, "no volume", func(all []*corev1.PersistentVolume) bool { return len(all) == 0 })
}
