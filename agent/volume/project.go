package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/agent/podenv"
)

// projection collects the payload of one volume.
type projection struct {
	m       *Manager
	pod     *corev1.Pod
	volume  string
	mode    os.FileMode // the volume's default
	files   payload
	refresh time.Time // when a token in it must be renewed; zero is never
}

// project returns a volume's payload, or nil for a volume that has none.
func (m *Manager) project(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (*projection, error) {
	p := &projection{m: m, pod: pod, volume: v.Name, mode: 0o644, files: make(payload)}
	switch {
	case v.ConfigMap != nil:
		p.setMode(v.ConfigMap.DefaultMode)
		return p, p.configMap(ctx, v.ConfigMap.Name, v.ConfigMap.Items, v.ConfigMap.Optional)
	case v.Secret != nil:
		p.setMode(v.Secret.DefaultMode)
		return p, p.secret(ctx, v.Secret.SecretName, v.Secret.Items, v.Secret.Optional)
	case v.DownwardAPI != nil:
		p.setMode(v.DownwardAPI.DefaultMode)
		return p, p.downward(v.DownwardAPI.Items)
	case v.Projected != nil:
		p.setMode(v.Projected.DefaultMode)
		return p, p.sources(ctx, v.Projected.Sources)
	}
	return nil, nil
}

func (p *projection) setMode(mode *int32) {
	if mode != nil {
		p.mode = os.FileMode(*mode) & os.ModePerm
	}
}

func (p *projection) sources(ctx context.Context, sources []corev1.VolumeProjection) error {
	for i, s := range sources {
		var err error
		switch {
		case s.ConfigMap != nil:
			err = p.configMap(ctx, s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.Optional)
		case s.Secret != nil:
			err = p.secret(ctx, s.Secret.Name, s.Secret.Items, s.Secret.Optional)
		case s.DownwardAPI != nil:
			err = p.downward(s.DownwardAPI.Items)
		case s.ServiceAccountToken != nil:
			err = p.token(ctx, s.ServiceAccountToken)
		case s.ClusterTrustBundle != nil:
			err = p.trustBundle(ctx, s.ClusterTrustBundle)
		case s.PodCertificate != nil:
			err = p.certificate(ctx, i, s.PodCertificate)
		default:
			err = errors.New("a projected source of this type is not supported")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *projection) configMap(ctx context.Context, name string, items []corev1.KeyToPath, optional *bool) error {
	cm, err := p.m.objects.ConfigMap(ctx, p.pod.Namespace, name)
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	if err != nil {
		return absent("configmap", name, err)
	}
	data := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for k, v := range cm.Data {
		data[k] = []byte(v)
	}
	for k, v := range cm.BinaryData {
		data[k] = v
	}
	return p.keys("configmap", name, data, items, optional)
}

func (p *projection) secret(ctx context.Context, name string, items []corev1.KeyToPath, optional *bool) error {
	s, err := p.m.objects.Secret(ctx, p.pod.Namespace, name)
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	if err != nil {
		return absent("secret", name, err)
	}
	return p.keys("secret", name, s.Data, items, optional)
}

// absent says in the words that users know that an object is not there.
func absent(kind, name string, err error) error {
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%s %q not found", kind, name)
	}
	return fmt.Errorf("%s %q: %w", kind, name, err)
}

// keys adds all keys of an object, or those that items name.
func (p *projection) keys(kind, name string, data map[string][]byte, items []corev1.KeyToPath, optional *bool) error {
	if len(items) == 0 {
		for k, v := range data {
			p.files[k] = file{content: v, mode: p.mode}
		}
		return nil
	}
	for _, item := range items {
		v, ok := data[item.Key]
		if !ok {
			if optional != nil && *optional {
				continue
			}
			return fmt.Errorf("%s %q references non-existent config key: %s", kind, name, item.Key)
		}
		p.files[item.Path] = file{content: v, mode: p.modeOf(item.Mode)}
	}
	return nil
}

func (p *projection) modeOf(mode *int32) os.FileMode {
	if mode != nil {
		return os.FileMode(*mode) & os.ModePerm
	}
	return p.mode
}

func (p *projection) downward(items []corev1.DownwardAPIVolumeFile) error {
	for _, item := range items {
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = podenv.Field(p.pod, item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			value, err = podenv.Resource(p.pod, nil, item.ResourceFieldRef, p.m.allocatable())
		}
		if err != nil {
			return fmt.Errorf("downward API item %q: %w", item.Path, err)
		}
		p.files[item.Path] = file{content: []byte(value), mode: p.modeOf(item.Mode)}
	}
	return nil
}

func (p *projection) token(ctx context.Context, s *corev1.ServiceAccountTokenProjection) error {
	token, expires, err := p.m.requestToken(ctx, p.pod, s)
	if err != nil {
		return fmt.Errorf("service account token: %w", err)
	}
	p.files[s.Path] = p.secretFile([]byte(token))
	// Renewed when four fifths of its life are over.
	at := time.Now().Add(time.Until(expires) * 4 / 5)
	if p.refresh.IsZero() || at.Before(p.refresh) {
		p.refresh = at
	}
	return nil
}
