package kinds

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// bad is an object that breaks rules: of a kind, given as the YAML that a user
// would write, with every cause that the user is told, in any order.
type bad struct {
	name string
	text string
	want []string
}

// causesOf returns what a user is told of each cause. A cause that ends in a
// difference or a regular expression's explanation is cut after its first
// line or sentence.
func causesOf(errs field.ErrorList) []string {
	out := make([]string, len(errs))
	for i, err := range errs {
		out[i], _, _ = strings.Cut(err.Error(), "\n")
		for _, explanation := range []string{" (e.g. ", " must consist of ", " must be an empty string or consist of "} {
			out[i], _, _ = strings.Cut(out[i], explanation)
		}
	}
	return out
}

func gvk(apiVersion, kind string) schema.GroupVersionKind {
	gv, _ := schema.ParseGroupVersion(apiVersion)
	return gv.WithKind(kind)
}

// testCreate runs the rules for new objects.
func testCreate(t *testing.T, of schema.GroupVersionKind, cases []bad) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			kind, obj := read(t, of, c.text)
			if obj.GetUID() == "" {
				obj.SetUID("uid")
			}
			var errs field.ErrorList
			for _, validate := range []func(Object) field.ErrorList{kind.Strategy.Validate, kind.Strategy.ValidateCreate} {
				if validate != nil {
					errs = append(errs, validate(obj)...)
				}
			}
			if diff := cmp.Diff(c.want, causesOf(errs), sortedStrings()); diff != "" {
				t.Errorf("the causes differ (-want +got):\n%s", diff)
			}
		})
	}
}

// change is a change that breaks rules: the YAML before and after it.
type change struct {
	name     string
	old, now string
	want     []string
}

// testUpdate runs the rules for changes. status says that it is the status
// that is written.
func testUpdate(t *testing.T, of schema.GroupVersionKind, status bool, cases []change) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			kind, old := readStored(t, of, c.old)
			_, now := readStored(t, of, c.now)
			check := kind.Strategy.ValidateUpdate
			if status {
				check = kind.Strategy.ValidateStatusUpdate
			}
			if diff := cmp.Diff(c.want, causesOf(check(now, old)), sortedStrings()); diff != "" {
				t.Errorf("the causes differ (-want +got):\n%s", diff)
			}
		})
	}
}

func sortedStrings() cmp.Option {
	return cmp.Transformer("set", func(in []string) map[string]int {
		out := map[string]int{}
		for _, s := range in {
			out[s]++
		}
		return out
	})
}
