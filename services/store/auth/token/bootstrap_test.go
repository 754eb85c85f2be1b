package token

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/identity"
)

func TestBootstrapTokens(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	const good = "abcdef.0123456789abcdef"
	for _, c := range []struct {
		name   string
		token  string
		change func(*corev1.Secret)
		groups []string // nil is refused
	}{
		{"good", good, func(*corev1.Secret) {}, []string{"system:bootstrappers", identity.GroupAuthenticated}},
		{"more groups", good, func(s *corev1.Secret) {
			s.Data["auth-extra-groups"] = []byte("system:bootstrappers:z,system:bootstrappers:a:b")
		},
			[]string{"system:bootstrappers", "system:bootstrappers:a:b", "system:bootstrappers:z", identity.GroupAuthenticated}},
		{"another group", good, func(s *corev1.Secret) { s.Data["auth-extra-groups"] = []byte("system:masters") }, nil},
		{"still good", good, func(s *corev1.Secret) { s.Data["expiration"] = []byte("2030-01-01T00:00:01Z") }, []string{"system:bootstrappers", identity.GroupAuthenticated}},
		{"at its end", good, func(s *corev1.Secret) { s.Data["expiration"] = []byte("2030-01-01T00:00:00Z") }, nil},
		{"an end that is no time", good, func(s *corev1.Secret) { s.Data["expiration"] = []byte("soon") }, nil},
		{"not for authentication", good, func(s *corev1.Secret) { delete(s.Data, "usage-bootstrap-authentication") }, nil},
		{"being deleted", good, func(s *corev1.Secret) { s.DeletionTimestamp = &metav1.Time{Time: now} }, nil},
		{"another kind of secret", good, func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }, nil},
		{"another id in it", good, func(s *corev1.Secret) { s.Data["token-id"] = []byte("abcdeg") }, nil},
		{"a wrong secret", "abcdef.0123456789abcdee", func(*corev1.Secret) {}, nil},
		{"nobody's", "abcdeg.0123456789abcdef", func(*corev1.Secret) {}, nil},
		{"another form", "abcdef.0123", func(*corev1.Secret) {}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			secret := &corev1.Secret{
				ObjectMeta: meta("kube-system", "bootstrap-token-abcdef"), Type: corev1.SecretTypeBootstrapToken,
				Data: map[string][]byte{
					"token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-authentication": []byte("true"),
				},
			}
			c.change(secret)
			b := NewBootstrap(world{"secrets/kube-system/bootstrap-token-abcdef": secret}, func() time.Time { return now })
			id, ok, err := b.AuthenticateToken(t.Context(), c.token, nil)
			if err != nil || ok != (c.groups != nil) {
				t.Fatalf("accepted is %v: %v", ok, err)
			}
			if diff := cmp.Diff(c.groups, id.Groups); diff != "" {
				t.Errorf("groups (-want +got):\n%s", diff)
			}
			if ok && id.Name != "system:bootstrap:abcdef" {
				t.Errorf("the user is %s", id.Name)
			}
		})
	}
}
