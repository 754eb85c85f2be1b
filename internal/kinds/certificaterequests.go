package kinds

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

const shortestCertificateSeconds = 600

func certificateRequestColumns() []Column {
	doc := certificatesv1.CertificateSigningRequestSpec{}.SwaggerDoc()
	type csr = certificatesv1.CertificateSigningRequest
	return columns(
		ageColumn(),
		text("SignerName", doc["signerName"], func(c *csr) string { return orNone(c.Spec.SignerName) }),
		text("Requestor", doc["request"], func(c *csr) string { return c.Spec.Username }),
		text("RequestedDuration", doc["expirationSeconds"], func(c *csr) string {
			if c.Spec.ExpirationSeconds == nil {
				return none
			}
			return duration.HumanDuration(time.Duration(*c.Spec.ExpirationSeconds) * time.Second)
		}),
		text("Condition", certificatesv1.CertificateSigningRequestStatus{}.SwaggerDoc()["conditions"], certificateCondition),
	)
}

func certificateCondition(c *certificatesv1.CertificateSigningRequest) string {
	state, failed := "Pending", false
	for _, condition := range c.Status.Conditions {
		switch condition.Type {
		case certificatesv1.CertificateApproved:
			if state != "Denied" {
				state = "Approved"
			}
		case certificatesv1.CertificateDenied:
			state = "Denied"
		case certificatesv1.CertificateFailed:
			failed = true
		}
	}
	if failed {
		state += ",Failed"
	}
	if len(c.Status.Certificate) > 0 {
		state += ",Issued"
	}
	return state
}

func certificateRequestFields(c *certificatesv1.CertificateSigningRequest) map[string]string {
	return map[string]string{"spec.signerName": c.Spec.SignerName}
}

// certificateRequestStrategy: what was asked for, and by whom, never changes.
func certificateRequestStrategy() Strategy {
	return statusOnly(
		func(c *certificatesv1.CertificateSigningRequest) *certificatesv1.CertificateSigningRequestSpec {
			return &c.Spec
		},
		func(c *certificatesv1.CertificateSigningRequest) *certificatesv1.CertificateSigningRequestStatus {
			return &c.Status
		},
		rules[*certificatesv1.CertificateSigningRequest]{
			update: func(c, old *certificatesv1.CertificateSigningRequest) { c.Spec = old.Spec },
			statusUpdate: func(c, old *certificatesv1.CertificateSigningRequest) {
				c.Status.Conditions = append(decisions(old), withoutDecisions(c.Status.Conditions)...)
				stampConditions(c, old)
			},
			parts: map[string]Part{"approval": part(keepDecision, validateDecision)},
			defaults: func(c *certificatesv1.CertificateSigningRequest) {
				for i := range c.Status.Conditions {
					setDefault(&c.Status.Conditions[i].Status, corev1.ConditionTrue)
				}
			},
			validate:       validateCertificateRequest,
			validateStatus: validateIssued,
		})
}

func validateCertificateRequest(c *certificatesv1.CertificateSigningRequest) field.ErrorList {
	errs := validateSignerName(c.Spec.SignerName, specPath("signerName"))
	if err := checkRequest(c.Spec.Request); err != nil {
		errs = append(errs, field.Invalid(specPath("request"), c.Spec.Request, err.Error()))
	}
	if len(c.Spec.Usages) == 0 {
		errs = append(errs, field.Required(specPath("usages"), ""))
	}
	errs = append(errs, validateUsages(c.Spec.Usages, specPath("usages"))...)
	if s := c.Spec.ExpirationSeconds; s != nil && *s < shortestCertificateSeconds {
		errs = append(errs, field.Invalid(specPath("expirationSeconds"), *s, "may not specify a duration less than 600 seconds (10 minutes)"))
	}
	return errs
}

func checkRequest(text []byte) error {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return fmt.Errorf("parse the certificate request: %w", err)
	}
	return request.CheckSignature()
}

func validateSignerName(name string, path *field.Path) field.ErrorList {
	if name == legacySigner {
		return field.ErrorList{field.Invalid(path, name, "the legacy signerName is not allowed via this API version")}
	}
	return rule.Signer(name, path)
}

// legacySigner signed whatever it was given, before signers had names.
const legacySigner = "kubernetes.io/legacy-unknown"

func validateUsages(usages []certificatesv1.KeyUsage, path *field.Path) field.ErrorList {
	known := []certificatesv1.KeyUsage{
		certificatesv1.UsageSigning, certificatesv1.UsageDigitalSignature, certificatesv1.UsageContentCommitment, certificatesv1.UsageKeyEncipherment,
		certificatesv1.UsageKeyAgreement, certificatesv1.UsageDataEncipherment, certificatesv1.UsageCertSign, certificatesv1.UsageCRLSign,
		certificatesv1.UsageEncipherOnly, certificatesv1.UsageDecipherOnly, certificatesv1.UsageAny, certificatesv1.UsageServerAuth,
		certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning, certificatesv1.UsageEmailProtection, certificatesv1.UsageSMIME,
		certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel, certificatesv1.UsageIPsecUser, certificatesv1.UsageTimestamping,
		certificatesv1.UsageOCSPSigning, certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC,
	}
	var errs field.ErrorList
	for i, usage := range usages {
		if !slices.Contains(known, usage) {
			errs = append(errs, field.NotSupported(path.Index(i), usage, slices.Sorted(slices.Values(known))))
		}
		if slices.Contains(usages[:i], usage) {
			errs = append(errs, field.Duplicate(path.Index(i), usage))
		}
	}
	return errs
}

// validateIssued: a signer writes one certificate, once, and maybe those that
// signed it.
func validateIssued(c, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	was := validateRequestConditions(old)
	return append(rule.Unchanged(validateRequestConditions(c), was), validateCertificate(c, old)...)
}

// validateRequestConditions: what is said of a request is true, or may be
// something else if it is no decision.
func validateRequestConditions(c *certificatesv1.CertificateSigningRequest) field.ErrorList {
	seen := rule.Seen[certificatesv1.RequestConditionType]{}
	return rule.Each(c.Status.Conditions, field.NewPath("status", "conditions"), func(c *certificatesv1.CertificateSigningRequestCondition, at *field.Path) field.ErrorList {
		allowed := []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
		switch c.Type {
		case certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
			allowed = []corev1.ConditionStatus{corev1.ConditionTrue}
		}
		var errs field.ErrorList
		if c.Type == "" {
			errs = append(errs, field.Required(at.Child("type"), ""))
		}
		return rule.Join(errs, rule.Supported(c.Status, at.Child("status"), allowed...), seen.Once(c.Type, at.Child("type")))
	})
}

func validateCertificate(c, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	path := field.NewPath("status", "certificate")
	if bytes.Equal(c.Status.Certificate, old.Status.Certificate) {
		return nil
	}
	if len(old.Status.Certificate) > 0 {
		return field.ErrorList{field.Forbidden(path, "updates may not modify existing certificate content")}
	}
	found := 0
	for block, rest := pem.Decode(c.Status.Certificate); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return field.ErrorList{field.Invalid(path, "<certificate data>", fmt.Sprintf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type))}
		}
		if len(block.Headers) > 0 {
			return field.ErrorList{field.Invalid(path, "<certificate data>", "no PEM block headers are permitted")}
		}
		if certs, err := x509.ParseCertificates(block.Bytes); err != nil || len(certs) == 0 {
			return field.ErrorList{field.Invalid(path, "<certificate data>", "PEM block holds no certificate")}
		}
		found++
	}
	if found == 0 {
		return field.ErrorList{field.Invalid(path, "<certificate data>", "must contain at least one CERTIFICATE PEM block")}
	}
	return nil
}
