package rule

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// longestSigner is a domain, and below it a namespace and a name.
const longestSigner = utilvalidation.DNS1123SubdomainMaxLength + 1 +
	utilvalidation.DNS1123LabelMaxLength + 1 + utilvalidation.DNS1123SubdomainMaxLength

// Signer says how a signer of certificates must be named: like a URL without a
// scheme, so that whoever makes one can give it a name that nobody else has.
func Signer(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	domain, path, found := strings.Cut(name, "/")
	if !found || strings.Contains(path, "/") {
		return field.ErrorList{field.Invalid(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")}
	}
	var errs field.ErrorList
	if len(domain) > utilvalidation.DNS1123SubdomainMaxLength {
		errs = append(errs, field.TooLong(at, "", utilvalidation.DNS1123SubdomainMaxLength))
	}
	errs = append(errs, firstBadPart(domain, at, utilvalidation.IsDNS1123Label)...)
	if !strings.Contains(domain, ".") {
		errs = append(errs, field.Invalid(at, domain, "should be a domain with at least two segments separated by dots"))
	}
	errs = append(errs, firstBadPart(path, at, utilvalidation.IsDNS1123Subdomain)...)
	if len(name) > longestSigner {
		errs = append(errs, field.TooLong(at, "", longestSigner))
	}
	return errs
}

// firstBadPart says what is wrong with the first part between dots that does
// not have the form; what it would say of others is the same again.
func firstBadPart(value string, at *field.Path, form func(string) []string) field.ErrorList {
	for part := range strings.SplitSeq(value, ".") {
		var errs field.ErrorList
		for _, problem := range form(part) {
			errs = append(errs, field.Invalid(at, value, fmt.Sprintf("validating label %q: %s", part, problem)))
		}
		if len(errs) > 0 {
			return errs
		}
	}
	return nil
}

// reservedSigner says whether a signer's name is one that only Kubernetes gives
// away.
func reservedSigner(name string) bool {
	domain, _, _ := strings.Cut(name, "/")
	return domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io")
}

// PodCertificateSeconds returns the shortest and the longest life that may be
// asked for of a signer's certificates for pods. Those of Kubernetes' own signers
// live for a day at most.
func PodCertificateSeconds(signer string) (shortest, longest int32) {
	const hour = 60 * 60
	if reservedSigner(signer) {
		return hour, 24 * hour
	}
	return hour, 91 * 24 * hour
}

// TrustBundleName returns what is wrong with the name of a ClusterTrustBundle,
// or with the beginning of one where prefix is set. That of a signer's bundle
// begins with the signer's, so that nobody else's can be taken for it.
func TrustBundleName(signer, name string, prefix bool) []string {
	if signer == "" {
		if strings.Contains(name, ":") {
			return []string{`ClusterTrustBundle without signer name must not have ":" in its name`}
		}
		return validation.NameIsDNSSubdomain(name, prefix)
	}
	begin := strings.ReplaceAll(signer, "/", ":") + ":"
	rest, found := strings.CutPrefix(name, begin)
	if !found {
		return []string{fmt.Sprintf("ClusterTrustBundle for signerName %s must be named with prefix %s", signer, begin)}
	}
	return validation.NameIsDNSSubdomain(rest, prefix)
}

// TrustBundleReference returns what is wrong with a name by which somebody refers
// to a ClusterTrustBundle, of whatever signer.
func TrustBundleReference(name string) []string {
	signer := ""
	if end := strings.LastIndex(name, ":"); end >= 0 {
		signer = strings.ReplaceAll(name[:end], ":", "/")
	}
	return TrustBundleName(signer, name, false)
}

// SignerAnnotations says that what a pod's author tells a signer must have keys
// with a domain, and not be more than annotations may be.
func SignerAnnotations(annotations map[string]string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		errs = append(errs, utilvalidation.IsDomainPrefixedKey(at, strings.ToLower(key))...)
	}
	if validation.ValidateAnnotationsSize(annotations) != nil {
		errs = append(errs, field.TooLong(at, "", validation.TotalAnnotationSizeLimitB))
	}
	return errs
}
