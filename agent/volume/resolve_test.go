package volume

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/agent/objects"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/auth"
	"navarch.dev/navarch/services/store/auth/token"
	"navarch.dev/navarch/services/store/storetest"
)

func newResolver(t *testing.T) (*bench, *Resolver) {
	t.Helper()
	b := newBench(t)
	return b, NewResolver(b.client, b.objects, nil, telemetry.Discard("agent").Log)
}

func (b *bench) resolve(r *Resolver, pod *corev1.Pod) error {
	b.t.Helper()
	if err := b.objects.Retain("uid-p", objects.Of(pod), nil); err != nil {
		b.t.Fatal(err)
	}
	_, err := r.SetUp(b.t.Context(), pod)
	return err
}

func TestResolverSaysWhatIsMissing(t *testing.T) {
	b, r := newResolver(t)
	name := func(n string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: n} }
	for _, tt := range []struct {
		name   string
		source corev1.VolumeSource
		want   string
	}{
		{"emptyDir", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, ""},
		{"path of the host", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/nowhere"}}, ""},
		{"config map", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: name("conf")}}, `volume "v" : configmap "conf" not found`},
		{"secret", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}, `volume "v" : secret "s" not found`},
		{"trust bundle", trustVolume(corev1.ClusterTrustBundleProjection{Name: ptr.To("x")}).VolumeSource, `volume "v" : clustertrustbundle "x" not found`},
		{"certificate", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{PodCertificate: &corev1.PodCertificateProjection{}}}}}, `volume "v" : volumes of this type are not supported`},
		{"claim", corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}, `failed to fetch PVC`},
		{"claim of its own", corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}, `failed to fetch PVC`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := b.resolve(r, podWith(corev1.Volume{Name: "v", VolumeSource: tt.source}))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	b.configMap("conf", map[string]string{"a": "1"})
	conf := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: name("conf")}}})
	for b.resolve(r, conf) != nil && t.Context().Err() == nil {
		time.Sleep(time.Millisecond) // until the watch has told of it
	}
	if _, err := os.Stat(b.dir); !os.IsNotExist(err) {
		t.Errorf("something is on the disk: %v", err)
	}
}

// issuer counts the tokens that it issues.
type issuer struct {
	access.TokenIssuer
	count atomic.Int64
}

func (i *issuer) IssueToken(ctx context.Context, account, request kinds.Object) ([]string, error) {
	i.count.Add(1)
	return i.TokenIssuer.IssueToken(ctx, account, request)
}

func TestResolverRenewsTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var counted issuer
		s := storetest.New(t, storetest.WithControl(func(r access.Reader) (access.Control, error) {
			cfg := auth.DefaultConfig()
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				return access.Control{}, err
			}
			signing, err := token.NewKey(key)
			if err != nil {
				return access.Control{}, err
			}
			cfg.Tokens.Keys = []token.Key{signing}
			control, err := auth.New(cfg)(r)
			counted.TokenIssuer = control.TokenIssuer
			control.TokenIssuer = &counted
			return control, err
		}))
		c := s.Client(storetest.Admin())
		if err := c.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}); err != nil {
			t.Fatal(err)
		}
		pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: ptr.To(int64(3600))}},
		}}}})
		pod.UID, pod.Spec.ServiceAccountName = "", "default"
		pod.Spec.Containers[0].Image = "app:1"
		if err := c.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := NewResolver(c, objects.New(ctx, c), nil, telemetry.Discard("agent").Log)
		if _, err := r.SetUp(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		for hours, want := range []int64{1, 2, 3} { // after 0, 48 and 96 minutes
			if n := counted.count.Load(); n != want {
				t.Errorf("after %d hours there have been %d tokens, want %d", hours, n, want)
			}
			time.Sleep(time.Hour)
		}
		if err := r.TearDown(string(pod.UID)); err != nil {
			t.Fatal(err)
		}
		before := counted.count.Load()
		time.Sleep(3 * time.Hour)
		if n := counted.count.Load(); n != before {
			t.Errorf("%d tokens were made for a pod that is gone", n-before)
		}
	})
}
