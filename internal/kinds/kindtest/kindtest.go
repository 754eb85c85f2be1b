// Package kindtest makes random API objects for tests.
package kindtest

import (
	"math/rand"
	"time"

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
			func(t *metav1.MicroTime, c randfill.Continue) {
				t.Time = time.Unix(c.Int63n(1<<32), 1000*c.Int63n(1e6))
			},
		}
	})
	return fuzzer.FuzzerFor(funcs, rand.NewSource(seed), serializer.NewCodecFactory(runtime.NewScheme()))
}
