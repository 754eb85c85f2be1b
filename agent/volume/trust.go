package volume

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// trustBundle adds the certificates of a bundle, or of those of a signer that
// labels select, each once.
func (p *projection) trustBundle(ctx context.Context, s *corev1.ClusterTrustBundleProjection) error {
	bundles, err := p.m.objects.TrustBundles(ctx, s)
	if err != nil {
		return err
	}
	if s.SignerName != nil {
		// No selector selects nothing, an empty one everything.
		selector, err := metav1.LabelSelectorAsSelector(s.LabelSelector)
		if err != nil {
			return fmt.Errorf("the selector of trust bundles of the signer %s: %w", *s.SignerName, err)
		}
		bundles = slices.DeleteFunc(bundles, func(b *certificatesv1.ClusterTrustBundle) bool { return !selector.Matches(labels.Set(b.Labels)) })
	}
	if optional := s.Optional != nil && *s.Optional; len(bundles) == 0 && !optional {
		if s.Name != nil {
			return fmt.Errorf("clustertrustbundle %q not found", *s.Name)
		}
		return fmt.Errorf("no clustertrustbundle of signer %q matches the label selector %q", *s.SignerName, metav1.FormatLabelSelector(s.LabelSelector))
	}
	p.files[s.Path] = p.secretFile(anchors(bundles))
	return nil
}

// anchors returns the certificates of bundles, without what stands between them.
// Their order tells nothing, and does not change by itself.
func anchors(bundles []*certificatesv1.ClusterTrustBundle) []byte {
	all := make(map[string]struct{})
	for _, b := range bundles {
		for block, rest := pem.Decode([]byte(b.Spec.TrustBundle)); block != nil; block, rest = pem.Decode(rest) {
			all[string(block.Bytes)] = struct{}{}
		}
	}
	var out bytes.Buffer
	for _, der := range slices.Sorted(maps.Keys(all)) {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(der)}))
	}
	return out.Bytes()
}

// certificate adds a key and the certificates that a signer has issued for it, in
// one file or in two.
func (p *projection) certificate(ctx context.Context, source int, s *corev1.PodCertificateProjection) error {
	if p.m.certs == nil {
		return errUnsupported
	}
	c, err := p.m.certs.Get(ctx, p.pod, p.volume, source)
	if err != nil {
		return err
	}
	for path, content := range map[string][]byte{
		s.CredentialBundlePath: slices.Concat(c.Key, c.Chain), s.KeyPath: c.Key, s.CertificateChainPath: c.Chain,
	} {
		if path != "" {
			p.files[path] = p.secretFile(content)
		}
	}
	return nil
}

// secretFile is a file that is for the pod's user and its group, as far as the pod
// says who they are. Otherwise it has the volume's mode: whom the image makes its
// processes run as is not known here, and nobody else sees the volume.
func (p *projection) secretFile(content []byte) file {
	f := file{content: content, mode: p.mode, owner: soleUser(&p.pod.Spec)}
	if f.owner != nil || fsGroup(p.pod) != nil {
		f.mode = 0o600
	}
	return f
}

// soleUser returns whom all containers of a pod run as, nil if they differ or if
// one does not say.
func soleUser(spec *corev1.PodSpec) *int64 {
	var sole *int64
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		user := runsAs(spec, &c)
		if user == nil || sole != nil && *user != *sole {
			return nil
		}
		sole = user
	}
	return sole
}

func runsAs(spec *corev1.PodSpec, c *corev1.Container) *int64 {
	if c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
		return c.SecurityContext.RunAsUser
	}
	if spec.SecurityContext != nil {
		return spec.SecurityContext.RunAsUser
	}
	return nil
}
