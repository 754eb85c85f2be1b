package kinds

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/mail"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

const (
	// largestChain is in bytes of PEM.
	largestChain = 100 << 10
	// longestSkew is how far the clock of a signer may be from the Store's.
	longestSkew = 5 * time.Minute
	// refreshMargin is how far the time to ask for the next certificate is from
	// both ends of the one at hand.
	refreshMargin = 10 * time.Minute
)

// answers are the types of the conditions by which a request is answered.
func answers() []string {
	return []string{
		certificatesv1.PodCertificateRequestConditionTypeIssued,
		certificatesv1.PodCertificateRequestConditionTypeDenied,
		certificatesv1.PodCertificateRequestConditionTypeFailed,
	}
}

// podCertificateAnswer returns the type of the condition that answers a request,
// nothing while it waits for its signer.
func podCertificateAnswer(r *certificatesv1.PodCertificateRequest) string {
	for _, c := range r.Status.Conditions {
		for _, answer := range answers() {
			if c.Type == answer && c.Status == metav1.ConditionTrue {
				return answer
			}
		}
	}
	return ""
}

// validatePodCertificateAnswer: a signer answers a request once, all at once.
func validatePodCertificateAnswer(r, old *certificatesv1.PodCertificateRequest) field.ErrorList {
	at := field.NewPath("status")
	if errs := validateAnswerConditions(r.Status.Conditions, at.Child("conditions")); len(errs) > 0 {
		return errs
	}
	same := func(status certificatesv1.PodCertificateRequestStatus, why string) field.ErrorList {
		if equality.Semantic.DeepEqual(r.Status, status) {
			return nil
		}
		return field.ErrorList{field.Invalid(at, field.OmitValueType{}, why)}
	}
	if podCertificateAnswer(old) != "" {
		return same(old.Status, "immutable after PodCertificateRequest is issued, denied, or failed")
	}
	switch podCertificateAnswer(r) {
	case "":
		return same(old.Status, `status is immutable unless transitioning to "Issued", "Denied", or "Failed"`)
	case certificatesv1.PodCertificateRequestConditionTypeIssued:
		return validateIssuedChain(r, at)
	}
	return same(certificatesv1.PodCertificateRequestStatus{Conditions: r.Status.Conditions},
		"non-condition status fields must be empty when denying or failing the PodCertificateRequest")
}

func validateAnswerConditions(conditions []metav1.Condition, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	known := 0
	for i, c := range conditions {
		at := at.Index(i)
		if unknown := rule.Supported(c.Type, at.Child("type"), answers()...); len(unknown) > 0 {
			errs = append(errs, unknown...)
			continue
		}
		if known++; known > 1 {
			errs = append(errs, field.Invalid(at.Child("type"), c.Type, `There may be at most one condition with type "Issued", "Denied", or "Failed"`))
		}
		errs = append(errs, rule.Supported(c.Status, at.Child("status"), metav1.ConditionTrue)...)
	}
	return append(errs, metavalidation.ValidateConditions(conditions, at)...)
}

// validateIssuedChain: the first certificate is what was asked for, and the status
// tells of it what it says itself. Whether those behind it have signed it is for
// those to find out who trust one of them.
func validateIssuedChain(r *certificatesv1.PodCertificateRequest, at *field.Path) field.ErrorList {
	chain := at.Child("certificateChain")
	text := r.Status.CertificateChain
	if len(text) > largestChain {
		return field.ErrorList{field.TooLong(chain, "", largestChain)}
	}
	bad := func(why string) field.ErrorList { return field.ErrorList{field.Invalid(chain, text, why)} }
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return bad("issued certificate chain must contain at least one certificate")
	case block.Type != pemCertificate:
		return bad("issued certificate chain must consist entirely of CERTIFICATE PEM blocks")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return bad("leaf certificate does not parse as valid X.509")
	}
	if errs := validateLeafNames(leaf, chain); len(errs) > 0 {
		return errs
	}
	if !sameKey(r.Spec.StubPKCS10Request, leaf) {
		return bad("leaf certificate was not issued to the requested public key")
	}
	if errs := validateLeafTimes(r, leaf, at); len(errs) > 0 {
		return errs
	}
	for block, rest = pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != pemCertificate {
			return bad("issued certificate chain must consist entirely of CERTIFICATE PEM blocks")
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return bad("intermediate certificate does not parse as valid X.509")
		}
	}
	return nil
}

// sameKey says whether a certificate is for the key that a request was signed
// with.
func sameKey(request []byte, leaf *x509.Certificate) bool {
	asked, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return false
	}
	key, ok := asked.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(leaf.PublicKey)
}

// validateLeafNames: libraries disagree about certificates with such names, and
// some refuse them.
func validateLeafNames(leaf *x509.Certificate, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range leaf.DNSNames {
		if name == "" {
			errs = append(errs, field.Invalid(at, name, "leaf certificate should not contain empty DNSName"))
		}
		if strings.Contains(name, "..") {
			errs = append(errs, field.Invalid(at, name, "leaf certificate's DNSName should not contain '..'"))
		}
		if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") {
			errs = append(errs, field.Invalid(at, name, "leaf certificate's DNSName should not start or end with '.'"))
		}
	}
	for _, address := range leaf.EmailAddresses {
		if _, err := mail.ParseAddress(address); err != nil {
			errs = append(errs, field.Invalid(at, address, "leaf certificate should not contain invalid EmailAddress"))
		}
	}
	return errs
}

// validateLeafTimes: the life of a certificate begins now, is no longer than was
// asked for, and leaves time to ask for the next one.
func validateLeafTimes(r *certificatesv1.PodCertificateRequest, leaf *x509.Certificate, at *field.Path) field.ErrorList {
	before, refresh, after := at.Child("notBefore"), at.Child("beginRefreshAt"), at.Child("notAfter")
	s := r.Status
	if errs := rule.Join(
		needed(s.NotBefore, before, "must be present and consistent with the issued certificate"),
		needed(s.NotAfter, after, "must be present and consistent with the issued certificate"),
		needed(s.BeginRefreshAt, refresh, "must be present and in the range [notbefore+10min, notafter-10min]"),
	); len(errs) > 0 {
		return errs
	}
	bad := func(at *field.Path, value any, why string) field.ErrorList {
		return field.ErrorList{field.Invalid(at, value, why)}
	}
	life, longest := leaf.NotAfter.Sub(leaf.NotBefore), deref(r.Spec.MaxExpirationSeconds)
	switch {
	case !s.NotBefore.Time.Equal(leaf.NotBefore):
		return bad(before, s.NotBefore.Time, "must be set to the NotBefore time encoded in the leaf certificate")
	case time.Since(s.NotBefore.Time).Abs() >= longestSkew:
		return bad(before, s.NotBefore.Time, "must be set to within 5 minutes of kube-apiserver's current time")
	case !s.NotAfter.Time.Equal(leaf.NotAfter):
		return bad(after, s.NotAfter.Time, "must be set to the NotAfter time encoded in the leaf certificate")
	case life < time.Hour:
		return bad(at.Child("certificateChain"), life, "leaf certificate lifetime must be >= 1 hour")
	case life > time.Duration(longest)*time.Second:
		return bad(at.Child("certificateChain"), life, fmt.Sprintf("leaf certificate lifetime must be <= spec.maxExpirationSeconds (%d)", longest))
	case s.BeginRefreshAt.Time.Before(s.NotBefore.Add(refreshMargin)):
		return bad(refresh, s.BeginRefreshAt.Time, "must be at least 10 minutes after status.notBefore")
	case s.BeginRefreshAt.Time.After(s.NotAfter.Add(-refreshMargin)):
		return bad(refresh, s.BeginRefreshAt.Time, "must be at least 10 minutes before status.notAfter")
	}
	return nil
}

func needed(t *metav1.Time, at *field.Path, why string) field.ErrorList {
	if t != nil {
		return nil
	}
	return field.ErrorList{field.Required(at, why)}
}
