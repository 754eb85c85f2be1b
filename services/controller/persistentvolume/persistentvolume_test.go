package persistentvolume_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/persistentvolume"
)

// Volumes and claims as their changes to a plain one: 1Gi, ReadWriteOnce, of
// no class.
func pv(name string, change ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		Capacity:                      size("1Gi"),
		AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/data"}},
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
	}}
	for _, f := range change {
		f(v)
	}
	return v
}

func claim(name string, change ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:        corev1.VolumeResourceRequirements{Requests: size("1Gi")},
		StorageClassName: ptr.To(""),
	}}
	for _, f := range change {
		f(c)
	}
	return c
}

func size(s string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(s)}
}

func sized(s string) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) { v.Spec.Capacity = size(s) }
}

func asking(s string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) { c.Spec.Resources.Requests = size(s) }
}

func reserved(name string) func(*corev1.PersistentVolume) {
	return func(v *corev1.PersistentVolume) {
		v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: name}
	}
}

func naming(name string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = name }
}

func ofClass(name string) func(*corev1.PersistentVolumeClaim) {
	return func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = ptr.To(name) }
}

func class(name, provisioner string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &mode}
}

func start(t *testing.T) *controllertest.Cluster {
	c := controllertest.New(t)
	c.Start(c.Controller(persistentvolume.New(c.Deps)))
	return c
}

// awaitState waits until claims ("a Bound v1") and volumes ("v1 Bound a") read
// as wanted, and an event has the wanted text.
func awaitState(t *testing.T, c *controllertest.Cluster, claims, volumes, event string) {
	t.Helper()
	same := func(lines []string, want string) bool { return strings.Join(lines, ", ") == want }
	controllertest.Await(c, "claims "+claims, func(all []*corev1.PersistentVolumeClaim) bool {
		var lines []string
		for _, c := range all {
			lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s", c.Name, c.Status.Phase, c.Spec.VolumeName)))
		}
		return same(lines, claims)
	})
	controllertest.Await(c, "volumes "+volumes, func(all []*corev1.PersistentVolume) bool {
		var lines []string
		for _, v := range all {
			line := v.Name + " " + string(v.Status.Phase)
			if ref := v.Spec.ClaimRef; ref != nil && ref.UID != "" {
				line += " " + ref.Name
			}
			lines = append(lines, line)
		}
		return same(lines, volumes)
	})
	if event != "" {
		c.AwaitEvent(event)
	}
}

func TestBinding(t *testing.T) {
	shared := func(v *corev1.PersistentVolume) {
		v.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany, corev1.ReadWriteOnce}
	}
	block := func(v *corev1.PersistentVolume) { v.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock) }
	fast := func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "fast" }
	gold := func(v *corev1.PersistentVolume) { v.Labels = map[string]string{"tier": "gold"} }
	wantsGold := func(c *corev1.PersistentVolumeClaim) {
		c.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "gold"}}
	}
	wantsShared := func(c *corev1.PersistentVolumeClaim) {
		c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	}
	none := "Normal FailedBinding a: no persistent volumes available for this claim and no storage class is set"
	delayed := func() kinds.Object {
		return class("late", "example.com/disk", storagev1.VolumeBindingWaitForFirstConsumer)
	}
	for _, tt := range []struct {
		name                   string
		have                   []kinds.Object
		claims, volumes, event string
	}{
		{"nothing there", []kinds.Object{claim("a")}, "a Pending", "", none},
		{"nobody asks", []kinds.Object{pv("v")}, "", "v Available", ""},
		{"the only one", []kinds.Object{pv("v"), claim("a")}, "a Bound v", "v Bound a", ""},
		{"the smallest that is large enough", []kinds.Object{pv("v1", sized("5Gi")), pv("v2", sized("3Gi")), pv("v3", sized("1Gi")), claim("a", asking("2Gi"))},
			"a Bound v2", "v1 Available, v2 Bound a, v3 Available", ""},
		{"too small", []kinds.Object{pv("v"), claim("a", asking("2Gi"))}, "a Pending", "v Available", none},
		{"by access mode", []kinds.Object{pv("v1"), pv("v2", sized("2Gi"), shared), claim("a", wantsShared)}, "a Bound v2", "v1 Available, v2 Bound a", ""},
		{"by mode", []kinds.Object{pv("v", block), claim("a")}, "a Pending", "v Available", none},
		{"by selector", []kinds.Object{pv("v1"), pv("v2", sized("2Gi"), gold), claim("a", wantsGold)}, "a Bound v2", "v1 Available, v2 Bound a", ""},
		{"by class", []kinds.Object{pv("v", fast), claim("a")}, "a Pending", "v Available", none},
		{"of a class that need not exist", []kinds.Object{pv("v", fast), claim("a", ofClass("fast"))}, "a Bound v", "v Bound a", ""},
		{"reserved for it", []kinds.Object{pv("v1"), pv("v2", sized("2Gi"), reserved("a")), claim("a")}, "a Bound v2", "v1 Available, v2 Bound a", ""},
		{"reserved for another", []kinds.Object{pv("v", reserved("b")), claim("a")}, "a Pending", "v Available", none},
		{"named", []kinds.Object{pv("v1"), pv("v2", sized("2Gi")), claim("a", naming("v2"))}, "a Bound v2", "v1 Available, v2 Bound a", ""},
		{"named, not there", []kinds.Object{pv("v1"), claim("a", naming("v2"))}, "a Pending v2", "v1 Available", ""},
		{"named, does not suit", []kinds.Object{pv("v"), claim("a", naming("v"), asking("2Gi"))}, "a Pending v", "v Available",
			`Warning VolumeMismatch a: Cannot bind to requested volume "v": requested PV is too small`},
		{"named, reserved for another", []kinds.Object{pv("v", reserved("b")), claim("a", naming("v"))}, "a Pending v", "v Available",
			`Warning FailedBinding a: volume "v" already bound to a different claim.`},
		{"both ways, delayed class", []kinds.Object{delayed(), pv("v", reserved("a")), claim("a", ofClass("late"))}, "a Bound v", "v Bound a", ""},
		{"delayed", []kinds.Object{delayed(), pv("v", func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "late" }), claim("a", ofClass("late"))},
			"a Pending", "v Available", "Normal WaitForFirstConsumer a: waiting for first consumer to be created before binding"},
		{"class missing", []kinds.Object{claim("a", ofClass("absent"))}, "a Pending", "",
			`Warning ProvisioningFailed a: storageclass.storage.k8s.io "absent" not found`},
		{"external provisioner", []kinds.Object{class("csi", "example.com/disk", storagev1.VolumeBindingImmediate), claim("a", ofClass("csi"))}, "a Pending", "",
			"Normal ExternalProvisioning a: Waiting for a volume to be created either by the external provisioner 'example.com/disk'"},
		{"no provisioner", []kinds.Object{class("manual", "kubernetes.io/no-provisioner", storagev1.VolumeBindingImmediate), claim("a", ofClass("manual"))},
			"a Pending", "", "Warning ProvisioningFailed a: no volume plugin matched"},
		{"default class, later", []kinds.Object{claim("a", func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil })}, "a Pending", "",
			"Normal WaitForFirstConsumer a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			// A volume can be had once it is Available. All are before the claim
			// comes: which it is given of those that there are is the question.
			c := start(t)
			var claims []kinds.Object
			volumes := 0
			for _, obj := range tt.have {
				switch obj.(type) {
				case *corev1.PersistentVolumeClaim:
					claims = append(claims, obj)
					continue
				case *corev1.PersistentVolume:
					volumes++
				}
				c.Apply(obj)
			}
			controllertest.Await(c, "the volumes to be available", func(all []*corev1.PersistentVolume) bool {
				available := 0
				for _, v := range all {
					if v.Status.Phase == corev1.VolumeAvailable {
						available++
					}
				}
				return available == volumes
			})
			c.Apply(claims...)
			awaitState(t, c, tt.claims, tt.volumes, tt.event)
		})
	}
}

func TestTwoClaimsNeverShareAVolume(t *testing.T) {
	c := start(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		c.Apply(claim(name))
	}
	c.Apply(pv("v1"), pv("v2"))
	controllertest.Await(c, "two bound claims", func(all []*corev1.PersistentVolumeClaim) bool {
		bound := map[string]bool{}
		for _, claim := range all {
			if claim.Status.Phase == corev1.ClaimBound {
				bound[claim.Spec.VolumeName] = true
			}
		}
		return len(all) == 4 && len(bound) == 2
	})
}

func TestBoundObjectsSayHow(t *testing.T) {
	c := start(t)
	c.Apply(pv("v", sized("3Gi")), claim("a"))
	got := controllertest.Await(c, "a bound claim", func(all []*corev1.PersistentVolumeClaim) bool {
		return len(all) == 1 && all[0].Status.Phase == corev1.ClaimBound
	})[0]
	want := map[string]string{volume.AnnBindCompleted: "yes", volume.AnnBoundByController: "yes"}
	if diff := cmp.Diff(want, got.Annotations); diff != "" {
		t.Error(diff)
	}
	if q := got.Status.Capacity[corev1.ResourceStorage]; q.String() != "3Gi" || len(got.Status.AccessModes) != 1 {
		t.Errorf("status = %+v", got.Status)
	}
	v := &corev1.PersistentVolume{}
	if err := c.Get(t.Context(), "", "v", v); err != nil {
		t.Fatal(err)
	}
	if v.Annotations[volume.AnnBoundByController] != "yes" || v.Spec.ClaimRef.UID != got.UID || v.Status.LastPhaseTransitionTime == nil {
		t.Errorf("volume = %+v", v)
	}
}

func TestAfterTheClaim(t *testing.T) {
	policy := func(p corev1.PersistentVolumeReclaimPolicy, provisioner string) func(*corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) {
			v.Spec.PersistentVolumeReclaimPolicy = p
			if provisioner != "" {
				v.Annotations = map[string]string{volume.AnnDynamicallyProvisioned: provisioner}
			}
		}
	}
	for _, tt := range []struct {
		name           string
		pv             *corev1.PersistentVolume
		volumes, event string
	}{
		{"retained", pv("v"), "v Released a", ""},
		{"left to its provisioner", pv("v", policy(corev1.PersistentVolumeReclaimDelete, "example.com/disk")), "v Released a", ""},
		{"nobody deletes it", pv("v", policy(corev1.PersistentVolumeReclaimDelete, "")), "v Failed a",
			`Warning VolumeFailedDelete v: error getting deleter volume plugin for volume "v": no deletable volume plugin matched`},
		{"nobody recycles it", pv("v", policy(corev1.PersistentVolumeReclaimRecycle, "")), "v Failed a", "Warning VolumeFailedRecycle v"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := start(t)
			a := claim("a")
			c.Apply(tt.pv, a)
			awaitState(t, c, "a Bound v", "v Bound a", "")
			c.Remove(a, "")
			awaitState(t, c, "", tt.volumes, tt.event)
			// One of the same name is another claim.
			c.Apply(claim("a"))
			awaitState(t, c, "a Pending", tt.volumes, "FailedBinding a")
		})
	}
}

func TestLostAndFreed(t *testing.T) {
	t.Run("the volume is gone", func(t *testing.T) {
		c := start(t)
		v := pv("v")
		c.Apply(v, claim("a"))
		awaitState(t, c, "a Bound v", "v Bound a", "")
		c.Remove(v, "")
		awaitState(t, c, "a Lost v", "", "Warning ClaimLost a: Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	})
	t.Run("the volume is another's", func(t *testing.T) {
		c := start(t)
		c.Apply(pv("v", reserved("b")), claim("a", naming("v"), func(c *corev1.PersistentVolumeClaim) {
			c.Annotations = map[string]string{volume.AnnBindCompleted: "yes"}
		}), claim("b"))
		awaitState(t, c, "a Lost v, b Bound v", "v Bound b", "Warning ClaimMisbound a")
	})
	t.Run("a free volume is made free for a claim that waits", func(t *testing.T) {
		c := start(t)
		c.Apply(claim("a"))
		awaitState(t, c, "a Pending", "", "FailedBinding a")
		c.Apply(pv("v"))
		awaitState(t, c, "a Bound v", "v Bound a", "")
		b := claim("b")
		c.Apply(b)
		awaitState(t, c, "a Bound v, b Pending", "v Bound a", "FailedBinding b")
	})
	t.Run("taken half by a controller that died", func(t *testing.T) {
		c := controllertest.New(t)
		a, v := claim("a"), pv("v", reserved("a"))
		c.Apply(a)
		v.Spec.ClaimRef.UID = a.UID
		v.Annotations = map[string]string{volume.AnnBoundByController: "yes"}
		c.Apply(v, pv("v0"))
		c.Start(c.Controller(persistentvolume.New(c.Deps)))
		awaitState(t, c, "a Bound v", "v Bound a, v0 Available", "")
	})
	t.Run("the claim took another", func(t *testing.T) {
		c := controllertest.New(t)
		a, v := claim("a", naming("v2")), pv("v1", reserved("a"))
		c.Apply(a)
		v.Spec.ClaimRef.UID = a.UID
		v.Annotations = map[string]string{volume.AnnBoundByController: "yes"}
		c.Apply(v, pv("v2"))
		c.Start(c.Controller(persistentvolume.New(c.Deps)))
		awaitState(t, c, "a Bound v2", "v1 Available, v2 Bound a", "")
	})
}
