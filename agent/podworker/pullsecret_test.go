package podworker

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/agent/image"
)

// privateImages are at a registry that gives them only to who has its password.
type privateImages struct {
	fakeImages
	refused atomic.Int32
}

func (*privateImages) Get(string) (image.Image, error) { return image.Image{}, image.ErrNotFound }

func (p *privateImages) Pull(_ context.Context, ref string, keys authn.Keychain) (image.Image, error) {
	registry, err := name.NewRegistry("registry.test")
	if err != nil {
		return image.Image{}, err
	}
	who, err := keys.Resolve(registry)
	if err != nil {
		return image.Image{}, err
	}
	if auth, err := who.Authorization(); err != nil || auth.Password != "secret" {
		p.refused.Add(1)
		return image.Image{}, fmt.Errorf("pull %s: %w", ref, image.ErrUnauthorized)
	}
	return image.Image{ID: "sha256:" + ref}, nil
}

// Images are pulled while the volumes are set up; a pull that came before the
// pod's secrets were looked for would be refused, and tried again 10 seconds later.
func TestFirstPullHasThePodsSecrets(t *testing.T) {
	b := newStoreBench(t)
	images := &privateImages{}
	b.images = images
	b.start()
	t.Cleanup(func() { b.stop() })
	for i := range 3 {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("key-%d", i)},
			Type:       corev1.SecretTypeDockerConfigJson,
			Data:       map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"registry.test":{"username":"me","password":"secret"}}}`)},
		}
		if err := b.client.Create(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		pod := b.pod(fmt.Sprintf("private-%d", i), func(p *corev1.Pod) {
			p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: secret.Name}}
		})
		b.until(pod.Name, "ready", isReady)
	}
	if n := images.refused.Load(); n > 0 {
		t.Errorf("%d pulls were refused for want of the secret", n)
	}
}
