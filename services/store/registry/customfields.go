package registry

import (
	"context"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"navarch.dev/navarch/internal/kinds"
)

// customManager returns what merges and tracks the fields of a custom kind.
func customManager(kind *kinds.Kind, subresource string) (*managedfields.FieldManager, error) {
	types, err := kind.Custom.Types()
	if err != nil {
		return nil, err
	}
	versions := customVersions{kind}
	filters := map[fieldpath.APIVersion]fieldpath.Filter{}
	if kept := writableCustom(kind, subresource); kept != nil {
		filters[fieldpath.APIVersion(kind.APIVersion())] = kept
	}
	gv := kind.GVK().GroupVersion()
	m, err := managedfields.NewDefaultCRDFieldManager(types, versions, versions, versions, kind.GVK(), gv, subresource, filters)
	if err != nil {
		return nil, fmt.Errorf("prepare to track the fields of %s: %w", kind.Kind, err)
	}
	return m, nil
}

// writableCustom is writable for custom kinds: a status update may change any
// metadata that it may change at all.
func writableCustom(kind *kinds.Kind, subresource string) fieldpath.Filter {
	switch {
	case subresource == "" && kind.HasSubresource("status"):
		return fieldpath.NewExcludeSetFilter(fieldpath.NewSet(fieldpath.MakePathOrDie("status")))
	case subresource == "status":
		return fieldpath.NewIncludeMatcherFilter(fieldpath.MakePrefixMatcherOrDie("status"))
	}
	return nil
}

// customVersions converts, makes and defaults the objects of a custom kind for
// those who track fields.
type customVersions struct{ kind *kinds.Kind }

// ConvertToVersion implements runtime.ObjectConvertor.
func (v customVersions) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	u, ok := in.(*unstructured.Unstructured)
	gv, one := target.(schema.GroupVersion)
	switch {
	case !ok || !one:
		return nil, fmt.Errorf("convert a %T to %v: it is of no custom kind", in, target)
	case u.GroupVersionKind().GroupVersion() == gv:
		return in, nil
	case !knownVersion(v.kind.Custom.Definition, gv.Version):
		return nil, runtime.NewNotRegisteredErrForKind("custom", gv.WithKind(v.kind.Kind))
	}
	return v.kind.Custom.Convert(context.Background(), u, gv.Version)
}

func knownVersion(d *kinds.Definition, name string) bool {
	for i := range d.Spec.Versions {
		if d.Spec.Versions[i].Name == name {
			return true
		}
	}
	return false
}

// Convert implements runtime.ObjectConvertor.
func (customVersions) Convert(in, out, _ any) error {
	from, ok := in.(*unstructured.Unstructured)
	to, also := out.(*unstructured.Unstructured)
	if !ok || !also {
		return fmt.Errorf("convert a %T to a %T: they are of no custom kind", in, out)
	}
	to.Object = from.Object
	return nil
}

// ConvertFieldLabel implements runtime.ObjectConvertor.
func (customVersions) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

// New implements runtime.ObjectCreater.
func (customVersions) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(gvk)
	return u, nil
}

// Default implements runtime.ObjectDefaulter.
func (v customVersions) Default(in runtime.Object) {
	if obj, ok := in.(kinds.Object); ok {
		runDefault(v.kind, obj)
	}
}

// isDefinition says whether a kind is that of the definitions of custom ones,
// whose schema is in none of the packages that have the others.
func isDefinition(gvk schema.GroupVersionKind) bool {
	return gvk.Group == apiextensionsv1.GroupName
}
