package pods_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/busybox"
)

const (
	registryUser     = "puller"
	registryPassword = "let me in"
)

// imageRegistry is a registry on this machine that lets in who knows the
// password.
type imageRegistry struct {
	host string
	// manifests counts the requests for image manifests.
	manifests atomic.Int64
}

func newRegistry(t *testing.T) *imageRegistry {
	t.Helper()
	r := &imageRegistry{}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		user, password, _ := req.BasicAuth()
		if user != registryUser || password != registryPassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="images"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		if strings.Contains(req.URL.Path, "/manifests/") && req.Method != http.MethodPut {
			r.manifests.Add(1)
		}
		handler.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	return r
}

// push puts the busybox image there, made different by its environment, and
// returns its digest.
func (r *imageRegistry) push(t *testing.T, repository, variable string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "busybox.tar")
	if err := busybox.WriteImage(path); err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if image, err = withEnv(image, variable); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(r.host+"/"+repository, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	auth := authn.FromConfig(authn.AuthConfig{Username: registryUser, Password: registryPassword})
	if err := remote.Write(ref, image, remote.WithAuth(auth)); err != nil {
		t.Fatalf("push: %v", err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func withEnv(image v1.Image, variable string) (v1.Image, error) {
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Config.Env = append(config.Config.Env, "IMAGE="+variable)
	return mutate.ConfigFile(image, config)
}

// testPulls pulls images with credentials.
func (s suite) testPulls(t *testing.T, r *imageRegistry) {
	s.Kubectl(t, "create", "secret", "docker-registry", "puller", "--docker-server="+r.host, "--docker-username="+registryUser, "--docker-password="+registryPassword)
	digest := r.push(t, "team/tool:1", "one")
	spec := func(image, policy string) string {
		return fmt.Sprintf(`
restartPolicy: Never
imagePullSecrets: [{name: puller}]
containers: [{name: c, image: "%s/%s", imagePullPolicy: %s, command: [sh, -c, 'echo $IMAGE']}]
`, r.host, image, policy)
	}
	run := func(name, image, policy, want string) *corev1.Pod {
		t.Helper()
		s.create(t, name, spec(image, policy))
		pod := s.untilPhase(t, name, corev1.PodSucceeded)
		if got := s.log(t, name, corev1.PodLogOptions{}); got != want+"\n" {
			t.Errorf("%s ran the image %q, want %q", name, got, want)
		}
		return pod
	}
	s.create(t, "pull-refused", strings.Replace(spec("team/other:1", "Always"), "imagePullSecrets: [{name: puller}]", "", 1))
	first := run("pull-tag", "team/tool:1", "IfNotPresent", "one")
	if id := statusOf(first, "c").ImageID; !strings.Contains(id, digest) {
		t.Errorf("the image ID %q does not hold the digest %s", id, digest)
	}
	s.untilEvent(t, "pull-tag", fmt.Sprintf("Normal Pulled Successfully pulled image %q in ", r.host+"/team/tool:1"))

	r.push(t, "team/tool:1", "two") // the tag moves
	run("pull-if-absent", "team/tool:1", "IfNotPresent", "one")
	run("pull-always", "team/tool:1", "Always", "two")
	run("pull-digest", "team/tool@"+digest, "Always", "one")
	s.untilWaiting(t, "pull-refused", "c", "ImagePullBackOff")
	s.untilEvent(t, "pull-refused", "Warning Failed Error: ErrImagePull")

	for i := range 4 {
		r.push(t, fmt.Sprintf("team/many%d:1", i), fmt.Sprint(i))
		s.create(t, fmt.Sprintf("pull-many-%d", i), spec(fmt.Sprintf("team/many%d:1", i), "Always"))
	}
	for i := range 4 {
		s.untilPhase(t, fmt.Sprintf("pull-many-%d", i), corev1.PodSucceeded)
	}
}
