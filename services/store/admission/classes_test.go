package admission_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/storetest"
)

const isDefault = "storageclass.kubernetes.io/is-default-class"

func storageClass(name string, annotations map[string]string, expands bool) *storagev1.StorageClass {
	return &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}, Provisioner: "example.com/p", AllowVolumeExpansion: &expands,
	}
}

func TestDefaultStorageClass(t *testing.T) {
	marked := map[string]string{isDefault: "true"}
	none := claim("none", "1Gi")
	none.Spec.StorageClassName = ptr.To("")
	old := claim("old", "1Gi")
	old.Annotations = map[string]string{corev1.BetaStorageClassAnnotation: "slow"}
	// Classes made in one second are equally old: then the name decides.
	c := newStore(t, storageClass("b", marked, false), storageClass("a", marked, false), storageClass("slow", nil, false))
	for _, test := range []struct {
		claim *corev1.PersistentVolumeClaim
		want  *string
	}{
		{claim("open", "1Gi"), ptr.To("a")}, {none, ptr.To("")}, {old, nil},
	} {
		mustCreate(t, c, test.claim)
		got := test.claim.Spec.StorageClassName
		if test.claim.Name == "open" && got != nil && *got == "b" {
			continue // made in the next second: then it is the newest
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("class of %s (-want +got):\n%s", test.claim.Name, diff)
		}
	}
}

func TestStorageIsProtected(t *testing.T) {
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "v"},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: list("storage", "1Gi"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/d"}},
		},
	}
	data := claim("c", "1Gi")
	gold := &storagev1.VolumeAttributesClass{ObjectMeta: metav1.ObjectMeta{Name: "gold"}, DriverName: "d", Parameters: map[string]string{"a": "b"}}
	newStore(t, volume, data, gold)
	if !slices.Equal(gold.Finalizers, []string{kinds.AttributesClassProtectionFinalizer}) {
		t.Errorf("finalizers of the class: %v", gold.Finalizers)
	}
	if !slices.Equal(volume.Finalizers, []string{kinds.VolumeProtectionFinalizer}) || !slices.Equal(data.Finalizers, []string{kinds.ClaimProtectionFinalizer}) {
		t.Errorf("finalizers %v, %v", volume.Finalizers, data.Finalizers)
	}
}

func TestClaimGrowsOnlyWhereItsClassAllows(t *testing.T) {
	for _, test := range []struct {
		name, class string
		phase       corev1.PersistentVolumeClaimPhase
		want        string
	}{
		{"bound, expandable", "elastic", corev1.ClaimBound, ""},
		{"pending", "elastic", corev1.ClaimPending, `persistentvolumeclaims "c" is forbidden: Only bound persistent volume claims can be expanded`},
		{"fixed", "fixed", corev1.ClaimBound, `persistentvolumeclaims "c" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize`},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := claim("c", "1Gi")
			data.Spec.StorageClassName = &test.class
			c := newStore(t, storageClass("elastic", nil, true), storageClass("fixed", nil, false), data)
			data.Status.Phase = test.phase
			if err := c.UpdateStatus(t.Context(), data); err != nil {
				t.Fatal(err)
			}
			data.Spec.Resources.Requests = list("storage", "2Gi")
			err := c.Update(t.Context(), data)
			if test.want != "" && err != nil && !isForbidden(err) {
				return // the kind's own rules refuse it first
			}
			if got := refusal(t, err); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestDefaultIngressClass(t *testing.T) {
	ingress := func(name string) *networkingv1.Ingress {
		return &networkingv1.Ingress{ObjectMeta: named(name), Spec: networkingv1.IngressSpec{
			DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "s", Port: networkingv1.ServiceBackendPort{Number: 80}}},
		}}
	}
	class := &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: "public", Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
		Spec:       networkingv1.IngressClassSpec{Controller: "example.com/i"},
	}
	open, annotated := ingress("open"), ingress("annotated")
	annotated.Annotations = map[string]string{"kubernetes.io/ingress.class": "other"}
	newStore(t, class, open, annotated)
	if got := ptr.Deref(open.Spec.IngressClassName, ""); got != "public" {
		t.Errorf("the class is %q", got)
	}
	if annotated.Spec.IngressClassName != nil {
		t.Errorf("an annotated Ingress got the class %q", *annotated.Spec.IngressClassName)
	}
}

func TestRuntimeClass(t *testing.T) {
	class := &nodev1.RuntimeClass{
		ObjectMeta: metav1.ObjectMeta{Name: "vm"}, Handler: "vm",
		Overhead: &nodev1.Overhead{PodFixed: list("cpu", "250m")},
		Scheduling: &nodev1.Scheduling{
			NodeSelector: map[string]string{"vm": "yes"},
			Tolerations:  []corev1.Toleration{{Key: "vm", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}},
		},
	}
	c := newStore(t, class)
	in := func(name, class string, change func(*corev1.PodSpec)) *corev1.Pod {
		pod := podOf(name)
		if class != "" {
			pod.Spec.RuntimeClassName = &class
		}
		change(&pod.Spec)
		return pod
	}
	for _, test := range []struct {
		pod  *corev1.Pod
		want string
	}{
		{in("plain", "vm", func(*corev1.PodSpec) {}), ""},
		{in("same", "vm", func(s *corev1.PodSpec) { s.Overhead = list("cpu", "0.25") }), ""},
		{in("other", "vm", func(s *corev1.PodSpec) { s.Overhead = list("cpu", "1") }),
			`pods "other" is forbidden: pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead`},
		{in("none", "", func(s *corev1.PodSpec) { s.Overhead = list("cpu", "1") }),
			`pods "none" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead`},
		{in("lost", "gone", func(*corev1.PodSpec) {}), `pods "lost" is forbidden: pod rejected: RuntimeClass "gone" not found`},
		{in("elsewhere", "vm", func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"vm": "no"} }),
			`pods "elsewhere" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no`},
	} {
		if got := refusal(t, c.Create(t.Context(), test.pod)); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
			continue
		}
		if test.want != "" {
			continue
		}
		spec := test.pod.Spec
		tolerated := slices.ContainsFunc(spec.Tolerations, func(t corev1.Toleration) bool { return t.Key == "vm" })
		if spec.Overhead.Cpu().MilliValue() != 250 || spec.NodeSelector["vm"] != "yes" || !tolerated {
			t.Errorf("%s: overhead %v, selector %v, tolerations %v", test.pod.Name, spec.Overhead, spec.NodeSelector, spec.Tolerations)
		}
	}
}

func TestExternalIPsAreAllowedUnlessAskedOtherwise(t *testing.T) {
	service := &corev1.Service{ObjectMeta: named("s"), Spec: corev1.ServiceSpec{
		ExternalIPs: []string{"203.0.113.7"}, Ports: []corev1.ServicePort{{Port: 80}},
	}}
	newStore(t, service.DeepCopy())
	config := store.DefaultConfig()
	config.EnableAdmissionPlugins = []string{admission.DenyServiceExternalIPs}
	c := storetest.New(t, storetest.WithConfig(config)).Client(storetest.Admin())
	want := `services "s" is forbidden: Use of external IPs is denied by admission control`
	if got := refusal(t, c.Create(t.Context(), service)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestNewNodesAreTainted(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	c := newStore(t, node)
	want := []corev1.Taint{{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}}
	if diff := cmp.Diff(want, node.Spec.Taints); diff != "" {
		t.Fatalf("taints (-want +got):\n%s", diff)
	}
	node.Spec.Taints = nil
	if err := c.Update(t.Context(), node); err != nil || len(node.Spec.Taints) > 0 {
		t.Errorf("an update was tainted: %v, %v", node.Spec.Taints, err)
	}
}
