package podcertificate

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/store/storetest"
)

// world is a Store with a node, a pod on it that names one signer, and a manager.
type world struct {
	t       *testing.T
	client  *client.Client
	pod     *corev1.Pod
	dir     string
	manager *Manager
	stop    context.CancelFunc

	mu      sync.Mutex
	changes int
	events  []string
}

// EventAt implements Recorder.
func (w *world) EventAt(_ kinds.Object, _, _, reason, message string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, reason+": "+message)
}

// asking is a world in which a certificate has been asked for.
func asking(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, "ECDSAP256")
	if _, err := w.get(); err == nil {
		t.Fatal("there is a certificate that nobody has issued")
	}
	return w
}

func newWorld(t *testing.T, keyType string) *world {
	t.Helper()
	w := &world{t: t, client: storetest.New(t).Client(storetest.Admin()), dir: t.TempDir()}
	w.pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{
		ServiceAccountName: "s", NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "i:1"}},
		Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{PodCertificate: &corev1.PodCertificateProjection{SignerName: "a.com/b", KeyType: keyType, CredentialBundlePath: "c",
				MaxExpirationSeconds: ptr.To(int32(7200)), UserAnnotations: map[string]string{"a.com/x": "y"}}}}}}}},
	}}
	for _, obj := range []kinds.Object{
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}}, w.pod,
	} {
		if err := w.client.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	w.begin()
	return w
}

// begin starts a manager, as an agent does.
func (w *world) begin() {
	ctx, stop := context.WithCancel(w.t.Context())
	w.stop = stop
	w.manager = New(ctx, Config{NodeName: "n", Dir: w.dir}, w.client, w, func(string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.changes++
	}, telemetry.Discard("agent").Log)
}

func (w *world) get() (Credential, error) { return w.manager.Get(w.t.Context(), w.pod, "v", 0) }

func (w *world) seen() (changes int, events []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changes, w.events
}

// requests are those that wait for an answer.
func (w *world) requests() []*certificatesv1.PodCertificateRequest {
	w.t.Helper()
	synctest.Wait()
	all := &certificatesv1.PodCertificateRequestList{}
	if err := w.client.List(w.t.Context(), all, client.ListOptions{}); err != nil {
		w.t.Fatal(err)
	}
	var open []*certificatesv1.PodCertificateRequest
	for i := range all.Items {
		if len(all.Items[i].Status.Conditions) == 0 {
			open = append(open, &all.Items[i])
		}
	}
	return open
}

// one is the request that waits for an answer.
func (w *world) one() *certificatesv1.PodCertificateRequest {
	w.t.Helper()
	open := w.requests()
	if len(open) != 1 {
		w.t.Fatalf("%d requests wait for an answer, want 1", len(open))
	}
	return open[0]
}

// say answers a request by a condition.
func (w *world) say(r *certificatesv1.PodCertificateRequest, condition string) {
	w.t.Helper()
	r.Status.Conditions = []metav1.Condition{{Type: condition, Status: metav1.ConditionTrue, Reason: "R", Message: "because", LastTransitionTime: metav1.Now()}}
	if err := w.client.UpdateStatus(w.t.Context(), r); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

// sign issues what a request asks for: two hours, renewed after one.
func (w *world) sign(r *certificatesv1.PodCertificateRequest) {
	w.t.Helper()
	asked, err := x509.ParseCertificateRequest(r.Spec.StubPKCS10Request)
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now.Add(2 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, asked.PublicKey, key)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Status.CertificateChain = "a comment\n" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	r.Status.NotBefore, r.Status.NotAfter = ptr.To(metav1.NewTime(now)), ptr.To(metav1.NewTime(template.NotAfter))
	r.Status.BeginRefreshAt = ptr.To(metav1.NewTime(now.Add(time.Hour)))
	w.say(r, certificatesv1.PodCertificateRequestConditionTypeIssued)
}

func TestEveryTypeOfKeys(t *testing.T) {
	for _, keyType := range []string{"RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"} {
		t.Run(keyType, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, keyType)
				defer w.stop()
				got := make(chan Credential, 1)
				go func() {
					c, err := w.get()
					if err != nil {
						t.Error(err)
					}
					got <- c
				}()
				r := w.one()
				if r.Spec.PodUID != w.pod.UID || r.Spec.NodeName != "n" || r.Spec.ServiceAccountName != "s" || *r.Spec.MaxExpirationSeconds != 7200 ||
					r.Spec.UnverifiedUserAnnotations["a.com/x"] != "y" || len(r.OwnerReferences) != 1 || r.OwnerReferences[0].UID != w.pod.UID {
					t.Errorf("the request is %+v of %v", r.Spec, r.OwnerReferences)
				}
				w.sign(r)
				c := <-got
				if _, err := tls.X509KeyPair(c.Chain, c.Key); err != nil {
					t.Errorf("the key does not fit the certificate: %v", err)
				}
				if strings.Contains(string(c.Chain), "comment") {
					t.Errorf("the chain has more than certificates:\n%s", c.Chain)
				}
				if changes, _ := w.seen(); changes != 0 {
					t.Errorf("%d changes were told to who waited for them", changes)
				}
			})
		})
	}
}

// Nobody answers at first; who waits is told for what, and of the answer.
func TestWhatThereIsToWaitFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "ECDSAP256")
		defer w.stop()
		if _, err := w.get(); err == nil || !strings.Contains(err.Error(), "waits for its signer a.com/b") {
			t.Errorf("error %v", err)
		}
		w.sign(w.one())
		if changes, _ := w.seen(); changes != 1 {
			t.Errorf("%d changes were told, want 1", changes)
		}
		if _, err := w.get(); err != nil {
			t.Error(err)
		}
	})
}

// expectState checks what is counted of the one certificate.
func (w *world) expectState(state string) {
	w.t.Helper()
	if got := w.manager.States(); len(got) != 1 || got[SignerState{"a.com/b", state}] != 1 {
		w.t.Errorf("the states are %v, want one that is %s", got, state)
	}
}

func TestRefusals(t *testing.T) {
	for answer, want := range map[string]string{
		"Denied": `permanently denied: reason="R" message="because"`, "Failed": `permanently failed: reason="R" message="because"`,
	} {
		t.Run(answer, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := asking(t)
				defer w.stop()
				w.say(w.one(), answer)
				if _, err := w.get(); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q", err, want)
				}
				w.expectState(strings.ToLower(answer))
				if _, events := w.seen(); len(events) != 1 || !strings.HasPrefix(events[0], answer+": PodCertificateRequest default/req-") {
					t.Errorf("events %q", events)
				}
				time.Sleep(24 * time.Hour)
				if open := w.requests(); len(open) != 0 {
					t.Errorf("it is asked for again: %d", len(open))
				}
			})
		})
	}
}

func TestRemovedRequestIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := asking(t)
		defer w.stop()
		first := w.one()
		if err := w.client.Delete(t.Context(), first, client.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if again := w.one(); again.UID == first.UID {
			t.Error("the same request is there")
		}
	})
}

func TestPodThatIsGoneAsksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := asking(t)
		defer w.stop()
		now := int64(0)
		for _, obj := range []kinds.Object{w.pod, w.one()} {
			if err := w.client.Delete(t.Context(), obj, client.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		if open := w.requests(); len(open) != 0 {
			t.Errorf("%d requests were made for it", len(open))
		}
	})
}

// A certificate is renewed an hour after it was issued. The signer then lets
// everybody wait, until it has ended.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := asking(t)
		defer w.stop()
		w.sign(w.one())
		first, err := w.get()
		if err != nil {
			t.Fatal(err)
		}
		w.expectState("fresh")
		time.Sleep(59 * time.Minute)
		if open := w.requests(); len(open) != 0 {
			t.Errorf("it is renewed after less than an hour")
		}
		time.Sleep(7 * time.Minute)
		w.sign(w.one())
		second, err := w.get()
		if err != nil || string(second.Key) == string(first.Key) {
			t.Errorf("after its renewal it has the same key (%v)", err)
		}
		if changes, events := w.seen(); changes != 2 || len(events) != 0 {
			t.Errorf("%d changes were told, want 2; events %q", changes, events)
		}
		time.Sleep(65 * time.Minute)
		w.one()
		time.Sleep(time.Hour)
		w.expectState("expired")
		kept, err := w.get()
		if err != nil || string(kept.Key) != string(second.Key) {
			t.Errorf("it is gone before there is another one (%v)", err)
		}
		_, events := w.seen()
		if len(events) != 2 || !strings.HasPrefix(events[0], "CertificateOverdueForRefresh") || !strings.HasPrefix(events[1], "CertificateExpired") {
			t.Errorf("events %q", events)
		}
	})
}

func TestAnotherAgentFindsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := asking(t)
		w.sign(w.one())
		before, err := w.get()
		if err != nil {
			t.Fatal(err)
		}
		w.stop()
		w.begin()
		after, err := w.get()
		if err != nil || string(after.Key) != string(before.Key) || string(after.Chain) != string(before.Chain) {
			t.Errorf("the new agent has another certificate (%v)", err)
		}
		time.Sleep(66 * time.Minute)
		w.one() // it renews it as the old one would have
		w.stop()
		path := filepath.Join(w.dir, string(w.pod.UID), "certificates", "v.0")
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		w.begin()
		defer w.stop()
		if _, err := w.get(); err == nil || !strings.Contains(err.Error(), "waits for its signer") {
			t.Errorf("what cannot be read counts as a certificate (%v)", err)
		}
	})
}

func TestForgottenPodAsksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := asking(t)
		defer w.stop()
		w.sign(w.one())
		w.manager.Forget(string(w.pod.UID))
		time.Sleep(24 * time.Hour)
		if open := w.requests(); len(open) != 0 {
			t.Error("it is renewed")
		}
		if _, events := w.seen(); len(events) != 0 {
			t.Errorf("events %q", events)
		}
	})
}
