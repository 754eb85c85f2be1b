package codec_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/kinds/kindtest"
	"navarch.dev/navarch/internal/testseed"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/codec"
	"navarch.dev/navarch/services/store/registry"
)

const (
	strict    = storev1.FieldValidation_FIELD_VALIDATION_STRICT
	someValue = "/registry/some/key"
	revision  = 7
)

// Whatever an object of any kind holds, nothing of it is lost on the way from
// a client's JSON or Protobuf through storing, reading in every form and
// patches that change nothing.
func TestRoundTripOfEveryKind(t *testing.T) {
	seed := int64(testseed.Of(t))
	for i, kind := range kinds.Default().All() {
		t.Run(kind.Group+"/"+kind.Resource, func(t *testing.T) {
			fillSome, fillAll := kindtest.Filler(seed+int64(i)), kindtest.FullFiller(seed+int64(i))
			for n := range testseed.Times(t, 1) { // the first with every field
				obj := kind.New()
				if n%2 == 0 {
					fillAll(obj)
				} else {
					fillSome(obj)
				}
				obj.GetObjectKind().SetGroupVersionKind(kind.GVK())
				obj.SetResourceVersion("")
				trip{t, kind, obj}.run()
			}
		})
	}
}

// trip takes one object through everything.
type trip struct {
	*testing.T
	kind *kinds.Kind
	obj  kinds.Object
}

func (t trip) run() {
	t.Helper()
	text := t.json(t.obj)
	t.same("client's JSON", t.decoded(text), t.obj)
	any, err := kinds.Encode(t.obj)
	if err != nil {
		t.Fatal(err)
	}
	fromProto := t.kind.New()
	if _, err := codec.Decode(&storev1.Object{Object: any}, fromProto, t.kind.GVK(), strict); err != nil {
		t.Fatal(err)
	}
	t.same("client's Protobuf", fromProto, t.obj)
	t.patched(text)
	t.stored(t.decoded(text))
}

// decoded reads a client's JSON as strictly as can be.
func (t trip) decoded(text []byte) kinds.Object {
	t.Helper()
	obj := t.kind.New()
	if _, err := codec.DecodeJSON(text, obj, t.kind.GVK(), strict); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return obj
}

// patched applies patches that change nothing.
func (t trip) patched(text []byte) {
	t.Helper()
	for name, opts := range map[string]registry.PatchOptions{
		"an empty JSON patch":      {Type: storev1.PatchType_PATCH_TYPE_JSON, Patch: []byte(`[]`)},
		"an empty merge patch":     {Type: storev1.PatchType_PATCH_TYPE_MERGE, Patch: []byte(`{}`)},
		"an empty strategic merge": {Type: storev1.PatchType_PATCH_TYPE_STRATEGIC_MERGE, Patch: []byte(`{}`)},
	} {
		after, err := registry.ApplyPatch(text, opts, t.kind.New())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.same(name, t.decoded(after), t.obj)
	}
}

// stored writes the object as the Store does and reads it in every form: as
// the writer's cache has it, and as one that decodes it anew.
func (t trip) stored(obj kinds.Object) {
	t.Helper()
	kind := t.kind
	if kind.StoredAs != nil {
		var ok bool
		if kind, ok = kinds.Default().ForResource(t.kind.StoredAs.GVR); !ok {
			t.Fatalf("%v is not registered", t.kind.StoredAs.GVR)
		}
		var err error
		if obj, err = t.kind.StoredAs.Encode(obj); err != nil {
			t.Fatal(err)
		}
	}
	draft, err := cache.NewDraft(kind, someValue, obj, cache.Envelope{})
	if err != nil {
		t.Fatal(err)
	}
	read, err := cache.Decode(kind, backend.KeyValue{Key: someValue, Value: draft.Value(), Revision: revision})
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]*cache.Version{"writer": draft.At(revision), "reader": read, "deleted": read.GoneAt(revision)} {
		v, err := v.As(t.kind)
		if err != nil {
			t.Fatal(err)
		}
		t.forms(name, v)
	}
}

// forms reads a version in every encoding.
func (t trip) forms(who string, v *cache.Version) {
	t.Helper()
	want := t.obj.DeepCopyObject().(kinds.Object)
	want.SetResourceVersion(cache.ResourceVersion(revision))
	partial := cache.PartialMetadata(want)
	for _, projection := range []storev1.Projection{storev1.Projection_PROJECTION_OBJECT, storev1.Projection_PROJECTION_METADATA} {
		for _, encoding := range []storev1.Encoding{storev1.Encoding_ENCODING_JSON, storev1.Encoding_ENCODING_PROTOBUF} {
			encoded, err := v.Encode(cache.Form{Encoding: encoding, Projection: projection})
			if err != nil {
				t.Fatal(err)
			}
			got, expected := t.kind.New(), want
			if projection == storev1.Projection_PROJECTION_METADATA {
				got, expected = &metav1.PartialObjectMetadata{}, partial
			}
			if encoding == storev1.Encoding_ENCODING_JSON {
				err = json.Unmarshal(encoded.GetJson(), got)
			} else if err = kinds.Decode(encoded.GetObject(), got); err == nil {
				got.GetObjectKind().SetGroupVersionKind(expected.GetObjectKind().GroupVersionKind())
			}
			if err != nil {
				t.Fatal(err)
			}
			t.same(who+"'s "+encoding.String()+" "+projection.String(), got, expected)
		}
	}
}

func (t trip) json(obj runtime.Object) []byte {
	t.Helper()
	b, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (t trip) same(how string, got, want runtime.Object) {
	t.Helper()
	if !equality.Semantic.DeepEqual(got, want) {
		t.Fatalf("%s loses something (-want +got):\n%s", how, cmp.Diff(want, got))
	}
}
