package kinds

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

// filler returns a function that fills objects with reproducible random
// content that both encodings can carry.
func filler(seed int64) func(Object) {
	funcs := fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, func(serializer.CodecFactory) []any {
		return []any{
			func(r *runtime.RawExtension, _ randfill.Continue) { r.Raw = []byte(`{"some":"value"}`) },
			func(t *metav1.MicroTime, c randfill.Continue) {
				t.Time = time.Unix(c.Int63n(1<<32), 1000*c.Int63n(1e6))
			},
		}
	})
	f := fuzzer.FuzzerFor(funcs, rand.NewSource(seed), serializer.NewCodecFactory(runtime.NewScheme()))
	return func(obj Object) { f.Fill(obj) }
}
