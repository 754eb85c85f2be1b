package kinds

import (
	"strings"
	"testing"
)

// thing is a definition with a schema of the root's properties.
func thing(properties string) string {
	return "metadata: {name: things.example.com}\nspec: {group: example.com, scope: Cluster, names: {plural: things, kind: Thing}, versions: " +
		"[{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {" + properties + "}}}}]}"
}

func TestDefinitions(t *testing.T) {
	const at = "spec.versions[0].schema.openAPIV3Schema.properties"
	fine := thing("a: {type: string}")
	edit := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(fine) }
	testCreate(t, gvk("apiextensions.k8s.io/v1", "CustomResourceDefinition"), []bad{
		{name: "fine", text: fine},
		{name: "its name", text: edit("things.example.com", "x.example.com"), want: []string{
			`metadata.name: Invalid value: "x.example.com": must be spec.names.plural+"."+spec.group`,
		}},
		{name: "its group", text: edit("things.example.com", "things.example", "group: example.com", "group: example"), want: []string{
			`spec.group: Invalid value: "example": should be a domain with at least one dot`,
		}},
		{name: "a group of Kubernetes'", text: edit("example.com", "x.k8s.io"), want: []string{
			`metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111`,
		}},
		{name: "its scope", text: edit("Cluster", "World"), want: []string{`spec.scope: Unsupported value: "World": supported values: "Cluster", "Namespaced"`}},
		{name: "its names", text: edit("kind: Thing", "kind: Thing_s, listKind: Thing_s, singular: ThinG"), want: []string{
			`spec.names.kind: Invalid value: "Thing_s": may have mixed case, but should otherwise match: a DNS-1035 label`,
			`spec.names.listKind: Invalid value: "Thing_s": kind and listKind may not be the same`,
			`spec.names.listKind: Invalid value: "Thing_s": may have mixed case, but should otherwise match: a DNS-1035 label`,
			`spec.names.singular: Invalid value: "ThinG": a DNS-1035 label`,
		}},
		{name: "no storage version", text: edit("storage: true", "storage: false"), want: []string{
			`spec.versions: Invalid value: ["v1"]: must have exactly one version marked as storage version`,
			`status.storedVersions: Invalid value: null: must have at least one stored version`,
		}},
		{name: "no schema", text: edit("schema: {openAPIV3Schema: {type: object, properties: {a: {type: string}}}}", "schema: {}"), want: []string{
			"spec.versions[0].schema.openAPIV3Schema: Required value",
		}},
		{name: "unknown fields preserved as of old", text: edit("scope:", "preserveUnknownFields: true, scope:"), want: []string{
			"spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
		}},
		{name: "a deprecation of what is not deprecated", text: edit("served: true", "served: true, deprecationWarning: x"), want: []string{
			`spec.versions[0].deprecationWarning: Invalid value: "x": can only be set for deprecated versions`,
		}},
		{name: "columns", text: edit("served: true", "served: true, additionalPrinterColumns: [{type: text, jsonPath: spec}]"), want: []string{
			"spec.versions[0].additionalPrinterColumns[0].jsonPath: Invalid value: \"spec\": must be a simple json path starting with .",
			"spec.versions[0].additionalPrinterColumns[0].name: Required value",
			"spec.versions[0].additionalPrinterColumns[0].type: Invalid value: \"text\": must be one of boolean,date,integer,number,string",
		}},
		{name: "scale", text: edit("served: true", "served: true, subresources: {scale: {specReplicasPath: .status.x, statusReplicasPath: ''}}"), want: []string{
			"spec.versions[0].subresources.scale.specReplicasPath: Invalid value: \".status.x\": should be a json path under .spec",
			"spec.versions[0].subresources.scale.statusReplicasPath: Required value",
		}},
		{name: "selectable fields", text: edit("served: true", "served: true, selectableFields: [{jsonPath: .b}, {jsonPath: .metadata.name}, {jsonPath: .a}, {jsonPath: .a}]"), want: []string{
			`spec.versions[0].selectableFields[0].jsonPath: Invalid value: ".b": is an invalid path: does not refer to a valid field: b`,
			`spec.versions[0].selectableFields[1].jsonPath: Invalid value: ".metadata.name": is an invalid path: does not refer to a valid field: metadata`,
			`spec.versions[0].selectableFields[3].jsonPath: Duplicate value: ".a"`,
		}},
		{name: "no conversion that is known", text: edit("scope:", "conversion: {strategy: Magic}, scope:"), want: []string{
			`spec.conversion.strategy: Unsupported value: "Magic": supported values: "None", "Webhook"`,
		}},
		{name: "a webhook that is not there", text: edit("scope:", "conversion: {strategy: Webhook}, scope:"), want: []string{
			"spec.conversion.webhook: Required value: required when strategy is set to Webhook",
		}},
		{name: "a webhook of no version", text: edit("scope:", "conversion: {strategy: Webhook, webhook: {clientConfig: {url: 'http://x'}, conversionReviewVersions: [v9]}}, scope:"), want: []string{
			`spec.conversion.webhook.clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]`,
			`spec.conversion.webhook.conversionReviewVersions: Invalid value: ["v9"]: must include at least one of v1, v1beta1`,
		}},
		{name: "types", text: thing("a: {type: text}, b: {type: 'null'}"), want: []string{
			at + `[a].type: Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object", "string"`,
			at + `[b].type: Unsupported value: "null": supported values: "array", "boolean", "integer", "number", "object", "string"`,
		}},
		{name: "what is not structural", text: thing("a: {}"), want: []string{
			at + "[a].type: Required value: must not be empty for specified object fields",
		}},
		{name: "words that are not known", text: thing("a: {type: array, uniqueItems: true, items: {type: string}}, b: {type: object, patternProperties: {x: {type: string}}}, c: {$ref: x}"), want: []string{
			at + "[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
			at + "[b].patternProperties: Forbidden: patternProperties is not supported",
			at + "[c].$ref: Forbidden: $ref is not supported",
		}},
		{name: "a list by keys", text: thing("a: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [k, k, o], items: {type: object, properties: {k: {type: string}}}}"), want: []string{
			at + "[a].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
			at + `[a].x-kubernetes-list-map-keys: Invalid value: ["k","k","o"]: entries must all be names of item properties`,
			at + `[a].x-kubernetes-list-map-keys: Invalid value: ["k","k","o"]: must not contain duplicate entries`,
		}},
		{name: "defaults", text: thing("a: {type: integer, default: x}, b: {type: object, default: {c: 1}}, metadata: {type: object, properties: {name: {type: string, default: d}}}"), want: []string{
			at + "[metadata].properties[name].default: Forbidden: must not be set in top-level metadata",
		}},
		{name: "defaults that do not fit", text: thing("a: {type: integer, default: x}, b: {type: object, default: {c: 1}}"), want: []string{
			at + `[a].default: Invalid value: "string":  in body must be of type integer: "string"`,
			at + `[b].default: Invalid value: {"c":1}: must not have unknown fields`,
		}},
		{name: "rules", text: thing("a: {type: string, x-kubernetes-validations: [{rule: ' '}, {rule: 'true', reason: Bad, fieldPath: .x}, {rule: \"a\\nb\"}]}"), want: []string{
			at + "[a].x-kubernetes-validations[0].rule: Required value: rule is not specified",
			at + `[a].x-kubernetes-validations[1].fieldPath: Invalid value: ".x": must be a valid path`,
			at + `[a].x-kubernetes-validations[1].reason: Unsupported value: "Bad": supported values: "FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"`,
			at + "[a].x-kubernetes-validations[2].message: Required value: message must be specified if rule contains line breaks",
		}},
	})
}
