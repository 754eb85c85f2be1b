package podworker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/agent/image"
	"navarch.dev/navarch/internal/kinds/podspec"
)

// ensureImage returns the container's image, pulling it if its policy asks
// for that.
func (w *worker) ensureImage(ctx context.Context, in launchInput) (image.Image, error) {
	return span(ctx, w, "image.ensure", func(ctx context.Context) (image.Image, error) {
		trace.SpanFromContext(ctx).SetAttributes(
			attribute.String("container.image.name", in.spec.Image), attribute.String("k8s.container.name", in.spec.Name))
		return w.presentImage(ctx, imageWish{
			pod: in.pod, field: (&container{spec: in.spec, role: in.role}).fieldPath(), ref: in.spec.Image, policy: in.spec.ImagePullPolicy,
		})
	})
}

// imageWish is an image that a container or a volume of a pod is to have.
type imageWish struct {
	pod    *corev1.Pod
	field  string // of the pod, for its events: the container; "" is the pod as a whole
	ref    string
	policy corev1.PullPolicy
}

// presentImage finds an image on the node or pulls it.
func (w *worker) presentImage(ctx context.Context, in imageWish) (image.Image, error) {
	ref, policy := in.ref, pullPolicy(in.policy, in.ref)
	if policy != corev1.PullAlways {
		img, err := w.m.deps.Images.Get(ref)
		switch {
		case err == nil:
			w.say(in, corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine", ref))
			return img, nil
		case !errors.Is(err, image.ErrNotFound):
			return img, w.imageMissing(ctx, in, "InspectFailed", image.Reason(err), fmt.Errorf("Failed to inspect image %q: %w", ref, err))
		case policy == corev1.PullNever:
			return img, w.imageMissing(ctx, in, reasonNeverPull, reasonNeverPull, fmt.Errorf("Container image %q is not present with pull policy of Never", ref))
		}
	}
	w.say(in, corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", ref))
	begun := time.Now()
	img, err := w.m.deps.Images.Pull(ctx, ref, w.m.keychain(ctx, in.pod))
	if err != nil {
		return img, w.imageMissing(ctx, in, "Failed", image.Reason(err), fmt.Errorf("Failed to pull image %q: %w", ref, err))
	}
	w.m.deps.Metrics.ImagePulled(img.SizeBytes, time.Since(begun))
	w.say(in, corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %s. Image size: %d bytes.",
		ref, time.Since(begun).Round(time.Millisecond), img.SizeBytes))
	return img, nil
}

// imageMissing tells in an event why an image is not there, in the words that users
// know, and returns that as an error.
func (w *worker) imageMissing(ctx context.Context, in imageWish, event, reason string, err error) error {
	if ctx.Err() == nil { // else nobody wants it any more
		w.say(in, corev1.EventTypeWarning, event, err.Error())
	}
	return &launchError{reason: reason, image: &in, err: err}
}

// imageID is what the status says of an image: where it was pulled from, and
// its digest there; one that was never pulled has only its own.
func imageID(img image.Image) string {
	if len(img.Digests) > 0 {
		return img.Digests[0]
	}
	return img.ID
}

// say records an event about an image from beside the worker.
func (w *worker) say(in imageWish, eventType, reason, message string) {
	w.m.deps.Events.EventAt(in.pod, in.field, eventType, reason, message)
}

// pullFailed shows the failure first and the wait after it next.
func (w *worker) pullFailed(c *container, err *launchError, now time.Time) {
	if c.waitReason != reasonPullBackOff {
		c.waitReason = err.reason
	}
	w.event(c, corev1.EventTypeWarning, "Failed", "Error: "+err.reason)
	c.awaits = *err.image
	c.pulls.failSlowly(now)
	if err.reason == reasonNeverPull || err.reason == image.ReasonInvalidImageName {
		c.waitReason = err.reason
		return
	}
	message := fmt.Sprintf("Back-off pulling image %q", err.image.ref)
	w.say(*err.image, corev1.EventTypeNormal, "BackOff", message)
	if c.waitReason == reasonPullBackOff {
		c.waitMessage = message + ": " + err.reason + ": " + err.Error()
		return
	}
	// ErrImagePull is shown until the status has been written, then the wait.
	time.AfterFunc(time.Second, func() {
		w.send(func() {
			if c.waitReason == err.reason && !c.launching && !c.present {
				c.waitReason, c.waitMessage = reasonPullBackOff, message+": "+err.reason+": "+err.Error()
			}
		})
	})
}

// ImagesLoaded has the containers that wait for an image look again whether the
// node has it now.
func (m *Manager) ImagesLoaded() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.workers {
		go w.send(func() {
			for _, c := range w.containers {
				if pullPolicy(c.awaits.policy, c.awaits.ref) != corev1.PullAlways {
					c.pulls.until = time.Time{}
				}
			}
		})
	}
}

// pullPolicy is when an image is pulled, also where nobody has filled that in.
func pullPolicy(policy corev1.PullPolicy, ref string) corev1.PullPolicy {
	if policy == "" {
		return podspec.PullPolicyFor(ref)
	}
	return policy
}

// keychain holds the credentials of the pod's image pull secrets. A secret
// that is missing or unreadable is left out, as in Kubernetes: the registry's
// answer will say what is wrong.
func (m *Manager) keychain(ctx context.Context, pod *corev1.Pod) authn.Keychain {
	chain := pullSecrets{}
	for _, ref := range pod.Spec.ImagePullSecrets {
		s, err := m.deps.Objects.Secret(ctx, pod.Namespace, ref.Name)
		if err != nil {
			m.deps.Log.InfoContext(ctx, "image pull secret not found", "namespace", pod.Namespace, "pod", pod.Name, "secret", ref.Name, "error", err)
			continue
		}
		if err := chain.add(s); err != nil {
			m.deps.Log.InfoContext(ctx, "image pull secret not usable", "namespace", pod.Namespace, "pod", pod.Name, "secret", ref.Name, "error", err)
		}
	}
	return chain
}

// pullSecrets are credentials by registry, "host" or "host/path".
type pullSecrets map[string]authn.AuthConfig

// Resolve returns the credentials for a registry or repository; the longest
// match wins.
func (p pullSecrets) Resolve(r authn.Resource) (authn.Authenticator, error) {
	want, best := r.String(), ""
	for key := range p {
		if (want == key || strings.HasPrefix(want, key+"/")) && len(key) > len(best) {
			best = key
		}
	}
	if best == "" {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(p[best]), nil
}

type dockerAuth struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// add takes over a secret of type dockerconfigjson or dockercfg.
func (p pullSecrets) add(s *corev1.Secret) error {
	auths := make(map[string]dockerAuth)
	switch s.Type {
	case corev1.SecretTypeDockerConfigJson:
		var config struct {
			Auths map[string]dockerAuth `json:"auths"`
		}
		if err := json.Unmarshal(s.Data[corev1.DockerConfigJsonKey], &config); err != nil {
			return fmt.Errorf("read %s: %w", corev1.DockerConfigJsonKey, err)
		}
		auths = config.Auths
	case corev1.SecretTypeDockercfg:
		if err := json.Unmarshal(s.Data[corev1.DockerConfigKey], &auths); err != nil {
			return fmt.Errorf("read %s: %w", corev1.DockerConfigKey, err)
		}
	default:
		return fmt.Errorf("a secret of type %q holds no registry credentials", s.Type)
	}
	for host, a := range auths {
		p[registryKey(host)] = a.config()
	}
	return nil
}

func (a dockerAuth) config() authn.AuthConfig {
	c := authn.AuthConfig{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
	if c.Username == "" && a.Auth != "" {
		if b, err := base64.StdEncoding.DecodeString(a.Auth); err == nil {
			c.Username, c.Password, _ = strings.Cut(string(b), ":")
		}
	}
	return c
}

// registryKey makes "index.docker.io" of "https://index.docker.io/v1/" and
// its like.
func registryKey(host string) string {
	host = strings.TrimPrefix(strings.TrimPrefix(host, "https://"), "http://")
	host = strings.TrimSuffix(host, "/")
	host = strings.TrimSuffix(strings.TrimSuffix(host, "/v1"), "/v2")
	if host == "docker.io" || host == "registry-1.docker.io" {
		return "index.docker.io"
	}
	return host
}
