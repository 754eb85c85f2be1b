package store_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/store/storetest"
)

func TestServiceAccountOfPods(t *testing.T) {
	c := storetest.New(t, storetest.WithServiceAccounts()).Client(storetest.Admin())
	named := func(name string) *corev1.ServiceAccount {
		return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	}
	create(t, c, named("default"))
	quiet := named("quiet")
	quiet.AutomountServiceAccountToken = ptr.To(false)
	quiet.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
	create(t, c, quiet)

	const at = "/var/run/secrets/kubernetes.io/serviceaccount"
	own := corev1.VolumeMount{Name: "own", MountPath: at}
	tests := []struct {
		name    string
		change  func(*corev1.PodSpec)
		account string
		mounted bool // in the container "c"
		secrets []corev1.LocalObjectReference
	}{
		{"plain", func(*corev1.PodSpec) {}, "default", true, nil},
		{"the pod wants none", func(s *corev1.PodSpec) { s.AutomountServiceAccountToken = ptr.To(false) }, "default", false, nil},
		{"the account wants none", func(s *corev1.PodSpec) { s.ServiceAccountName = "quiet" }, "quiet", false, quiet.ImagePullSecrets},
		{"the pod wants one all the same", func(s *corev1.PodSpec) {
			s.ServiceAccountName, s.AutomountServiceAccountToken = "quiet", ptr.To(true)
			s.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "mine"}}
		}, "quiet", true, []corev1.LocalObjectReference{{Name: "mine"}}},
		{"the container has its own", func(s *corev1.PodSpec) {
			s.Volumes = []corev1.Volume{{Name: "own", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
			s.Containers[0].VolumeMounts = []corev1.VolumeMount{own}
		}, "default", false, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := pod("")
			p.GenerateName = "p-"
			tt.change(&p.Spec)
			create(t, c, p)
			if p.Spec.ServiceAccountName != tt.account {
				t.Errorf("account %q", p.Spec.ServiceAccountName)
			}
			if diff := cmp.Diff(tt.secrets, p.Spec.ImagePullSecrets); diff != "" {
				t.Errorf("pull secrets (-want +got):\n%s", diff)
			}
			volumes, mounts := 0, 0
			for _, v := range p.Spec.Volumes {
				if strings.HasPrefix(v.Name, "kube-api-access-") && len(v.Projected.Sources) == 3 {
					volumes++
				}
			}
			for _, m := range p.Spec.Containers[0].VolumeMounts {
				if strings.HasPrefix(m.Name, "kube-api-access-") && m.MountPath == at && m.ReadOnly {
					mounts++
				}
			}
			if want := map[bool]int{true: 1}[tt.mounted]; volumes != want || mounts != want {
				t.Errorf("%d volumes and %d mounts, want %d", volumes, mounts, want)
			}
		})
	}
}

// Equal pods are made of equal containers, down to the name of the volume that
// has the token: whoever holds many of them can hold those once.
func TestTokenVolumesOfEqualPodsAreEqual(t *testing.T) {
	c := storetest.New(t, storetest.WithServiceAccounts()).Client(storetest.Admin())
	create(t, c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}})
	a, b := pod("a"), pod("b")
	create(t, c, a)
	create(t, c, b)
	if diff := cmp.Diff(a.Spec, b.Spec); diff != "" {
		t.Errorf("two pods of one spec differ (-a +b):\n%s", diff)
	}
}

func TestServiceAccountMustExist(t *testing.T) {
	c := storetest.New(t, storetest.WithServiceAccounts()).Client(storetest.Admin())
	p := pod("p")
	p.Spec.ServiceAccountName = "nobody"
	err := c.Create(t.Context(), p)
	const want = `pods "p" is forbidden: error looking up service account default/nobody: serviceaccount "nobody" not found`
	if !apierrors.IsForbidden(err) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	mirror := pod("mirror")
	mirror.Spec.NodeName = "n"
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	create(t, c, mirror)
	if mirror.Spec.ServiceAccountName != "" || len(mirror.Spec.Volumes) != 0 {
		t.Errorf("a mirror pod was given an account: %+v", mirror.Spec)
	}
}
