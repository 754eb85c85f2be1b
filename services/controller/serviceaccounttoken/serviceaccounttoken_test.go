package serviceaccounttoken_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/serviceaccounttoken"
	"navarch.dev/navarch/services/store/auth"
	"navarch.dev/navarch/services/store/auth/token"
	"navarch.dev/navarch/services/store/storetest"
)

func newCluster(t *testing.T) *controllertest.Cluster {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := token.NewKey(private)
	if err != nil {
		t.Fatal(err)
	}
	config := auth.DefaultConfig()
	config.Tokens.Keys = []token.Key{key}
	c := controllertest.New(t, storetest.WithControl(auth.New(config)), storetest.WithSeed(auth.Bootstrap()...))
	c.Start(c.Controller(serviceaccounttoken.New(c.Deps, []byte("PEM"))))
	return c
}

func account() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "robot"}}
}

func secretFor(name, account string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: map[string]string{corev1.ServiceAccountNameKey: account}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}
}

func TestSecretGetsTokenAndGoesWithItsAccount(t *testing.T) {
	c := newCluster(t)
	robot := account()
	c.Apply(robot, secretFor("robot-token", "robot"))
	filled := controllertest.Await(c, "a token", func(all []*corev1.Secret) bool {
		return len(all) == 1 && len(all[0].Data[corev1.ServiceAccountTokenKey]) > 0
	})[0]
	if string(filled.Data["ca.crt"]) != "PEM" || string(filled.Data["namespace"]) != "default" || filled.Annotations[corev1.ServiceAccountUIDKey] != string(robot.UID) {
		t.Errorf("the secret is %v, annotated %v", filled.Data, filled.Annotations)
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: string(filled.Data["token"])}}
	if err := c.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	if !review.Status.Authenticated || review.Status.User.Username != "system:serviceaccount:default:robot" {
		t.Errorf("the token is %+v's", review.Status)
	}
	c.Remove(account(), "")
	controllertest.Await(c, "the secret's end", func(all []*corev1.Secret) bool { return len(all) == 0 })
}

func TestSecretOfNobodyIsRemoved(t *testing.T) {
	c := newCluster(t)
	other := secretFor("other", "robot")
	other.Annotations[corev1.ServiceAccountUIDKey] = "before"
	c.Apply(account(), other, secretFor("nobody", "missing"), secretFor("kept", "robot"))
	controllertest.Await(c, "the end of two", func(all []*corev1.Secret) bool { return len(all) == 1 && all[0].Name == "kept" })
}
