package openapi

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/internal/kinds"
)

func TestSchemaOfPod(t *testing.T) {
	m := newModels(refV3, true, readMarkers())
	if name := m.add(reflect.TypeFor[corev1.Pod]()); name != "io.k8s.api.core.v1.Pod" {
		t.Fatalf("the model's name is %q", name)
	}
	spec := m.all["io.k8s.api.core.v1.PodSpec"]
	containers := spec.Properties["containers"]
	got := []any{containers.Type, containers.Items.Ref, containers.ListType, containers.ListMapKeys, containers.PatchStrategy, containers.PatchMergeKey}
	want := []any{"array", refV3 + "io.k8s.api.core.v1.Container", "map", []string{"name"}, "merge", "name"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !slices.Equal(spec.Required, []string{"containers"}) {
		t.Errorf("PodSpec requires %v", spec.Required)
	}
	container := m.all["io.k8s.api.core.v1.Container"]
	if diff := cmp.Diff([]string{"Always", "IfNotPresent", "Never"}, container.Properties["imagePullPolicy"].Enum); diff != "" {
		t.Error(diff)
	}
	if p := container.Properties["resources"]; p.Description == "" || len(p.AllOf) != 1 || p.AllOf[0].Ref == "" {
		t.Errorf("resources: %+v", p)
	}
	quantity := m.all["io.k8s.apimachinery.pkg.api.resource.Quantity"]
	if quantity == nil || len(quantity.OneOf) != 2 {
		t.Errorf("Quantity: %+v", quantity)
	}
	if p := m.all["io.k8s.apimachinery.pkg.apis.meta.v1.Time"]; p.Type != "string" || p.Format != "date-time" {
		t.Errorf("Time: %+v", p)
	}
	if s := m.all["io.k8s.api.core.v1.LocalObjectReference"]; s.MapType != "atomic" {
		t.Errorf("LocalObjectReference: %+v", s)
	}
}

// TestEveryReferenceLeadsSomewhere reads both documents and follows each $ref.
func TestEveryReferenceLeadsSomewhere(t *testing.T) {
	d := New(kinds.Default(), "v1.37.2")
	for refs, oneOf := range map[string]bool{refV2: false, refV3: true} {
		m, ops := d.collect(refs, oneOf, func(*kinds.Kind) bool { return true })
		write := writeV2
		if oneOf {
			write = writeV3
		}
		b, err := json.Marshal(object{"models": m.all, "paths": paths(ops, write)})
		if err != nil {
			t.Fatal(err)
		}
		var doc any
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		follow(t, doc, refs, m.all)
		for _, o := range ops {
			if m.all[o.result] == nil && o.result != "" || m.all[o.body] == nil && o.body != "" {
				t.Errorf("%s %s takes %q and returns %q", o.method, o.path, o.body, o.result)
			}
		}
	}
}

func follow(t *testing.T, value any, prefix string, models map[string]*jsonSchema) {
	switch v := value.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok && models[ref[len(prefix):]] == nil {
			t.Errorf("nothing is at %s", ref)
		}
		for _, inner := range v {
			follow(t, inner, prefix, models)
		}
	case []any:
		for _, inner := range v {
			follow(t, inner, prefix, models)
		}
	}
}
