package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
)

// refusal checks that an error has the words of want, or is none for "".
func refusal(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func writeOf(t *testing.T, user identity.Identity, obj, old kinds.Object) access.Write {
	t.Helper()
	kind, err := kinds.Default().ForObject(obj)
	if err != nil {
		t.Fatal(err)
	}
	return access.Write{User: user, Kind: kind, Namespace: obj.GetNamespace(), Object: obj, Old: old}
}

func TestNodesOfThemselves(t *testing.T) {
	control, _ := newTestControl(t)
	node := func(labels ...string) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{}}}
		for i := 0; i < len(labels); i += 2 {
			n.Labels[labels[i]] = labels[i+1]
		}
		return n
	}
	owned := node()
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "x"}}
	const fence, role = "team.node-restriction.kubernetes.io/x", "node-role.kubernetes.io/control-plane"
	for _, c := range []struct {
		name     string
		obj, old *corev1.Node
		want     string
	}{
		{"what it is", node("kubernetes.io/hostname", "n1", "topology.kubernetes.io/zone", "z", "beta.kubernetes.io/os", "linux", "node.kubernetes.io/x", "1", "sub.kubelet.kubernetes.io/y", "1", "example.com/z", "1", "plain", "1"), nil, ""},
		{"fences and roles", node(role, "", fence, "1"), nil, "is not allowed to set the following labels: " + role + ", " + fence},
		{"a changed fence", node(fence, "1"), node(fence, "2"), "is not allowed to modify labels: " + fence},
		{"a fence taken away", node(), node(fence, ""), "is not allowed to modify labels: " + fence},
		{"a fence as it is", node(fence, "1", "plain", "2"), node(fence, "1"), ""},
		{"a role as it is", node(role, ""), node(role, ""), ""},
		{"an owner", owned, node(), "is not allowed to modify ownerReferences"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := writeOf(t, identity.Node("n1"), c.obj, nil)
			if c.old != nil {
				w.Old = c.old
			}
			refusal(t, control.Guard.CheckWrite(t.Context(), w), c.want)
		})
	}
}

func TestMirrorPodsOwners(t *testing.T) {
	control, _ := newTestControl(t)
	own := metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: "n1"}
	other, blocking := own, own
	other.Name, blocking.BlockOwnerDeletion = "n2", ptr.To(true)
	for _, c := range []struct {
		name   string
		owners []metav1.OwnerReference
		want   string
	}{
		{"none", nil, ""},
		{"its node", []metav1.OwnerReference{own}, ""},
		{"another node", []metav1.OwnerReference{other}, "owner reference set to itself"},
		{"twice", []metav1.OwnerReference{own, own}, "single owner reference"},
		{"blocking", []metav1.OwnerReference{blocking}, "must not set blockOwnerDeletion"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "m", OwnerReferences: c.owners, Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"}}}
			pod.Spec.NodeName = "n1"
			refusal(t, control.Guard.CheckWrite(t.Context(), writeOf(t, identity.Node("n1"), pod, nil)), c.want)
		})
	}
}

// Pod a/p of node n1 names the audience vault in a volume; its CSI volumes'
// driver asks for tokens for cloud. Node n1 may get tokens for extra.
func TestNodesTokens(t *testing.T) {
	pod := testPod("a", "p", "n1")
	pod.Spec.Volumes = []corev1.Volume{
		{Name: "t", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "vault", Path: "t"}},
		}}}},
		{Name: "d", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
		{Name: "gone", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "gone"}}},
	}
	mounted := testPod("a", "mounted", "n1")
	mounted.Spec.Volumes = []corev1.Volume{{Name: "t", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
	}}}}}
	control, _ := newTestControl(t, pod, mounted, testPod("a", "q", "n2"),
		&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "v"}},
		&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v"}, Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "csi.test"}}}},
		&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "csi.test"}, Spec: storagev1.CSIDriverSpec{TokenRequests: []storagev1.TokenRequest{{Audience: "cloud"}}}},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "extra"}, Rules: []rbacv1.PolicyRule{{
			Verbs: []string{"request-serviceaccounts-token-audience"}, APIGroups: []string{""}, Resources: []string{"extra"}}}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "extra"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "system:node:n1"}},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "extra"}},
	)
	ref := func(name string) *authenticationv1.BoundObjectReference {
		return &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: name, UID: "uid"}
	}
	noUID := ref("p")
	noUID.UID = ""
	account, err := kinds.Default().ForObject(&corev1.ServiceAccount{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		ref       *authenticationv1.BoundObjectReference
		audiences []string
		want      string
	}{
		{"unbound", nil, nil, "not bound to a pod"},
		{"bound to a secret", &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: "s", UID: "u"}, nil, "not bound to a pod"},
		{"without a uid", noUID, nil, "without a uid"},
		{"another node's pod", ref("q"), nil, "scheduled on a different node"},
		{"for the cluster", ref("mounted"), nil, ""},
		{"for the cluster, which the pod does not want", ref("p"), nil, `audience "" not found in pod spec volume`},
		{"for whom a volume names", ref("p"), []string{"vault"}, ""},
		{"for whom a driver names", ref("p"), []string{"cloud"}, ""},
		{"for whom the node may", ref("p"), []string{"extra"}, ""},
		{"for somebody else", ref("p"), []string{"bank"}, `audience "bank" not found in pod spec volume`},
		{"for two", ref("p"), []string{"vault", "cloud"}, "0 or 1 audiences"},
		{"for a pod that is gone", ref("x"), []string{"bank"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := control.Guard.CheckWrite(t.Context(), access.Write{
				User: identity.Node("n1"), Kind: account, Namespace: "a", Subresource: "token",
				Object: &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: c.ref, Audiences: c.audiences}},
			})
			refusal(t, err, c.want)
		})
	}
}

func TestNodesCertificates(t *testing.T) {
	control, _ := newTestControl(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, signer, subject, want string }{
		{"its own", certificatesv1.KubeAPIServerClientKubeletSignerName, "system:node:n1", ""},
		{"another's", certificatesv1.KubeAPIServerClientKubeletSignerName, "system:node:n2", "can only create a node CSR with CN=system:node:n1"},
		{"another's for serving", certificatesv1.KubeletServingSignerName, "system:node:n2", "can only create a node CSR"},
		{"of another signer", "example.com/x", "somebody", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: c.subject}}, key)
			if err != nil {
				t.Fatal(err)
			}
			csr := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Spec: certificatesv1.CertificateSigningRequestSpec{
				SignerName: c.signer, Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			}}
			refusal(t, control.Guard.CheckWrite(t.Context(), writeOf(t, identity.Node("n1"), csr, nil)), c.want)
		})
	}
}

// TestNodesOfClaims: an agent tells how large a claim's volume has become, and no more.
func TestNodesOfClaims(t *testing.T) {
	control, _ := newTestControl(t)
	const refused = "is not allowed to update fields other than the capacity and conditions of claim"
	for _, c := range []struct {
		name   string
		change func(*corev1.PersistentVolumeClaim)
		want   string
	}{
		{"its size", func(c *corev1.PersistentVolumeClaim) {
			c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("2Gi")}
			c.Status.Conditions, c.Status.AllocatedResourceStatuses = nil, nil
		}, ""},
		{"its phase", func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimLost }, refused},
		{"its volume", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "other" }, refused},
		{"its labels", func(c *corev1.PersistentVolumeClaim) { c.Labels = map[string]string{"a": "b"} }, refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := &corev1.PersistentVolumeClaim{
				ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "data"},
				Status: corev1.PersistentVolumeClaimStatus{
					Phase: corev1.ClaimBound, Conditions: []corev1.PersistentVolumeClaimCondition{{Type: corev1.PersistentVolumeClaimFileSystemResizePending}},
					AllocatedResourceStatuses: map[corev1.ResourceName]corev1.ClaimResourceStatus{corev1.ResourceStorage: corev1.PersistentVolumeClaimNodeResizePending},
				},
			}
			changed := old.DeepCopy()
			c.change(changed)
			refusal(t, control.Guard.CheckWrite(t.Context(), writeOf(t, identity.Node("n1"), changed, old)), c.want)
		})
	}
	refusal(t, control.Guard.CheckWrite(t.Context(), writeOf(t, identity.Node("n1"), &corev1.PersistentVolumeClaim{}, nil)), "is not allowed to create claims")
}
