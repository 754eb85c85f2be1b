package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// projection checks the sources of one projected volume, whose files must not
// hide each other.
type projection struct {
	at    *field.Path
	paths rule.Seen[string]
}

func validateProjected(p *corev1.ProjectedVolumeSource, at *field.Path) field.ErrorList {
	check := projection{at: at, paths: rule.Seen[string]{}}
	return rule.Join(rule.Mode(p.DefaultMode, at.Child("defaultMode")), rule.Each(p.Sources, at.Child("sources"), check.source))
}

func (p projection) source(s *corev1.VolumeProjection, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	set := rule.Members(s)
	for _, name := range set {
		switch at := at.Child(name); name {
		case "secret":
			errs = append(errs, p.items(s.Secret.Name, s.Secret.Items, at)...)
		case "configMap":
			errs = append(errs, p.items(s.ConfigMap.Name, s.ConfigMap.Items, at)...)
		case "downwardAPI":
			errs = append(errs, validateDownwardFiles(s.DownwardAPI.Items, at)...)
			for _, file := range s.DownwardAPI.Items {
				errs = append(errs, p.once(file.Path, file.Path)...)
			}
		case "serviceAccountToken":
			errs = append(errs, p.token(s.ServiceAccountToken, at)...)
		case "clusterTrustBundle":
			errs = append(errs, p.trustBundle(s.ClusterTrustBundle, at)...)
		case "podCertificate":
			errs = append(errs, p.certificate(s.PodCertificate, at)...)
		}
	}
	if len(set) > 1 {
		errs = append(errs, field.Forbidden(at, "may not specify more than 1 volume type"))
	}
	return errs
}

func (p projection) items(name string, items []corev1.KeyToPath, at *field.Path) field.ErrorList {
	errs := rule.Needs(at, "name", name)
	return append(errs, rule.Each(items, at.Child("items"), func(item *corev1.KeyToPath, at *field.Path) field.ErrorList {
		return rule.Join(validateItem(item, at), p.once(item.Path, name))
	})...)
}

// once says that a file must not come twice; from is whose it is.
func (p projection) once(file, from string) field.ErrorList {
	if file == "" || len(p.paths.Once(file, p.at)) == 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(p.at, from, "conflicting duplicate paths")}
}

const (
	shortestToken = 10 * 60
	longestToken  = 1 << 32
)

func (p projection) token(t *corev1.ServiceAccountTokenProjection, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch seconds := deref(t.ExpirationSeconds); {
	case seconds < shortestToken:
		errs = append(errs, field.Invalid(at.Child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes"))
	case seconds > longestToken:
		errs = append(errs, field.Invalid(at.Child("expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	if t.Path == "" {
		return append(errs, field.Required(p.at.Child("path"), ""))
	}
	return append(errs, rule.FilePath(t.Path, p.at.Child("path"))...)
}

func (p projection) trustBundle(b *corev1.ClusterTrustBundleProjection, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case b.Name != nil && b.SignerName != nil:
		errs = append(errs, field.Invalid(at, b, "only one of name and signerName may be used"))
	case b.Name != nil:
		if *b.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), "must be a valid object name"))
		}
		for _, problem := range rule.TrustBundleReference(*b.Name) {
			errs = append(errs, field.Invalid(at.Child("name"), *b.Name, "not a valid clustertrustbundlename: "+problem))
		}
		if b.LabelSelector != nil {
			errs = append(errs, field.Invalid(at.Child("labelSelector"), b.LabelSelector, "labelSelector must be unset if name is specified"))
		}
	case b.SignerName != nil:
		errs = append(errs, rule.Join(rule.Signer(*b.SignerName, at.Child("signerName")), rule.Selector(b.LabelSelector, at.Child("labelSelector")))...)
	default:
		errs = append(errs, field.Required(at, "either name or signerName must be specified"))
	}
	return rule.Join(errs, rule.Needs(at, "path", b.Path), rule.FilePath(b.Path, at.Child("path")), p.once(b.Path, b.Path))
}

func (p projection) certificate(c *corev1.PodCertificateProjection, at *field.Path) field.ErrorList {
	errs := rule.Join(
		rule.Signer(c.SignerName, at.Child("signerName")),
		rule.SignerAnnotations(c.UserAnnotations, at.Child("userAnnotations")),
		rule.Supported(c.KeyType, at.Child("keyType"), "RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"),
		rule.Optional(c.MaxExpirationSeconds, at.Child("maxExpirationSeconds"), func(seconds int32, at *field.Path) field.ErrorList {
			return certificateLife(c.SignerName, seconds, at)
		}),
	)
	if c.CredentialBundlePath == "" && c.KeyPath == "" && c.CertificateChainPath == "" {
		errs = append(errs, field.Required(at, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"))
	}
	for _, file := range []struct{ field, path string }{
		{"credentialBundlePath", c.CredentialBundlePath}, {"keyPath", c.KeyPath}, {"certificateChainPath", c.CertificateChainPath},
	} {
		errs = append(errs, rule.FilePath(file.path, at.Child(file.field))...)
		errs = append(errs, p.once(file.path, file.path)...)
	}
	return errs
}

func certificateLife(signer string, seconds int32, at *field.Path) field.ErrorList {
	switch shortest, longest := rule.PodCertificateSeconds(signer); {
	case seconds < shortest:
		return field.ErrorList{field.Invalid(at, seconds, fmt.Sprintf("if provided, maxExpirationSeconds must be >= %d", shortest))}
	case seconds > longest:
		return field.ErrorList{field.Invalid(at, seconds, fmt.Sprintf("if provided, maxExpirationSeconds must be <= %d", longest))}
	}
	return nil
}
