package kinds

import "k8s.io/apimachinery/pkg/util/validation/field"

// specPath is where most rules look.
func specPath(names ...string) *field.Path {
	path := field.NewPath("spec")
	for _, name := range names {
		path = path.Child(name)
	}
	return path
}
