package kinds

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/equality"

	"navarch.dev/navarch/internal/kinds/kindtest"
)

// Every default must be stable: defaulting twice is defaulting once, and what
// is defaulted survives JSON and Protobuf.
func TestDefaultsAreIdempotent(t *testing.T) {
	for _, k := range Default().All() {
		if k.Strategy.Default == nil {
			continue
		}
		t.Run(k.Group+"/"+k.Resource, func(t *testing.T) {
			fill := kindtest.Filler(1)
			for range 50 {
				once := k.New()
				fill(once)
				k.Strategy.Default(once)
				twice := once.DeepCopyObject().(Object)
				k.Strategy.Default(twice)
				if !equality.Semantic.DeepEqual(once, twice) {
					t.Fatalf("defaulting again changes it:\n%s", cmp.Diff(once, twice))
				}
			}
		})
	}
}

// No rule and no column may panic, whatever an object holds.
func TestStrategiesAndColumnsTakeAnything(t *testing.T) {
	for _, k := range Default().All() {
		t.Run(k.Group+"/"+k.Resource, func(t *testing.T) {
			fill := kindtest.Filler(3)
			exercise(k, k.New(), k.New())
			for range 30 {
				obj, old := k.New(), k.New()
				fill(obj)
				fill(old)
				exercise(k, obj, old)
			}
		})
	}
}

func exercise(k *Kind, obj, old Object) {
	s := k.Strategy
	for _, f := range []func(Object){s.PrepareForCreate, s.Default} {
		run1(f, obj)
	}
	run1(s.Default, old)
	for _, f := range []func(obj, old Object){s.PrepareForUpdate, s.PrepareForStatusUpdate} {
		run2(f, obj.DeepCopyObject().(Object), old)
	}
	if s.Validate != nil {
		s.Validate(obj)
	}
	if s.ValidateCreate != nil {
		s.ValidateCreate(obj)
	}
	if s.ValidateUpdate != nil {
		s.ValidateUpdate(obj, old)
	}
	if s.ValidateStatusUpdate != nil {
		s.ValidateStatusUpdate(obj, old)
	}
	if s.SpecChanged != nil {
		s.SpecChanged(obj, old)
	}
	if s.GracePeriod != nil {
		s.GracePeriod(obj)
	}
	for _, c := range k.Columns {
		c.Value(obj)
	}
	if k.Fields != nil {
		k.Fields(obj)
	}
}

// Objects are the same whichever way they travelled.
func TestJSONAndProtobufAgree(t *testing.T) {
	for _, k := range Default().All() {
		t.Run(k.Group+"/"+k.Resource, func(t *testing.T) {
			fill := kindtest.Filler(5)
			for range 20 {
				obj := k.New()
				fill(obj)
				assertRoundTrip(t, k, obj)
			}
		})
	}
}

func assertRoundTrip(t *testing.T, k *Kind, obj Object) {
	t.Helper()
	text, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	fromJSON, fromProto := k.New(), k.New()
	if err := json.Unmarshal(text, fromJSON); err != nil {
		t.Fatal(err)
	}
	wire, err := Encode(fromJSON)
	if err != nil {
		t.Fatal(err)
	}
	if err := Decode(wire, fromProto); err != nil {
		t.Fatal(err)
	}
	if !equality.Semantic.DeepEqual(fromJSON, fromProto) {
		t.Fatalf("JSON and Protobuf differ:\n%s", cmp.Diff(fromJSON, fromProto))
	}
}

// The fields that are promised are those that are given.
func TestFieldNamesMatchFields(t *testing.T) {
	for _, k := range Default().All() {
		if (k.Fields == nil) != (len(k.FieldNames) == 0) {
			t.Errorf("%s: Fields and FieldNames must come together", k.Resource)
			continue
		}
		if k.Fields == nil {
			continue
		}
		given := k.Fields(k.New())
		for _, name := range k.FieldNames {
			if _, ok := given[name]; !ok {
				t.Errorf("%s: field %s is promised but not given", k.Resource, name)
			}
		}
		if len(given) != len(k.FieldNames) {
			t.Errorf("%s: gives %d fields, promises %d", k.Resource, len(given), len(k.FieldNames))
		}
	}
}
