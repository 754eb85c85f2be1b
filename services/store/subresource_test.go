package store_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/auth"
	"navarch.dev/navarch/services/store/storetest"
)

// Whoever may add ephemeral containers to a pod can do that and nothing else.
func TestEphemeralContainers(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "one"}}},
	}
	early := pod.DeepCopy()
	early.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "d", Image: "debug"}}}
	if err := c.Create(ctx, early); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "cannot be set on create") {
		t.Errorf("create with an ephemeral container: %v", err)
	}
	create(t, c, pod)
	tests := []struct {
		name, patch string
		refused     string
	}{
		{name: "add one, and change what is not its to change",
			patch: `{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"two"}],"ephemeralContainers":[{"name":"d","image":"debug"}]}}`},
		{name: "add another", patch: `{"spec":{"ephemeralContainers":[{"name":"e","image":"debug","targetContainerName":"c"}]}}`},
		{name: "change one", patch: `{"spec":{"ephemeralContainers":[{"name":"d","image":"other"}]}}`, refused: `"d" may not be changed`},
		{name: "remove one", patch: `{"spec":{"ephemeralContainers":[{"$patch":"delete","name":"d"}]}}`, refused: `"d" may not be removed`},
		{name: "a name that is taken", patch: `{"spec":{"ephemeralContainers":[{"name":"c","image":"x"}]}}`, refused: "Duplicate value"},
	}
	for _, test := range tests {
		err := c.Patch(ctx, pod, types.StrategicMergePatchType, []byte(test.patch), "ephemeralcontainers")
		if test.refused == "" && err != nil || test.refused != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), test.refused)) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if err := c.Get(ctx, "default", "p", pod); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range pod.Spec.EphemeralContainers {
		names = append(names, e.Name)
	}
	// A strategic merge puts what it adds first.
	if diff := cmp.Diff([]string{"e", "d"}, names); diff != "" {
		t.Errorf("ephemeral containers (-want +got):\n%s", diff)
	}
	if pod.Spec.Containers[0].Image != "one" || pod.Labels != nil {
		t.Errorf("changed beyond its ephemeral containers: image %s, labels %v", pod.Spec.Containers[0].Image, pod.Labels)
	}
	err := c.Patch(ctx, pod, types.StrategicMergePatchType, []byte(`{"spec":{"ephemeralContainers":[{"name":"f","image":"debug"}]}}`), "")
	if !apierrors.IsInvalid(err) {
		t.Errorf("ephemeral container without the subresource: %v", err)
	}
}

func certificateRequest(t *testing.T, name, signer string, organizations ...string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "x", Organization: organizations}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: signer, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth}, Username: "somebody-else",
		},
	}
}

// Requests say who made them; only those who may decide for a signer decide,
// and only signers hand out certificates.
func TestCertificateRequests(t *testing.T) {
	ctx := t.Context()
	s := storetest.New(t, storetest.WithControl(auth.New(auth.DefaultConfig())))
	admin := s.Client(storetest.Admin())
	rules := []rbacv1.PolicyRule{
		{APIGroups: []string{certificatesv1.GroupName}, Resources: []string{"certificatesigningrequests", "certificatesigningrequests/approval", "certificatesigningrequests/status"}, Verbs: []string{"*"}},
		{APIGroups: []string{certificatesv1.GroupName}, Resources: []string{"signers"}, ResourceNames: []string{"example.com/*"}, Verbs: []string{"approve"}},
	}
	create(t, admin,
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "approver"}, Rules: rules},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "approver"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "approver"},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "jane"}},
		})
	jane := s.Client(identity.Identity{Name: "jane", UID: "7", Groups: []string{identity.GroupAuthenticated}, Extra: map[string][]string{"k": {"v"}}})
	csr := certificateRequest(t, "a", "example.com/client")
	other := certificateRequest(t, "b", "other.com/client")
	create(t, jane, csr, other)
	if diff := cmp.Diff(certificatesv1.CertificateSigningRequestSpec{
		Request: csr.Spec.Request, SignerName: csr.Spec.SignerName, Usages: csr.Spec.Usages,
		Username: "jane", UID: "7", Groups: []string{identity.GroupAuthenticated}, Extra: map[string]certificatesv1.ExtraValue{"k": {"v"}},
	}, csr.Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	if err := jane.Create(ctx, certificateRequest(t, "m", certificatesv1.KubeAPIServerClientSignerName, identity.GroupMasters)); !apierrors.IsForbidden(err) {
		t.Errorf("request for a master's certificate: %v", err)
	}
	approval := []byte(`{"metadata":{"annotations":{"why":"asked"}},"spec":{"username":"root"},"status":{"certificate":"aGVsbG8=","conditions":[{"type":"Approved","status":"True","reason":"Fine"}]}}`)
	if err := jane.Patch(ctx, other, types.MergePatchType, approval, "approval"); !apierrors.IsForbidden(err) {
		t.Errorf("approve for another signer: %v", err)
	}
	if err := jane.Patch(ctx, csr, types.MergePatchType, approval, "approval"); err != nil {
		t.Fatalf("approve: %v", err)
	}
	switch condition := csr.Status.Conditions[0]; {
	case csr.Spec.Username != "jane", len(csr.Status.Certificate) > 0:
		t.Errorf("the approval changed more than conditions: %+v", csr)
	case csr.Annotations["why"] != "asked":
		t.Errorf("the approval lost an annotation: %v", csr.Annotations)
	case condition.LastUpdateTime.IsZero(), condition.LastTransitionTime.IsZero():
		t.Errorf("the approval does not say when: %+v", condition)
	}
	if err := jane.Patch(ctx, csr, types.MergePatchType, []byte(`{"status":{"conditions":[]}}`), "approval"); !apierrors.IsInvalid(err) {
		t.Errorf("take an approval back: %v", err)
	}
	sign := signature(t)
	if err := jane.Patch(ctx, csr, types.MergePatchType, sign, "status"); !apierrors.IsForbidden(err) {
		t.Errorf("sign: %v", err)
	}
	if err := admin.Patch(ctx, csr, types.MergePatchType, []byte(`{"status":{"certificate":"aGVsbG8="}}`), "status"); !apierrors.IsInvalid(err) {
		t.Errorf("sign with what is no certificate: %v", err)
	}
	if err := admin.Patch(ctx, csr, types.MergePatchType, sign, "status"); err != nil {
		t.Fatal(err)
	}
	if len(csr.Status.Certificate) == 0 || len(csr.Status.Conditions) != 1 {
		t.Errorf("signed: %+v", csr.Status)
	}
	if err := admin.Patch(ctx, csr, types.MergePatchType, signature(t), "status"); !apierrors.IsInvalid(err) {
		t.Errorf("sign again: %v", err)
	}
}

// signature is a patch that puts some certificate into a request's status.
func signature(t *testing.T) []byte {
	t.Helper()
	authority, err := certs.LoadOrCreate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"certificate": authority.CertPEM(), "conditions": []any{}}})
	if err != nil {
		t.Fatal(err)
	}
	return patch
}
