package store_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"iter"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/metadata"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/auth"
	tokens "navarch.dev/navarch/services/store/auth/token"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/backend/memory"
	"navarch.dev/navarch/services/store/storetest"
)

// laggingBackend is a Store's way to what it shares with others, on which it may
// be late to hear of changes.
type laggingBackend struct {
	backend.Backend
	hears chan struct{} // closed once changes come
}

// Watch implements backend.Backend.
func (b laggingBackend) Watch(ctx context.Context, prefix string, revision int64) iter.Seq[backend.Batch] {
	return func(yield func(backend.Batch) bool) {
		for batch := range b.Backend.Watch(ctx, prefix, revision) {
			select {
			case <-b.hears:
			case <-ctx.Done():
				return
			}
			if !yield(batch) {
				return
			}
		}
	}
}

// pair is two Stores on one backend, of which late may not have heard yet of what
// was written at prompt.
type pair struct {
	prompt, late *storetest.Store
	catchUp      func()
}

func newPair(t *testing.T) pair {
	t.Helper()
	shared := memory.New()
	t.Cleanup(func() { _ = shared.Close() })
	decide := auth.DefaultConfig()
	decide.Tokens.Keys = []tokens.Key{signingKey(t)}
	begin := func(b backend.Backend) *storetest.Store {
		return storetest.New(t, storetest.WithBackend(b), storetest.WithControl(auth.New(decide)), storetest.WithSeed(auth.Bootstrap()...),
			storetest.WithServiceAccounts())
	}
	p := pair{prompt: begin(shared)}
	lagging := laggingBackend{shared, make(chan struct{})}
	p.late = begin(lagging)
	p.catchUp = func() { close(lagging.hears) }
	return p
}

func signingKey(t *testing.T) tokens.Key {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := tokens.ParseKeys(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	return keys[0]
}

func serviceAccount(namespace, name string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

// tokenOf has a Store make a token of an account.
func tokenOf(t *testing.T, s *storetest.Store, account *corev1.ServiceAccount) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{}
	if err := s.Client(storetest.Admin()).IssueToken(t.Context(), account.Namespace, account.Name, request); err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// readsAs asks a Store for a Secret that is not there, with a token that a gateway
// forwards. NotFound says that whose it is may read Secrets.
func readsAs(t *testing.T, s *storetest.Store, token string) error {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	return s.Client(identity.Service(identity.Gateway)).Get(ctx, "new", "none", &corev1.Secret{})
}

// mayRead lets an account read the Secrets of its namespace.
func mayRead(account *corev1.ServiceAccount) (*rbacv1.Role, *rbacv1.RoleBinding) {
	meta := metav1.ObjectMeta{Namespace: account.Namespace, Name: "reads"}
	return &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}}}},
		&rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reads"},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: account.Namespace, Name: account.Name}},
		}
}

// TestLateStore has a Store that has not heard of anything yet work with what was
// written at another: what it lacks it looks up, and what it has it changes only
// as it is now. What it does not know it lacks, it goes by once it has heard.
func TestLateStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		prompt, late := p.prompt.Client(storetest.Admin()), p.late.Client(storetest.Admin())
		synctest.Wait() // both know what a cluster begins with, and that there is no more
		runner := serviceAccount("new", "runner")
		role, binding := mayRead(runner)
		create(t, prompt,
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "new"}}, runner, role,
			&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 7},
			&nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "runc"}, Handler: "runc"},
			configMap("kept", map[string]string{"a": "1"}), configMap("gone", nil))

		t.Log("what refers to what is new")
		of := pod("p")
		of.Namespace, of.Spec.ServiceAccountName, of.Spec.PriorityClassName = "new", "runner", "high"
		class := "runc"
		of.Spec.RuntimeClassName = &class
		create(t, late, of)
		if *of.Spec.Priority != 7 {
			t.Errorf("the pod's priority is %d", *of.Spec.Priority)
		}
		secret := tokenOf(t, p.prompt, runner)
		if err := readsAs(t, p.late, secret); !apierrors.IsForbidden(err) {
			t.Errorf("with a token of an account that it has not heard of, which may do nothing, it answers: %v", err)
		}

		t.Log("changes of what is newer")
		kept := configMap("kept", nil)
		if err := late.Patch(t.Context(), kept, types.MergePatchType, []byte(`{"data":{"b":"2"}}`), ""); err != nil || kept.Data["a"] != "1" {
			t.Errorf("patched, it is %v, %v", kept.Data, err)
		}
		before := kept.DeepCopy()
		kept.Data["a"] = "3"
		if err := prompt.Update(t.Context(), kept); err != nil {
			t.Fatal(err)
		}
		before.Data["a"] = "lost"
		if err := late.Update(t.Context(), before); !apierrors.IsConflict(err) {
			t.Errorf("the update of an older version: %v", err)
		}
		if err := prompt.Delete(t.Context(), configMap("gone", nil), client.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := late.Patch(t.Context(), configMap("gone", nil), types.MergePatchType, []byte(`{"data":{"b":"2"}}`), ""); !apierrors.IsNotFound(err) {
			t.Errorf("the patch of what is gone: %v", err)
		}
		create(t, late, configMap("gone", nil))
		if err := prompt.Create(t.Context(), configMap("gone", nil)); !apierrors.IsAlreadyExists(err) {
			t.Errorf("the creation of what the late Store made: %v", err)
		}

		t.Log("what is granted and taken away")
		create(t, prompt, binding)
		if err := readsAs(t, p.late, secret); !apierrors.IsForbidden(err) {
			t.Errorf("before it has heard of the binding it answers: %v", err)
		}
		p.catchUp()
		synctest.Wait()
		if err := readsAs(t, p.late, secret); !apierrors.IsNotFound(err) {
			t.Errorf("after it has heard of the binding it answers: %v", err)
		}
		if err := prompt.Delete(t.Context(), binding, client.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := readsAs(t, p.late, secret); !apierrors.IsForbidden(err) {
			t.Errorf("without the binding it answers: %v", err)
		}
		if err := prompt.Delete(t.Context(), runner, client.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := readsAs(t, p.late, secret); !apierrors.IsUnauthorized(err) {
			t.Errorf("with a token of an account that is gone it answers: %v", err)
		}
		create(t, prompt, serviceAccount("new", "runner"))
		synctest.Wait()
		if err := readsAs(t, p.late, secret); !apierrors.IsUnauthorized(err) {
			t.Errorf("with a token of an account that was made anew it answers: %v", err)
		}
	})
}

// TestQuotaAtALateStore changes a quota that another Store goes by, without its
// hearing of that.
func TestQuotaAtALateStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		prompt, late := p.prompt.Client(storetest.Admin()), p.late.Client(storetest.Admin())
		quota := limit(t, prompt, "q", amounts("count/configmaps", "2"))
		create(t, late, configMap("one", nil))
		if err := reread(t, prompt, quota); err != nil {
			t.Fatal(err)
		}
		quota.Spec.Hard = amounts("count/configmaps", "1")
		if err := prompt.Update(t.Context(), quota); err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() { result <- late.Create(t.Context(), configMap("two", nil)) }()
		synctest.Wait()
		select {
		case err := <-result:
			t.Fatalf("before it has heard of the change it answers: %v", err)
		default: // it has seen that it does not know the quota as it is
		}
		p.catchUp()
		if err := <-result; !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "limited: count/configmaps=1") {
			t.Errorf("more than the lowered quota allows: %v", err)
		}
		if err := prompt.Delete(t.Context(), quota, client.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		create(t, late, configMap("two", nil))
	})
}
