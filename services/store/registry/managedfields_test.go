package registry

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/kinds"
)

// changes are edits of a Deployment. Each may leave it as it is.
func changes(r *rand.Rand) []func(d *appsv1.Deployment) {
	container := func(d *appsv1.Deployment) *corev1.Container { return &d.Spec.Template.Spec.Containers[0] }
	return []func(d *appsv1.Deployment){
		func(d *appsv1.Deployment) { d.Labels["app"] = []string{"a", "b"}[r.IntN(2)] },
		func(d *appsv1.Deployment) { delete(d.Labels, "tier") },
		func(d *appsv1.Deployment) { d.Labels = nil },
		func(d *appsv1.Deployment) { d.Annotations = map[string]string{"note": "x"} },
		func(d *appsv1.Deployment) { d.Finalizers = append(d.Finalizers, "a.test/b") },
		func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To(int32(r.IntN(3))) },
		func(d *appsv1.Deployment) { container(d).Image = []string{"i:1", "i:2"}[r.IntN(2)] },
		func(d *appsv1.Deployment) {
			c := container(d)
			c.Ports = append(c.Ports, corev1.ContainerPort{ContainerPort: int32(8000 + r.IntN(3)), Protocol: corev1.ProtocolTCP})
		},
		func(d *appsv1.Deployment) { container(d).Ports = nil },
		func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: "side", Image: "s"})
		},
		func(d *appsv1.Deployment) { d.Spec.Template.Labels = maps.Clone(d.Labels) },
		func(d *appsv1.Deployment) { d.Status.Replicas = int32(r.IntN(2)) },
	}
}

// TestFieldsAreTrackedByWhatDiffers edits a Deployment as several managers in
// turn: to leave out what is the same before and after must not show.
func TestFieldsAreTrackedByWhatDiffers(t *testing.T) {
	registry := kinds.Default()
	kind, err := registry.ForObject(&appsv1.Deployment{})
	if err != nil {
		t.Fatal(err)
	}
	fields := newTracker(registry)
	r := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		live := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d", Namespace: "n", UID: "u", Labels: map[string]string{"app": "a", "tier": "t"}}}
		live.Spec.Template.Spec.Containers = []corev1.Container{{Name: "main", Image: "i:1", Ports: []corev1.ContainerPort{{ContainerPort: 8000, Protocol: corev1.ProtocolTCP}}}}
		if err := fields.trackNew(Write{Kind: kind, Manager: "creator", FromUser: true}, live); err != nil {
			t.Fatal(err)
		}
		for range 6 {
			w := Write{Kind: kind, Manager: []string{"a", "b", "creator"}[r.IntN(3)], FromUser: true, Subresource: []string{"", "", "status"}[r.IntN(3)]}
			edited := live.DeepCopy()
			for _, change := range changes(r) {
				if edited.Labels != nil && r.IntN(4) == 0 {
					change(edited)
				}
			}
			whole, before := edited.DeepCopy(), live.DeepCopy()
			if err := fields.update(w, whole, live.DeepCopy()); err != nil {
				t.Fatal(err)
			}
			if err := fields.track(w, edited, live); err != nil {
				t.Fatal(err)
			}
			unordered := cmpopts.SortSlices(func(a, b metav1.ManagedFieldsEntry) bool { return a.Manager+a.Subresource < b.Manager+b.Subresource })
			if diff := cmp.Diff(whole.ManagedFields, edited.ManagedFields, unordered, cmpopts.IgnoreFields(metav1.ManagedFieldsEntry{}, "Time")); diff != "" {
				t.Fatalf("fields tracked by whole objects (-) and by what differs (+):\n%s", diff)
			}
			whole.ManagedFields = slices.Clone(edited.ManagedFields)
			if diff := cmp.Diff(whole, edited); diff != "" {
				t.Fatalf("tracking changed the object:\n%s", diff)
			}
			if diff := cmp.Diff(before, live); diff != "" {
				t.Fatalf("tracking changed the object as it was:\n%s", diff)
			}
			live = edited
		}
	}
}

// TestNobodyOwnsWhatWasAskedFor: what a certificate request asks for is its
// creator's for ever, and who writes its status owns what that write can change.
func TestNobodyOwnsWhatWasAskedFor(t *testing.T) {
	registry := kinds.Default()
	kind, err := registry.ForObject(&certificatesv1.CertificateSigningRequest{})
	if err != nil {
		t.Fatal(err)
	}
	fields := newTracker(registry)
	live := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "c", Labels: map[string]string{"a": "b"}},
		Spec:       certificatesv1.CertificateSigningRequestSpec{Request: []byte("r"), SignerName: "s.test/s", Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth}},
	}
	if err := fields.trackNew(Write{Kind: kind, Manager: "creator", FromUser: true}, live); err != nil {
		t.Fatal(err)
	}
	answer := live.DeepCopy()
	answer.Status.Certificate = []byte("c")
	answer.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue}}
	for _, part := range []string{"status", "approval"} {
		before := live
		live = answer.DeepCopy()
		live.ManagedFields = before.ManagedFields
		if err := fields.track(Write{Kind: kind, Manager: part, FromUser: true, Subresource: part}, live, before); err != nil {
			t.Fatal(err)
		}
		answer.Status.Conditions[0].Reason = "again"
	}
	got := make(map[string]string)
	for _, e := range live.ManagedFields {
		got[e.Manager] = e.FieldsV1.GetRawString()
	}
	want := map[string]string{
		"creator":  `{"f:metadata":{"f:labels":{".":{},"f:a":{}}}}`,
		"status":   `{"f:status":{"f:certificate":{}}}`,
		"approval": `{"f:status":{"f:conditions":{"k:{\"type\":\"Approved\"}":{"f:reason":{}}}}}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the fields' owners differ (-want +got):\n%s", diff)
	}
}
