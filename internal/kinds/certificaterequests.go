package kinds

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
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
			validate: validateCertificateRequest,
		})
}

func validateCertificateRequest(c *certificatesv1.CertificateSigningRequest) field.ErrorList {
	errs := required(c.Spec.SignerName, specPath("signerName"))
	if err := checkRequest(c.Spec.Request); err != nil {
		errs = append(errs, field.Invalid(specPath("request"), c.Spec.Request, err.Error()))
	}
	if len(c.Spec.Usages) == 0 {
		errs = append(errs, field.Required(specPath("usages"), "usages must be specified"))
	}
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
