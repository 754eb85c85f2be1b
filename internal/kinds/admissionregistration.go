package kinds

import admissionv1 "k8s.io/api/admissionregistration/v1"

// apiExtensions is the category of the kinds that change what the API does.
const apiExtensions = "api-extensions"

// admissionKinds are the kinds of admissionregistration.k8s.io/v1.
func admissionKinds() []*Kind {
	return append([]*Kind{
		object[admissionv1.MutatingWebhookConfiguration, admissionv1.MutatingWebhookConfigurationList](Kind{
			Group: admissionv1.GroupName, Version: "v1", Resource: "mutatingwebhookconfigurations", Kind: "MutatingWebhookConfiguration",
			Singular: "mutatingwebhookconfiguration", Categories: []string{apiExtensions},
			Columns: columns(
				number("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration",
					func(c *admissionv1.MutatingWebhookConfiguration) int64 { return int64(len(c.Webhooks)) }),
				ageColumn(),
			),
			Strategy: mutatingWebhookStrategy(),
		}),
		object[admissionv1.ValidatingWebhookConfiguration, admissionv1.ValidatingWebhookConfigurationList](Kind{
			Group: admissionv1.GroupName, Version: "v1", Resource: "validatingwebhookconfigurations", Kind: "ValidatingWebhookConfiguration",
			Singular: "validatingwebhookconfiguration", Categories: []string{apiExtensions},
			Columns: columns(
				number("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration",
					func(c *admissionv1.ValidatingWebhookConfiguration) int64 { return int64(len(c.Webhooks)) }),
				ageColumn(),
			),
			Strategy: validatingWebhookStrategy(),
		}),
	}, admissionPolicyKinds()...)
}
