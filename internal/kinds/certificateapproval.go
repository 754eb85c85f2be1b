package kinds

import (
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// keepDecision takes the conditions from what was sent to the approval
// subresource, and as all writes of a status may the annotations. Everything else,
// the certificate above all, is not its.
func keepDecision(to, sent, old *certificatesv1.CertificateSigningRequest) {
	to.Annotations = sent.Annotations
	to.Status.Conditions = sent.Status.Conditions
	stampConditions(to, old)
}

// validateDecision returns what a write of the approval breaks: a decision is
// final, and there is one.
func validateDecision(c, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	at := field.NewPath("status", "conditions")
	var errs field.ErrorList
	now := decisions(c)
	for _, was := range decisions(old) {
		if !slices.ContainsFunc(now, func(is certificatesv1.CertificateSigningRequestCondition) bool { return is.Type == was.Type }) {
			errs = append(errs, field.Forbidden(at, "updates may not remove a condition of type \""+string(was.Type)+"\""))
		}
	}
	if len(now) > 1 {
		errs = append(errs, field.Invalid(at, c.Status.Conditions, "Approved and Denied conditions are mutually exclusive"))
	}
	for i, condition := range c.Status.Conditions {
		if isDecision(condition) && condition.Status != corev1.ConditionTrue {
			errs = append(errs, field.NotSupported(at.Index(i).Child("status"), condition.Status, []corev1.ConditionStatus{corev1.ConditionTrue}))
		}
	}
	return errs
}

// decisions returns the conditions that say whether a request was approved.
func decisions(c *certificatesv1.CertificateSigningRequest) []certificatesv1.CertificateSigningRequestCondition {
	var out []certificatesv1.CertificateSigningRequestCondition
	for _, condition := range c.Status.Conditions {
		if isDecision(condition) {
			out = append(out, condition)
		}
	}
	return out
}

func withoutDecisions(conditions []certificatesv1.CertificateSigningRequestCondition) []certificatesv1.CertificateSigningRequestCondition {
	return slices.DeleteFunc(slices.Clone(conditions), isDecision)
}

func isDecision(c certificatesv1.CertificateSigningRequestCondition) bool {
	return c.Type == certificatesv1.CertificateApproved || c.Type == certificatesv1.CertificateDenied
}

// stampConditions fills in when conditions came to be, where their writer did
// not say.
func stampConditions(c, old *certificatesv1.CertificateSigningRequest) {
	now := metav1.Now().Rfc3339Copy()
	for i := range c.Status.Conditions {
		condition := &c.Status.Conditions[i]
		setDefault(&condition.Status, corev1.ConditionTrue)
		if condition.LastUpdateTime.IsZero() {
			condition.LastUpdateTime = now
		}
		if !condition.LastTransitionTime.IsZero() {
			continue
		}
		condition.LastTransitionTime = now
		for _, was := range old.Status.Conditions {
			if was.Type == condition.Type && was.Status == condition.Status && !was.LastTransitionTime.IsZero() {
				condition.LastTransitionTime = was.LastTransitionTime
			}
		}
	}
}
