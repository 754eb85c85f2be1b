package volume

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/agent/objects"
)

// anchorPEM is the certificate of a new authority.
func anchorPEM(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func (b *bench) bundle(name, signer, label, anchors string) *certificatesv1.ClusterTrustBundle {
	b.t.Helper()
	bundle := &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"of": label}},
		Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: anchors}}
	if err := b.client.Create(b.t.Context(), bundle); err != nil {
		b.t.Fatal(err)
	}
	return bundle
}

func trustVolume(s corev1.ClusterTrustBundleProjection) corev1.Volume {
	s.Path = "anchors.pem"
	return corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ClusterTrustBundle: &s}}}}}
}

// The signer a.com/b has the bundles one, with the authorities x and y, and two,
// with y and z; nobody has the bundle free, with x.
func TestTrustBundles(t *testing.T) {
	b := newBench(t)
	x, y, z := anchorPEM(t), anchorPEM(t), anchorPEM(t)
	b.bundle("a.com:b:one", "a.com/b", "one", "text\n"+x+y)
	b.bundle("a.com:b:two", "a.com/b", "two", y+z)
	b.bundle("free", "", "one", x)
	signer := func(s *metav1.LabelSelector, optional *bool) corev1.ClusterTrustBundleProjection {
		return corev1.ClusterTrustBundleProjection{SignerName: ptr.To("a.com/b"), LabelSelector: s, Optional: optional}
	}
	name := func(n string, optional *bool) corev1.ClusterTrustBundleProjection {
		return corev1.ClusterTrustBundleProjection{Name: &n, Optional: optional}
	}
	two := &metav1.LabelSelector{MatchLabels: map[string]string{"of": "two"}}
	other := &metav1.LabelSelector{MatchLabels: map[string]string{"of": "x"}}
	for _, c := range []struct {
		name   string
		source corev1.ClusterTrustBundleProjection
		want   []string
		err    string
	}{
		{"by name", name("a.com:b:one", nil), []string{x, y}, ""},
		{"of nobody", name("free", nil), []string{x}, ""},
		{"of a signer", signer(&metav1.LabelSelector{}, nil), []string{x, y, z}, ""},
		{"of a signer, selected", signer(two, nil), []string{y, z}, ""},
		{"none by name", name("x", nil), nil, `clustertrustbundle "x" not found`},
		{"none by name, optional", name("x", ptr.To(true)), nil, ""},
		{"none selected", signer(other, ptr.To(false)), nil, `no clustertrustbundle of signer "a.com/b" matches the label selector "of=x"`},
		{"none selected, optional", signer(other, ptr.To(true)), nil, ""},
		{"no selector", signer(nil, nil), nil, `no clustertrustbundle of signer "a.com/b" matches the label selector "<none>"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := podWith(trustVolume(c.source))
			if c.err != "" {
				if err := b.retain(pod, nil); err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			got := read(t, filepath.Join(b.setUp(pod, nil)["v"].HostPath, "anchors.pem"))
			if strings.Count(got, "BEGIN") != len(c.want) || strings.Contains(got, "text") {
				t.Errorf("got\n%s", got)
			}
			for _, anchor := range c.want {
				if !strings.Contains(got, anchor) {
					t.Errorf("there is no\n%s in\n%s", anchor, got)
				}
			}
		})
	}
}

// retain is setUp of what fails.
func (b *bench) retain(pod *corev1.Pod, changed func()) error {
	b.t.Helper()
	if err := b.objects.Retain("uid-p", objects.Of(pod), changed); err != nil {
		b.t.Fatal(err)
	}
	_, err := b.manager.SetUp(b.t.Context(), pod)
	return err
}

// Containers run as 1, by the pod's or by their own context, or as somebody else.
func TestSoleUser(t *testing.T) {
	user := func(id int64) corev1.Container {
		return corev1.Container{SecurityContext: &corev1.SecurityContext{RunAsUser: &id}}
	}
	ones := &corev1.PodSecurityContext{RunAsUser: ptr.To(int64(1))}
	for _, c := range []struct {
		name string
		spec corev1.PodSpec
		want *int64
	}{
		{"nobody says", corev1.PodSpec{Containers: make([]corev1.Container, 1)}, nil},
		{"the pod says", corev1.PodSpec{SecurityContext: ones, Containers: make([]corev1.Container, 2)}, ptr.To(int64(1))},
		{"all say", corev1.PodSpec{InitContainers: []corev1.Container{user(1)}, Containers: []corev1.Container{user(1)}}, ptr.To(int64(1))},
		{"one does not", corev1.PodSpec{Containers: []corev1.Container{user(1), {}}}, nil},
		{"one is another", corev1.PodSpec{SecurityContext: ones, Containers: []corev1.Container{{}, user(2)}}, nil},
		{"an init container is another", corev1.PodSpec{InitContainers: []corev1.Container{user(0)}, Containers: []corev1.Container{user(1)}}, nil},
	} {
		if got := soleUser(&c.spec); !ptr.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestTrustBundlesFollow(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root gives files away")
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		pod := podWith(trustVolume(corev1.ClusterTrustBundleProjection{SignerName: ptr.To("a.com/b"), LabelSelector: &metav1.LabelSelector{}}))
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To(int64(1000)), RunAsUser: ptr.To(int64(1001))}
		changed := 0
		if err := b.retain(pod, func() { changed++ }); err == nil {
			t.Fatal("set up without a bundle")
		}
		x, y := anchorPEM(t), anchorPEM(t)
		bundle := b.bundle("a.com:b:one", "a.com/b", "", x)
		synctest.Wait()
		if changed != 1 {
			t.Fatalf("%d changes were told, want 1", changed)
		}
		file := filepath.Join(b.setUp(pod, nil)["v"].HostPath, "anchors.pem")
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("the group's file has the mode %v (%v)", info.Mode(), err)
		} else if owner := info.Sys().(*syscall.Stat_t); owner.Uid != 1001 || owner.Gid != 1000 {
			t.Errorf("the file is %d's and the group %d's", owner.Uid, owner.Gid)
		}
		bundle.Spec.TrustBundle = y
		if err := b.client.Update(t.Context(), bundle); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.setUp(pod, nil)
		if got := read(t, file); got != y {
			t.Errorf("it shows\n%s", got)
		}
	})
}
