package openapi

import (
	"testing"

	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/internal/kinds"
)

// model returns the model of a custom kind with a schema.
func model(t *testing.T, schema string, v3 bool) object {
	t.Helper()
	d := &kinds.Definition{}
	text := `
metadata: {name: boats.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat, listKind: BoatList}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: ` + schema + `}}]
`
	if err := yaml.UnmarshalStrict([]byte(text), d); err != nil {
		t.Fatal(err)
	}
	d.Status.AcceptedNames = d.Spec.Names
	if err := yaml.Unmarshal([]byte(`status: {conditions: [{type: NamesAccepted, status: "True"}, {type: Established, status: "True"}]}`), d); err != nil {
		t.Fatal(err)
	}
	made := kinds.FromDefinition(d)
	if len(made) != 1 {
		t.Fatalf("the definition makes %d kinds", len(made))
	}
	m := newModels(refV2, v3, nil)
	return m.written[m.custom(made[0])].(object)
}

func TestUnknownFieldsInModels(t *testing.T) {
	const open = `{type: object, x-kubernetes-preserve-unknown-fields: true}`
	for name, tt := range map[string]struct {
		schema     string
		v3         bool
		properties bool
		spec       string // the type of property spec, "-" if there is none
	}{
		"v2, all of it is open":  {`{type: object, x-kubernetes-preserve-unknown-fields: true, properties: {spec: {type: string}}}`, false, false, "-"},
		"v3, all of it is open":  {`{type: object, x-kubernetes-preserve-unknown-fields: true, properties: {spec: {type: string}}}`, true, true, "string"},
		"v2, a property is open": {`{type: object, properties: {spec: ` + open + `}}`, false, true, ""},
		"v3, a property is open": {`{type: object, properties: {spec: ` + open + `}}`, true, true, "object"},
	} {
		t.Run(name, func(t *testing.T) {
			got := model(t, tt.schema, tt.v3)
			if got["type"] != "object" || got["x-kubernetes-group-version-kind"] == nil {
				t.Errorf("the model is %v", got)
			}
			properties, ok := got["properties"].(object)
			if ok != tt.properties {
				t.Fatalf("its properties are %v", got["properties"])
			}
			spec, ok := properties["spec"].(object)
			typ, _ := spec["type"].(string)
			if ok != (tt.spec != "-") || ok && typ != tt.spec {
				t.Errorf("spec is %v", properties["spec"])
			}
		})
	}
}
