package kinds

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

func mutatingWebhookStrategy() Strategy {
	return specOnly(
		func(c *admissionv1.MutatingWebhookConfiguration) *[]admissionv1.MutatingWebhook { return &c.Webhooks },
		rules[*admissionv1.MutatingWebhookConfiguration]{
			defaults: func(c *admissionv1.MutatingWebhookConfiguration) {
				for i := range c.Webhooks {
					defaultMutatingWebhook(&c.Webhooks[i])
				}
			},
			validate: func(c *admissionv1.MutatingWebhookConfiguration) field.ErrorList {
				return validateMutatingWebhooks(c.Webhooks, field.NewPath("webhooks"))
			},
			warnings: func(c *admissionv1.MutatingWebhookConfiguration) []string {
				return rulesWithoutEffect(commonParts(c.Webhooks))
			},
		})
}

func validatingWebhookStrategy() Strategy {
	return specOnly(
		func(c *admissionv1.ValidatingWebhookConfiguration) *[]admissionv1.ValidatingWebhook {
			return &c.Webhooks
		},
		rules[*admissionv1.ValidatingWebhookConfiguration]{
			defaults: func(c *admissionv1.ValidatingWebhookConfiguration) {
				for i := range c.Webhooks {
					defaultValidatingWebhook(&c.Webhooks[i])
				}
			},
			validate: func(c *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
				return validateWebhooks(c.Webhooks, field.NewPath("webhooks"))
			},
			warnings: func(c *admissionv1.ValidatingWebhookConfiguration) []string { return rulesWithoutEffect(c.Webhooks) },
		})
}

// webhookTimeout is the seconds that a webhook has which does not say.
const webhookTimeout = 10

func defaultMutatingWebhook(w *admissionv1.MutatingWebhook) {
	common := CommonWebhook(w)
	defaultValidatingWebhook(common)
	w.FailurePolicy, w.MatchPolicy, w.TimeoutSeconds = common.FailurePolicy, common.MatchPolicy, common.TimeoutSeconds
	w.NamespaceSelector, w.ObjectSelector = common.NamespaceSelector, common.ObjectSelector
	setPointer(&w.ReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
}

func defaultValidatingWebhook(w *admissionv1.ValidatingWebhook) {
	setPointer(&w.FailurePolicy, admissionv1.Fail)
	setPointer(&w.MatchPolicy, admissionv1.Equivalent)
	setPointer(&w.NamespaceSelector, metav1.LabelSelector{})
	setPointer(&w.ObjectSelector, metav1.LabelSelector{})
	setPointer(&w.TimeoutSeconds, webhookTimeout)
	for i := range w.Rules {
		setPointer(&w.Rules[i].Scope, admissionv1.AllScopes)
	}
	if service := w.ClientConfig.Service; service != nil {
		setPointer(&service.Port, 443)
	}
}

// CommonWebhook returns what a mutating webhook has in common with validating
// ones; slices and pointers are shared.
func CommonWebhook(w *admissionv1.MutatingWebhook) *admissionv1.ValidatingWebhook {
	return &admissionv1.ValidatingWebhook{
		Name: w.Name, ClientConfig: w.ClientConfig, Rules: w.Rules, FailurePolicy: w.FailurePolicy, MatchPolicy: w.MatchPolicy,
		NamespaceSelector: w.NamespaceSelector, ObjectSelector: w.ObjectSelector, SideEffects: w.SideEffects,
		TimeoutSeconds: w.TimeoutSeconds, AdmissionReviewVersions: w.AdmissionReviewVersions, MatchConditions: w.MatchConditions,
	}
}

func commonParts(webhooks []admissionv1.MutatingWebhook) []admissionv1.ValidatingWebhook {
	common := make([]admissionv1.ValidatingWebhook, len(webhooks))
	for i := range webhooks {
		common[i] = *CommonWebhook(&webhooks[i])
	}
	return common
}

func validateMutatingWebhooks(webhooks []admissionv1.MutatingWebhook, at *field.Path) field.ErrorList {
	errs := validateWebhooks(commonParts(webhooks), at)
	return append(errs, rule.Each(webhooks, at, func(w *admissionv1.MutatingWebhook, at *field.Path) field.ErrorList {
		return rule.OptionalOf(w.ReinvocationPolicy, at.Child("reinvocationPolicy"),
			admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
	})...)
}

func validateWebhooks(webhooks []admissionv1.ValidatingWebhook, at *field.Path) field.ErrorList {
	names := rule.Seen[string]{}
	return rule.Each(webhooks, at, func(w *admissionv1.ValidatingWebhook, at *field.Path) field.ErrorList {
		errs := append(validateWebhook(w, at), validateReviewVersions(w.AdmissionReviewVersions, at.Child("admissionReviewVersions"))...)
		if w.Name != "" {
			errs = append(errs, names.Once(w.Name, at.Child("name"))...)
		}
		return errs
	})
}

func validateWebhook(w *admissionv1.ValidatingWebhook, at *field.Path) field.ErrorList {
	return rule.Join(
		validation.IsFullyQualifiedName(at.Child("name"), w.Name),
		rule.Each(w.Rules, at.Child("rules"), validateWebhookRule),
		rule.OptionalOf(w.FailurePolicy, at.Child("failurePolicy"), admissionv1.Fail, admissionv1.Ignore),
		rule.OptionalOf(w.MatchPolicy, at.Child("matchPolicy"), admissionv1.Equivalent, admissionv1.Exact),
		validateSideEffects(w.SideEffects, at.Child("sideEffects")),
		rule.Optional(w.TimeoutSeconds, at.Child("timeoutSeconds"), func(seconds int32, at *field.Path) field.ErrorList {
			if seconds >= 1 && seconds <= 30 {
				return nil
			}
			return field.ErrorList{field.Invalid(at, seconds, "the timeout value must be between 1 and 30 seconds")}
		}),
		rule.Selector(w.NamespaceSelector, at.Child("namespaceSelector")),
		rule.Selector(w.ObjectSelector, at.Child("objectSelector")),
		validateWebhookClient(&w.ClientConfig, at.Child("clientConfig")),
		validateMatchConditions(w.MatchConditions, false, at.Child("matchConditions")),
	)
}

func validateSideEffects(effects *admissionv1.SideEffectClass, at *field.Path) field.ErrorList {
	if effects == nil {
		return field.ErrorList{field.Required(at, "must specify one of None, NoneOnDryRun")}
	}
	return rule.Supported(*effects, at, admissionv1.SideEffectClassNone, admissionv1.SideEffectClassNoneOnDryRun)
}

// reviewVersions are the versions of AdmissionReview that are spoken, or could
// be by what manages the configuration.
const reviewVersions = "v1, v1beta1"

func validateReviewVersions(versions []string, at *field.Path) field.ErrorList {
	if len(versions) == 0 {
		return field.ErrorList{field.Required(at, "must specify one of "+reviewVersions)}
	}
	seen := rule.Seen[string]{}
	errs := rule.Each(versions, at, func(v *string, at *field.Path) field.ErrorList {
		if len(seen.Once(*v, at)) > 0 {
			return field.ErrorList{field.Invalid(at, *v, "duplicate version")}
		}
		return rule.Form(*v, at, validation.IsDNS1035Label)
	})
	if !seen.Has("v1") && !seen.Has("v1beta1") {
		errs = append(errs, field.Invalid(at, versions, "must include at least one of "+reviewVersions))
	}
	return errs
}

func validateWebhookClient(c *admissionv1.WebhookClientConfig, at *field.Path) field.ErrorList {
	switch {
	case (c.URL == nil) == (c.Service == nil):
		return field.ErrorList{field.Required(at, "exactly one of url or service is required")}
	case c.URL != nil:
		return validateWebhookURL(*c.URL, at.Child("url"))
	}
	return validateWebhookService(c.Service, at.Child("service"))
}

func validateWebhookURL(raw string, at *field.Path) field.ErrorList {
	const form = "; desired format: https://host[/path]"
	u, err := url.Parse(raw)
	if err != nil {
		return field.ErrorList{field.Required(at, "url must be a valid URL: "+err.Error()+form)}
	}
	var errs field.ErrorList
	if u.Scheme != "https" {
		errs = append(errs, field.Invalid(at, u.Scheme, "'https' is the only allowed URL scheme"+form))
	}
	if u.Host == "" {
		errs = append(errs, field.Invalid(at, u.Host, "host must be specified"+form))
	}
	if u.User != nil {
		errs = append(errs, field.Invalid(at, u.User.String(), "user information is not permitted in the URL"))
	}
	if u.Fragment != "" {
		errs = append(errs, field.Invalid(at, u.Fragment, "fragments are not permitted in the URL"))
	}
	if u.RawQuery != "" {
		errs = append(errs, field.Invalid(at, u.RawQuery, "query parameters are not permitted in the URL"))
	}
	return errs
}

func validateWebhookService(s *admissionv1.ServiceReference, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), "service name is required"))
	}
	if s.Namespace == "" {
		errs = append(errs, field.Required(at.Child("namespace"), "service namespace is required"))
	}
	if wrong := validation.IsValidPortNum(int(deref(s.Port))); len(wrong) > 0 {
		errs = append(errs, field.Invalid(at.Child("port"), deref(s.Port), "port is not valid: "+strings.Join(wrong, ", ")))
	}
	return append(errs, rule.Optional(s.Path, at.Child("path"), validateWebhookPath)...)
}

func validateWebhookPath(path string, at *field.Path) field.ErrorList {
	switch path {
	case "", "/":
		return nil
	case "//":
		return field.ErrorList{field.Invalid(at, path, "segment[0] may not be empty")}
	}
	var errs field.ErrorList
	if !strings.HasPrefix(path, "/") {
		errs = append(errs, field.Invalid(at, path, "must start with a '/'"))
	}
	for i, segment := range strings.Split(strings.TrimSuffix(path[1:], "/"), "/") {
		if segment == "" {
			errs = append(errs, field.Invalid(at, path, fmt.Sprintf("segment[%d] may not be empty", i)))
			continue
		}
		for _, wrong := range validation.IsDNS1123Subdomain(segment) {
			errs = append(errs, field.Invalid(at, path, fmt.Sprintf("segment[%d]: %s", i, wrong)))
		}
	}
	return errs
}

// neverReviewed are the kinds that are evaluated and not stored: no webhook or
// policy sees them, since what they decide about could need the answer.
func neverReviewed() []schema.GroupResource {
	return []schema.GroupResource{
		{Group: "authentication.k8s.io", Resource: "selfsubjectreviews"},
		{Group: "authentication.k8s.io", Resource: "tokenreviews"},
		{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"},
		{Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"},
		{Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"},
		{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"},
	}
}

// rulesWithoutEffect warns of rules that name what no webhook sees. A wildcard
// may have been meant for others.
func rulesWithoutEffect(webhooks []admissionv1.ValidatingWebhook) []string {
	var warnings []string
	for i := range webhooks {
		for j := range webhooks[i].Rules {
			r := &webhooks[i].Rules[j]
			if slices.Contains(slices.Concat(r.APIGroups, r.APIVersions, r.Resources), "*") {
				continue
			}
			for _, never := range neverReviewed() {
				if slices.Contains(r.APIGroups, never.Group) && slices.Contains(r.Resources, never.Resource) {
					warnings = append(warnings, fmt.Sprintf("webhooks[%d].rules[%d]: %s is excluded from admission webhooks; this rule will have no effect", i, j, never))
				}
			}
		}
	}
	return warnings
}
