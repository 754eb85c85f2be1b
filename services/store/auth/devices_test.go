package auth

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/access"
)

func testSlice(name, node string) *resourcev1.ResourceSlice {
	s := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourcev1.ResourceSliceSpec{Driver: "d.com"}}
	if node != "" {
		s.Spec.NodeName = &node
	}
	return s
}

// Pod a/p of node n1 has the claims named, made (of a template) and extended;
// the slices s1 and s2 are of the nodes n1 and n2, all of none.
func TestDevicesOfNodes(t *testing.T) {
	pod := testPod("a", "p", "n1")
	pod.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "x", ResourceClaimName: ptr.To("named")}, {Name: "y", ResourceClaimTemplateName: ptr.To("t")}}
	pod.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "y", ResourceClaimName: ptr.To("made")}}
	pod.Status.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{ResourceClaimName: "extended"}
	control, _ := newTestControl(t, pod, testSlice("s1", "n1"), testSlice("s2", "n2"), testSlice("all", ""))
	for _, c := range []struct {
		name, verb, resource, object, fields string
		want                                 bool
	}{
		{"a named claim", "get", "resourceclaims", "named", "", true},
		{"a claim made of a template", "get", "resourceclaims", "made", "", true},
		{"the claim of extended resources", "get", "resourceclaims", "extended", "", true},
		{"the watch of a claim", "watch", "resourceclaims", "", "metadata.name=made", true},
		{"another claim", "get", "resourceclaims", "other", "", false},
		{"all claims", "list", "resourceclaims", "", "", false},
		{"a change of a claim", "update", "resourceclaims", "named", "", false},
		{"its slice", "get", "resourceslices", "s1", "", true},
		{"a change of its slice", "update", "resourceslices", "s1", "", true},
		{"the deletion of its slice", "delete", "resourceslices", "s1", "", true},
		{"another node's slice", "get", "resourceslices", "s2", "", false},
		{"a slice of no node", "delete", "resourceslices", "all", "", false},
		{"a slice that is gone", "get", "resourceslices", "gone", "", false},
		{"its slices", "list", "resourceslices", "", "spec.nodeName=n1", true},
		{"the deletion of its slices", "deletecollection", "resourceslices", "", "spec.nodeName=n1", true},
		{"another's slices", "watch", "resourceslices", "", "spec.nodeName=n2", false},
		{"all slices", "list", "resourceslices", "", "", false},
		{"a new slice", "create", "resourceslices", "", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			namespace := ""
			if c.resource == "resourceclaims" {
				namespace = "a"
			}
			d, err := control.Authorizer.Authorize(t.Context(), access.Attributes{User: identity.Node("n1"), Verb: c.verb, Group: resourcev1.GroupName, Version: "v1",
				Resource: c.resource, Namespace: namespace, Name: c.object, FieldSelector: c.fields})
			if err != nil || d.Allowed != c.want {
				t.Errorf("allowed %v (%s, %v), want %v", d.Allowed, d.Reason, err, c.want)
			}
		})
	}
	const other = "can only create ResourceSlice with the same NodeName as the requesting node"
	for node, want := range map[string]string{"n1": "", "n2": other, "": other} {
		refusal(t, control.Guard.CheckWrite(t.Context(), writeOf(t, identity.Node("n1"), testSlice("new", node), nil)), want)
	}
	mirror := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "m", Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"}}}
	mirror.Spec.NodeName, mirror.Spec.ResourceClaims = "n1", pod.Spec.ResourceClaims
	refusal(t, control.Guard.CheckWrite(t.Context(), writeOf(t, identity.Node("n1"), mirror, nil)), "can not create pods that reference resourceclaims")
}
