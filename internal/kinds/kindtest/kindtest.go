// Package kindtest makes random API objects for tests.
package kindtest

import (
	"math/rand"
	"strconv"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/randfill"
)

// Filler returns a function that fills objects with reproducible random
// content that both encodings can carry. About half of the fields that may be
// empty are.
func Filler(seed int64) func(runtime.Object) {
	f := filler(seed)
	return func(obj runtime.Object) { f.Fill(obj) }
}

// FullFiller is Filler that leaves no field empty.
func FullFiller(seed int64) func(runtime.Object) {
	f := filler(seed).NilChance(0).NumElements(1, 1)
	return func(obj runtime.Object) { f.Fill(obj) }
}

func filler(seed int64) *randfill.Filler {
	funcs := fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, func(serializer.CodecFactory) []any {
		return []any{
			func(r *runtime.RawExtension, _ randfill.Continue) { r.Raw = []byte(`{"some":"value"}`) },
			// What is written as one of several forms, and what holds itself.
			func(j *apiextensionsv1.JSON, c randfill.Continue) {
				j.Raw = []byte(`{"a":` + strconv.Itoa(c.Intn(9)) + `}`)
			},
			func(s *apiextensionsv1.JSONSchemaProps, c randfill.Continue) {
				*s = apiextensionsv1.JSONSchemaProps{
					Type: "object", Description: c.String(8), Properties: map[string]apiextensionsv1.JSONSchemaProps{"a": {Type: "string"}},
					Enum: []apiextensionsv1.JSON{{Raw: []byte(`"x"`)}}, XListMapKeys: []string{c.String(8)},
					AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true, Schema: &apiextensionsv1.JSONSchemaProps{Type: "integer"}},
					Items:                &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{Type: "number"}},
				}
			},
			func(t *metav1.MicroTime, c randfill.Continue) {
				t.Time = time.Unix(c.Int63n(1<<32), 1000*c.Int63n(1e6))
			},
		}
	})
	return fuzzer.FuzzerFor(funcs, rand.NewSource(seed), serializer.NewCodecFactory(runtime.NewScheme()))
}
