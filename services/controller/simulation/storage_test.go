package simulation_test

import (
	"cmp"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/localpath"
)

const (
	// classKept keeps volumes whose claims are gone, classNow binds at once, of
	// classStatic there is what users make.
	classKept, classNow, classStatic = "kept", "now", "static"
	// claimTemplate is the name of the template of claims.
	claimTemplate = "data"
	// important is the priority of pods that cannot go to another node.
	important = "important"
)

var storageDeeds = []deed{
	{"create a statefulset with claims", 8, (*world).createStorageSet},
	{"edit a statefulset with claims", 16, (*world).editStorageSet},
	{"delete a statefulset with claims", 3, func(w *world) {
		w.remove(&appsv1.StatefulSet{}, w.pick("disk-0", "disk-1"), metav1.DeletePropagationOrphan)
	}},
	{"create a claim", 10, (*world).createClaim},
	{"enlarge a claim", 5, (*world).enlargeClaim},
	{"delete a claim", 6, (*world).deleteClaim},
	{"create a pod with a claim", 12, (*world).createReader},
	{"delete a pod with a claim", 8, (*world).deleteReader},
	{"create a volume", 4, (*world).createVolume},
	{"delete a volume", 3, (*world).deleteVolume},
	{"free a volume", 4, (*world).freeVolume},
}

// storageObjects are what the storage deeds count on.
func storageObjects() []kinds.Object {
	objs := []kinds.Object{&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: important}, Value: 1000}}
	for name, change := range map[string]func(*storagev1.StorageClass){
		classKept: func(c *storagev1.StorageClass) { c.ReclaimPolicy = ptr.To(corev1.PersistentVolumeReclaimRetain) },
		classNow:  func(c *storagev1.StorageClass) { c.VolumeBindingMode = ptr.To(storagev1.VolumeBindingImmediate) },
		classStatic: func(c *storagev1.StorageClass) {
			c.Provisioner, c.AllowVolumeExpansion = volume.NotSupportedProvisioner, nil
		},
	} {
		c := localpath.Class()
		c.ObjectMeta = metav1.ObjectMeta{Name: name}
		change(c)
		objs = append(objs, c)
	}
	slices.SortFunc(objs, byName)
	return objs
}

func (w *world) size() corev1.VolumeResourceRequirements {
	return corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceStorage: *resource.NewQuantity((1+w.rng.Int64N(3))<<30, resource.BinarySI),
	}}
}

func (w *world) claimSpec(classes ...string) corev1.PersistentVolumeClaimSpec {
	return corev1.PersistentVolumeClaimSpec{
		StorageClassName: ptr.To(w.pick(classes...)), Resources: w.size(),
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
	}
}

func (w *world) retention() *appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy {
	policy := func() appsv1.PersistentVolumeClaimRetentionPolicyType {
		return appsv1.PersistentVolumeClaimRetentionPolicyType(w.pick("Retain", "Delete"))
	}
	return &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: policy(), WhenScaled: policy()}
}

func (w *world) createStorageSet() {
	name := w.pick("disk-0", "disk-1")
	s := &appsv1.StatefulSet{ObjectMeta: metaOf(name), Spec: appsv1.StatefulSetSpec{
		Replicas: ptr.To(w.rng.Int32N(5)), Selector: selector(name), Template: template(name, w.image()),
		VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{
			ObjectMeta: metav1.ObjectMeta{Name: claimTemplate}, Spec: w.claimSpec(localpath.ClassName, classKept, classNow),
		}},
		PersistentVolumeClaimRetentionPolicy: w.retention(),
	}}
	s.Spec.Template.Spec.PriorityClassName = important
	if name == "disk-1" {
		s.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	}
	w.tolerate(w.Create(w.t.Context(), s))
}

func (w *world) editStorageSet() {
	change(w, &appsv1.StatefulSet{}, "default", w.pick("disk-0", "disk-1"), func(s *appsv1.StatefulSet) {
		switch w.rng.IntN(4) {
		case 0, 1:
			s.Spec.Replicas = ptr.To(w.rng.Int32N(6))
		case 2:
			s.Spec.Template.Spec.Containers[0].Image = w.image()
		case 3:
			s.Spec.PersistentVolumeClaimRetentionPolicy = w.retention()
		}
	})
}

// claimName is one of the claims that belong to no StatefulSet; only one pod at
// a time may use the last.
func (w *world) claimName() string { return w.pick("scratch-0", "scratch-1", "scratch-2") }

func (w *world) createClaim() {
	name := w.claimName()
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metaOf(name), Spec: w.claimSpec(localpath.ClassName, classKept, classNow, classStatic)}
	if name == "scratch-2" {
		c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
	}
	w.tolerate(w.Create(w.t.Context(), c))
}

func (w *world) enlargeClaim() {
	change(w, &corev1.PersistentVolumeClaim{}, "default", w.claimName(), func(c *corev1.PersistentVolumeClaim) {
		if c.Status.Phase == corev1.ClaimBound && c.DeletionTimestamp == nil && *c.Spec.StorageClassName != classStatic {
			larger := c.Spec.Resources.Requests[corev1.ResourceStorage]
			larger.Add(resource.MustParse("1Gi"))
			c.Spec.Resources.Requests[corev1.ResourceStorage] = larger
		}
	})
}

// ask deletes an object, and says that it was asked for.
func (w *world) ask(obj kinds.Object) {
	w.t.Helper()
	w.auditor.state.asked[obj.GetUID()] = true
	w.tolerate(w.Delete(w.t.Context(), obj, client.DeleteOptions{UID: obj.GetUID()}))
}

// deleteClaim deletes a claim, be it in use or not.
func (w *world) deleteClaim() {
	if claim := some(w, func(c *corev1.PersistentVolumeClaim) bool { return c.Namespace == "default" }); claim != nil {
		w.ask(claim)
	}
}

func (w *world) createReader() {
	claim := w.claimName()
	pod := &corev1.Pod{ObjectMeta: metaOf(fmt.Sprintf("reader-%d", w.rng.IntN(4)))}
	pod.Spec = template("reader", w.image()).Spec
	pod.Labels = map[string]string{"app": "reader"}
	pod.Spec.PriorityClassName = important
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
	}}}
	w.tolerate(w.Create(w.t.Context(), pod))
}

func isReader(p *corev1.Pod) bool { return p.Labels["app"] == "reader" }

func (w *world) deleteReader() {
	if pod := w.somePod(func(p *corev1.Pod) bool { return isReader(p) && isActive(p) }); pod != nil {
		w.tolerate(w.Delete(w.t.Context(), pod, client.DeleteOptions{UID: pod.UID}))
	}
}

func (w *world) createVolume() {
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: w.pick("static-0", "static-1", "static-2")}, Spec: corev1.PersistentVolumeSpec{
		StorageClassName: classStatic, Capacity: w.size().Requests, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		AccessModes:            []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/mnt/static"}},
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{nodeName(w.rng.IntN(nodeCount))}}},
		}}}},
	}}
	w.tolerate(w.Create(w.t.Context(), pv))
}

// deleteVolume deletes a volume, be it bound or not.
func (w *world) deleteVolume() {
	if pv := some(w, func(*corev1.PersistentVolume) bool { return true }); pv != nil {
		w.ask(pv)
	}
}

// freeVolume lets another claim have a volume that was kept.
func (w *world) freeVolume() {
	pv := some(w, func(pv *corev1.PersistentVolume) bool { return pv.Status.Phase == corev1.VolumeReleased })
	if pv == nil {
		return
	}
	change(w, &corev1.PersistentVolume{}, "", pv.Name, func(pv *corev1.PersistentVolume) {
		if pv.Status.Phase == corev1.VolumeReleased {
			pv.Spec.ClaimRef = nil
		}
	})
}

func byName[T kinds.Object](a, b T) int {
	return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(fmt.Sprintf("%T", a), fmt.Sprintf("%T", b)), cmp.Compare(a.GetName(), b.GetName()))
}

// some returns one of the objects of a kind, as they were written last, that
// satisfies a condition; the zero value if there is none.
func some[T kinds.Object](w *world, ok func(T) bool) (chosen T) {
	fit := all[T](w.auditor.state)
	fit = slices.DeleteFunc(fit, func(obj T) bool { return !ok(obj) })
	if len(fit) == 0 {
		return chosen
	}
	slices.SortFunc(fit, byName)
	return fit[w.rng.IntN(len(fit))].DeepCopyObject().(T)
}
