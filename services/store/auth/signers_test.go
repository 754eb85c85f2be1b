package auth

import (
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
)

// mayAll lets a user do something with signers' names.
func mayAll(user, verb string, signers ...string) []kinds.Object {
	return []kinds.Object{
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: verb + user}, Rules: []rbacv1.PolicyRule{{
			Verbs: []string{verb}, APIGroups: []string{certificatesv1.GroupName}, Resources: []string{"signers"}, ResourceNames: signers}}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: verb + user}, Subjects: []rbacv1.Subject{{Kind: "User", Name: user}},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: verb + user}},
	}
}

// ann attests for a.com/b, and for all of c.com.
func TestWhoAttests(t *testing.T) {
	control, _ := newTestControl(t, mayAll("ann", "attest", "a.com/b", "c.com/*")...)
	bundle := func(signer, certificates string, labels map[string]string) *certificatesv1.ClusterTrustBundle {
		return &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: "x", Labels: labels}, Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: certificates}}
	}
	owned := bundle("a.com/c", "x", nil)
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "c", UID: "u"}}
	const no = `user not permitted to attest for signerName "a.com/c"`
	for _, c := range []struct {
		name     string
		obj, old *certificatesv1.ClusterTrustBundle
		want     string
	}{
		{"for nobody", bundle("", "x", nil), nil, ""},
		{"for a signer", bundle("a.com/b", "x", nil), nil, ""},
		{"for one of a domain", bundle("c.com/anything", "x", nil), nil, ""},
		{"for another", bundle("a.com/c", "x", nil), nil, no},
		{"other certificates", bundle("a.com/c", "y", nil), bundle("a.com/c", "x", nil), no},
		{"for whom labels select", bundle("a.com/c", "x", map[string]string{"a": "b"}), bundle("a.com/c", "x", nil), no},
		{"an owner taken off", bundle("a.com/c", "x", nil), owned, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := writeOf(t, person("ann"), c.obj, nil)
			if c.old != nil {
				w.Old = c.old
			}
			refusal(t, control.Guard.CheckWrite(t.Context(), w), c.want)
		})
	}
}

// The cluster's own certificates are published by the controllers, and nobody
// else's are.
func TestControllersAttest(t *testing.T) {
	control, _ := newTestControl(t)
	for signer, want := range map[string]string{"kubernetes.io/kube-apiserver-serving": "", "a.com/b": "not permitted to attest"} {
		bundle := &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: signer}}
		refusal(t, control.Guard.CheckWrite(t.Context(), writeOf(t, identity.Service(identity.Controller), bundle, nil)), want)
	}
	d, err := control.Authorizer.Authorize(t.Context(), access.Attributes{User: person("system:serviceaccount:a:b", "system:serviceaccounts"),
		Verb: "list", Group: certificatesv1.GroupName, Version: "v1", Resource: "clustertrustbundles"})
	if err != nil || !d.Allowed {
		t.Errorf("service accounts read bundles: %+v, %v", d, err)
	}
}

func TestWhoSignsForPods(t *testing.T) {
	control, _ := newTestControl(t, mayAll("ann", "sign", "a.com/b")...)
	request := func(signer, chain string) *certificatesv1.PodCertificateRequest {
		return &certificatesv1.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "r"},
			Spec: certificatesv1.PodCertificateRequestSpec{SignerName: signer}, Status: certificatesv1.PodCertificateRequestStatus{CertificateChain: chain}}
	}
	for _, c := range []struct{ name, signer, chain, subresource, want string }{
		{"its own", "a.com/b", "x", "status", ""},
		{"another's", "a.com/c", "x", "status", `User "ann" is not permitted to "sign" for signer "a.com/c"`},
		{"nothing of another's", "a.com/c", "", "status", ""},
		{"what is not a status of another's", "a.com/c", "x", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := writeOf(t, person("ann"), request(c.signer, c.chain), request(c.signer, ""))
			w.Subresource = c.subresource
			refusal(t, control.Guard.CheckWrite(t.Context(), w), c.want)
		})
	}
}

// Pod a/p of node n1 runs as the account runner and names the signer a.com/b;
// node n1 may ask a.com/extra for certificates of runner.
func TestNodesPodCertificates(t *testing.T) {
	pod := testPod("a", "p", "n1")
	pod.Spec.Volumes = []corev1.Volume{{Name: "c", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{PodCertificate: &corev1.PodCertificateProjection{SignerName: "a.com/b"}}}}}}}
	mirror := testPod("a", "m", "n1")
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	of := func(node string) *certificatesv1.PodCertificateRequest {
		return &certificatesv1.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "of-" + node}, Spec: certificatesv1.PodCertificateRequestSpec{NodeName: types.NodeName(node)}}
	}
	extra := []kinds.Object{
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "extra"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"request-serviceaccounts-podcertificate-signer"},
			APIGroups: []string{certificatesv1.GroupName}, Resources: []string{"a.com:extra"}, ResourceNames: []string{"runner"}}}},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "extra"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "system:node:n1"}},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "extra"}},
	}
	control, _ := newTestControl(t, append(extra, pod, mirror, testPod("a", "q", "n2"), of("n1"), of("n2"),
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "uid-n1"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "runner", UID: "uid-runner"}})...)
	type spec = certificatesv1.PodCertificateRequestSpec
	for _, c := range []struct {
		name   string
		change func(*spec)
		want   string
	}{
		{"its own", func(*spec) {}, ""},
		{"of a signer that it may ask", func(s *spec) { s.SignerName = "a.com/extra" }, ""},
		{"of another signer", func(s *spec) { s.SignerName = "a.com/c" }, `pod "a/p" does not mount a podCertificate projected volume for signer "a.com/c"`},
		{"another node's", func(s *spec) { s.NodeName = "n2" }, `PodCertificateRequest.Spec.NodeName="n2", which is not the requesting node "n1"`},
		{"an earlier node's", func(s *spec) { s.NodeUID = "old" }, `names the uid "old" of nodes "n1", which has the uid "uid-n1"`},
		{"another node's pod", func(s *spec) { s.PodName, s.PodUID = "q", "uid-q" }, `pod "a/q" is not running on node "n1"`},
		{"an earlier pod's", func(s *spec) { s.PodUID = "old" }, `names the uid "old" of pods "p"`},
		{"a pod's that is gone", func(s *spec) { s.PodName = "x" }, `pods "x" not found`},
		{"a mirror's", func(s *spec) { s.PodName, s.PodUID = "m", "uid-m" }, `pod "a/m" is a mirror pod`},
		{"another account's", func(s *spec) { s.ServiceAccountName = "root" }, `contains serviceAccountName ("root") that differs from running pod ("runner")`},
		{"an earlier account's", func(s *spec) { s.ServiceAccountUID = "old" }, `names the uid "old" of serviceaccounts "runner"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &certificatesv1.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "r"}, Spec: spec{SignerName: "a.com/b",
				PodName: "p", PodUID: "uid-p", ServiceAccountName: "runner", ServiceAccountUID: "uid-runner", NodeName: "n1", NodeUID: "uid-n1"}}
			c.change(&r.Spec)
			refusal(t, control.Guard.CheckWrite(t.Context(), writeOf(t, identity.Node("n1"), r, nil)), c.want)
		})
	}
	refusal(t, control.Guard.CheckWrite(t.Context(), writeOf(t, identity.Node("n1"), of("n1"), of("n1"))), "may only create PodCertificateRequests")
	for _, c := range []struct {
		verb, object, subresource, fields string
		want                              bool
	}{
		{"create", "", "", "", true},
		{"get", "of-n1", "", "", true},
		{"get", "of-n2", "", "", false},
		{"get", "gone", "", "", false},
		{"get", "of-n1", "status", "", false},
		{"update", "of-n1", "status", "", false},
		{"delete", "of-n1", "", "", false},
		{"watch", "", "", "spec.nodeName=n1,spec.podName=p", true},
		{"list", "", "", "spec.nodeName=n2", false},
		{"list", "", "", "", false},
	} {
		d, err := control.Authorizer.Authorize(t.Context(), access.Attributes{User: identity.Node("n1"), Verb: c.verb, Group: certificatesv1.GroupName, Version: "v1",
			Resource: "podcertificaterequests", Subresource: c.subresource, Namespace: "a", Name: c.object, FieldSelector: c.fields})
		if err != nil || d.Allowed != c.want {
			t.Errorf("%+v: allowed %v (%s, %v)", c, d.Allowed, d.Reason, err)
		}
	}
}
