package kinds

import (
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/crdspec"
	"navarch.dev/navarch/internal/kinds/rule"
)

// extensionKinds are the kinds of apiextensions.k8s.io/v1.
func extensionKinds() []*Kind {
	return []*Kind{
		object[Definition, apiextensionsv1.CustomResourceDefinitionList](Kind{
			Group: apiextensionsv1.GroupName, Version: "v1", Resource: "customresourcedefinitions", Kind: "CustomResourceDefinition",
			Singular: "customresourcedefinition", ShortNames: []string{"crd", "crds"}, Categories: []string{apiExtensions},
			Subresources: []string{"status"},
			Columns:      columns(createdColumn()),
			Strategy:     definitionStrategy(),
		}),
	}
}

func definitionStrategy() Strategy {
	s := specStatus(
		func(d *Definition) *apiextensionsv1.CustomResourceDefinitionSpec { return &d.Spec },
		func(d *Definition) *apiextensionsv1.CustomResourceDefinitionStatus { return &d.Status },
		rules[*Definition]{
			create:         noteStored,
			update:         func(d, _ *Definition) { noteStored(d) },
			defaults:       defaultDefinition,
			validate:       validateDefinition,
			validateCreate: func(d *Definition) field.ErrorList { return crdspec.ValidateApproval(d, nil) },
			validateUpdate: validateDefinitionUpdate,
			validateStatus: func(d, _ *Definition) field.ErrorList {
				return crdspec.Names(&d.Status.AcceptedNames, field.NewPath("status", "acceptedNames"))
			},
			warnings: func(d *Definition) []string { return crdspec.Warnings(&d.Spec) },
		})
	s.MarkDeleted = func(obj Object) { endDefinition(obj.(*Definition)) }
	return s
}

// noteStored adds the version in which objects will be stored to those in which
// they may be.
func noteStored(d *Definition) {
	for i := range d.Spec.Versions {
		if v := &d.Spec.Versions[i]; v.Storage {
			if !slices.Contains(d.Status.StoredVersions, v.Name) {
				d.Status.StoredVersions = append(slices.Clone(d.Status.StoredVersions), v.Name)
			}
			return
		}
	}
}

func defaultDefinition(d *Definition) {
	names := &d.Spec.Names
	setDefault(&names.Singular, strings.ToLower(names.Kind))
	if names.Kind != "" {
		setDefault(&names.ListKind, names.Kind+"List")
	}
	setPointer(&d.Spec.Conversion, apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter})
	if hook := d.Spec.Conversion.Webhook; hook != nil && hook.ClientConfig != nil && hook.ClientConfig.Service != nil {
		setPointer(&hook.ClientConfig.Service.Port, 443)
	}
}

func validateDefinition(d *Definition) field.ErrorList {
	var named field.ErrorList
	if d.Name != "" && d.Name != d.Spec.Names.Plural+"."+d.Spec.Group {
		named = append(named, field.Invalid(field.NewPath("metadata", "name"), d.Name, `must be spec.names.plural+"."+spec.group`))
	}
	return rule.Join(
		named,
		crdspec.Validate(&d.Spec, specPath()),
		validateConversion(d.Spec.Conversion, specPath("conversion")),
		crdspec.ValidateStored(d.Status.StoredVersions, d.Spec.Versions, field.NewPath("status", "storedVersions")),
	)
}

func validateConversion(c *apiextensionsv1.CustomResourceConversion, at *field.Path) field.ErrorList {
	if c == nil {
		return nil
	}
	errs := rule.OneOf(c.Strategy, at.Child("strategy"), apiextensionsv1.NoneConverter, apiextensionsv1.WebhookConverter)
	hook := at.Child("webhook")
	switch {
	case c.Strategy != apiextensionsv1.WebhookConverter:
		return append(errs, rule.Forbid(at, "should not be set when strategy is not set to Webhook", rule.Set("webhook", c.Webhook != nil))...)
	case c.Webhook == nil:
		return append(errs, field.Required(hook, "required when strategy is set to Webhook"))
	case c.Webhook.ClientConfig == nil:
		errs = append(errs, field.Required(hook.Child("clientConfig"), "required when strategy is set to Webhook"))
	default:
		errs = append(errs, validateWebhookClient(ConversionClient(c.Webhook.ClientConfig), hook.Child("clientConfig"))...)
	}
	return append(errs, validateReviewVersions(c.Webhook.ConversionReviewVersions, hook.Child("conversionReviewVersions"))...)
}

// ConversionClient returns where a conversion webhook is, as admission webhooks
// say it.
func ConversionClient(c *apiextensionsv1.WebhookClientConfig) *admissionv1.WebhookClientConfig {
	out := &admissionv1.WebhookClientConfig{URL: c.URL, CABundle: c.CABundle}
	if s := c.Service; s != nil {
		out.Service = &admissionv1.ServiceReference{Namespace: s.Namespace, Name: s.Name, Path: s.Path, Port: s.Port}
	}
	return out
}

func validateDefinitionUpdate(d, old *Definition) field.ErrorList {
	errs := rule.Join(
		crdspec.ValidateApproval(d, old),
		rule.Immutable(d.Spec.Group, old.Spec.Group, specPath("group")),
		rule.Immutable(d.Spec.Names.Plural, old.Spec.Names.Plural, specPath("names", "plural")),
	)
	if !IsTrue(old, apiextensionsv1.Established) {
		return errs
	}
	return rule.Join(errs,
		rule.Immutable(d.Spec.Scope, old.Spec.Scope, specPath("scope")),
		rule.Immutable(d.Spec.Names.Kind, old.Spec.Names.Kind, specPath("names", "kind")),
	)
}

// endDefinition notes on a definition that is being deleted that its objects
// go first.
func endDefinition(d *Definition) {
	if !slices.Contains(d.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer) {
		d.Finalizers = append(slices.Clone(d.Finalizers), apiextensionsv1.CustomResourceCleanupFinalizer)
	}
	SetCondition(d, apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue, Reason: "InstanceDeletionPending",
		Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
	})
}

// SetCondition sets a condition of a definition. It says whether that changed
// anything; when a condition came to be so changes only with its status.
func SetCondition(d *Definition, c apiextensionsv1.CustomResourceDefinitionCondition) bool {
	c.LastTransitionTime = metav1.Now()
	at := slices.IndexFunc(d.Status.Conditions, func(have apiextensionsv1.CustomResourceDefinitionCondition) bool { return have.Type == c.Type })
	if at < 0 {
		d.Status.Conditions = append(d.Status.Conditions, c)
		return true
	}
	have := &d.Status.Conditions[at]
	if have.Status == c.Status && have.Reason == c.Reason && have.Message == c.Message {
		return false
	}
	if have.Status == c.Status {
		c.LastTransitionTime = have.LastTransitionTime
	}
	*have = c
	return true
}
