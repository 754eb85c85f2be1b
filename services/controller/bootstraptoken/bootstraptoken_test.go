package bootstraptoken_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/controller/bootstraptoken"
	"navarch.dev/navarch/services/controller/controllertest"
)

func TestExpiredTokensAreRemoved(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	c := controllertest.New(t)
	c.Start(c.Controller(bootstraptoken.New(c.Deps, func() time.Time { return now })))
	for name, end := range map[string]string{"a": "2029-12-31T23:59:59Z", "b": "soon", "c": "2030-01-01T01:00:00+00:30", "d": ""} {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-" + name},
			Type:       corev1.SecretTypeBootstrapToken, Data: map[string][]byte{"token-id": []byte(name)},
		}
		if end != "" {
			secret.Data["expiration"] = []byte(end)
		}
		c.Apply(secret)
	}
	controllertest.Await(c, "the end of two", func(all []*corev1.Secret) bool {
		return len(all) == 2 && all[0].Name == "bootstrap-token-c" && all[1].Name == "bootstrap-token-d"
	})
}
