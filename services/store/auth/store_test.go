package auth_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/auth"
	"navarch.dev/navarch/services/store/backend/memory"
	"navarch.dev/navarch/services/store/storetest"
)

func newStore(t *testing.T) *storetest.Store {
	t.Helper()
	return storetest.New(t, storetest.WithControl(auth.New(auth.DefaultConfig())), storetest.WithSeed(auth.Bootstrap()...))
}

func testPod(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i:1"}}},
	}
}

// What a Store starts with must be what it accepts from anybody else, and each
// part must be able to do its work.
func TestBootstrapServesTheParts(t *testing.T) {
	s := newStore(t)
	root := s.Client(identity.Identity{Name: "root", Groups: []string{identity.GroupMasters}})
	roles := &rbacv1.ClusterRoleList{}
	if err := s.Client(identity.Service(identity.Controller)).List(t.Context(), roles, client.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(roles.Items) < 10 {
		t.Errorf("the Store has %d cluster roles", len(roles.Items))
	}
	controller := s.Client(identity.Service(identity.Controller))
	if err := controller.Create(t.Context(), testPod("p", "")); err != nil {
		t.Errorf("a controller creates a pod: %v", err)
	}
	if err := s.Client(identity.Service(identity.Proxy)).Create(t.Context(), testPod("q", "")); !apierrors.IsForbidden(err) {
		t.Errorf("the proxy creates a pod: %v, want Forbidden", err)
	}
	agent := s.Client(identity.Node("n1"))
	if err := agent.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}); err != nil {
		t.Errorf("an agent registers: %v", err)
	}
	if err := agent.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}); !apierrors.IsForbidden(err) {
		t.Errorf("an agent registers as another: %v, want Forbidden", err)
	}
	for node, want := range map[string]codes.Code{"n1": codes.OK, "n2": codes.PermissionDenied} {
		stream, err := storev1.NewStoreServiceClient(s.Conn(identity.Node("n1"))).Heartbeat(t.Context())
		if err == nil {
			err = stream.Send(&storev1.HeartbeatRequest{NodeName: node, StreamId: "one", Interval: durationpb.New(time.Second)})
		}
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != want {
			t.Errorf("the agent of n1 sends heartbeats of %s: %v, want %v", node, err, want)
		}
	}
	if err := agent.Create(t.Context(), testPod("r", "n1")); !apierrors.IsForbidden(err) {
		t.Errorf("an agent creates a pod that is no mirror: %v, want Forbidden", err)
	}
	if err := root.Create(t.Context(), testPod("mine", "n1")); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{}
	if err := agent.Get(t.Context(), "default", "mine", pod); err != nil {
		t.Fatalf("an agent gets its pod: %v", err)
	}
	pod.Status.Phase = corev1.PodRunning
	if err := agent.UpdateStatus(t.Context(), pod); err != nil {
		t.Errorf("an agent reports its pod: %v", err)
	}
	if err := s.Client(identity.Node("n2")).Get(t.Context(), "default", "mine", pod); !apierrors.IsForbidden(err) {
		t.Errorf("an agent gets another's pod: %v, want Forbidden", err)
	}
}

// A gateway acts for the user that it names, and for whom that user may act
// as; nobody else is believed.
func TestForwardedUsers(t *testing.T) {
	s := newStore(t)
	forward := func(pairs ...string) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), pairs...)
	}
	gateway, agent := s.Client(identity.Service(identity.Gateway)), s.Client(identity.Node("n1"))
	masters := []string{"navarch-remote-user", "root", "navarch-remote-group", identity.GroupMasters}
	nobody := []string{"navarch-remote-user", "nobody", "navarch-remote-group", identity.GroupAuthenticated}
	asNobody := append(append([]string(nil), masters...), "navarch-impersonate-user", "nobody")
	asMaster := append(append([]string(nil), nobody...), "navarch-impersonate-user", "root", "navarch-impersonate-group", identity.GroupMasters)
	for _, c := range []struct {
		name    string
		client  *client.Client
		ctx     context.Context
		allowed bool
	}{
		{"a forwarded master", gateway, forward(masters...), true},
		{"a forwarded nobody", gateway, forward(nobody...), false},
		{"a master as nobody", gateway, forward(asNobody...), false},
		{"nobody as a master", gateway, forward(asMaster...), false},
		{"the gateway itself", gateway, t.Context(), false},
		{"a master whom an agent claims to forward", agent, forward(masters...), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.client.Get(c.ctx, "kube-system", "x", &corev1.Secret{})
			if c.allowed && !apierrors.IsNotFound(err) || !c.allowed && !apierrors.IsForbidden(err) {
				t.Errorf("got %v, allowed should be %v", err, c.allowed)
			}
		})
	}
}

// A Store that starts gives its roles back what they have lost, or what a
// newer version has more of, and leaves alone what it was told to.
func TestRestartMendsRoles(t *testing.T) {
	kept := memory.New()
	t.Cleanup(func() { _ = kept.Close() })
	begin := func() *client.Client {
		return storetest.New(t, storetest.WithBackend(kept), storetest.WithControl(auth.New(auth.DefaultConfig())),
			storetest.WithSeed(auth.Bootstrap()...)).Client(storetest.Admin())
	}
	c := begin()
	for name, autoUpdate := range map[string]string{"system:basic-user": "true", "system:kube-dns": "false"} {
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}}
		err := c.RetryOnConflict(t.Context(), role, func() bool {
			role.Rules, role.Annotations[rbacv1.AutoUpdateAnnotationKey] = nil, autoUpdate
			return true
		}, func(ctx context.Context, o kinds.Object) error { return c.Update(ctx, o) })
		if err != nil {
			t.Fatal(err)
		}
	}
	c = begin()
	for name, mended := range map[string]bool{"system:basic-user": true, "system:kube-dns": false} {
		role := &rbacv1.ClusterRole{}
		if err := c.Get(t.Context(), "", name, role); err != nil {
			t.Fatal(err)
		}
		if (len(role.Rules) > 0) != mended {
			t.Errorf("%s has the rules %v, mended should be %v", name, role.Rules, mended)
		}
	}
}
