package store_test

import (
	"context"
	"testing"

	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/auth"
	"navarch.dev/navarch/services/store/storetest"
)

// A gateway forwards the user, and only a gateway can.
func TestForwardedUsers(t *testing.T) {
	s := storetest.New(t, storetest.WithControl(auth.New(auth.DefaultConfig())))
	admin := s.Client(storetest.Admin())
	create(t, admin,
		&rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "reader"},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get"}}},
		},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "reader"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "jane"}},
		},
		configMap("a", nil))
	masters := []string{"navarch-remote-user", "root", "navarch-remote-group", identity.GroupMasters}
	gateway := identity.Service(identity.Gateway)
	tests := []struct {
		name    string
		conn    identity.Identity
		md      []string
		mayRead bool
		mayEdit bool
	}{
		{name: "jane by the gateway", conn: gateway, md: []string{"navarch-remote-user", "jane"}, mayRead: true},
		{name: "joe by the gateway", conn: gateway, md: []string{"navarch-remote-user", "joe"}},
		{name: "a master by the gateway", conn: gateway, md: masters, mayRead: true, mayEdit: true},
		{name: "a master by somebody else", conn: identity.Identity{Name: "mallory"}, md: masters},
		{name: "a master acting as jane", conn: gateway, md: append([]string{"navarch-impersonate-user", "jane"}, masters...), mayRead: true},
		{name: "jane acting as a master", conn: gateway, md: []string{
			"navarch-remote-user", "jane", "navarch-impersonate-user", "root", "navarch-impersonate-group", identity.GroupMasters,
		}},
		{name: "a token that is nobody's", conn: gateway, md: append([]string{"authorization", "Bearer none"}, masters...)},
		{name: "nobody", conn: identity.FromContext(context.Background())},
	}
	for _, test := range tests {
		ctx := metadata.AppendToOutgoingContext(t.Context(), test.md...)
		c := s.Client(test.conn)
		err := c.Get(ctx, "default", "a", &corev1.ConfigMap{})
		if refused(err) == test.mayRead {
			t.Errorf("%s: get: %v", test.name, err)
		}
		err = c.Delete(ctx, configMap("absent", nil), client.DeleteOptions{})
		if refused(err) == test.mayEdit {
			t.Errorf("%s: delete: %v", test.name, err)
		}
	}
}

func refused(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }
