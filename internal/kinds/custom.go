package kinds

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/version"
)

// Definition is a CustomResourceDefinition.
type Definition = apiextensionsv1.CustomResourceDefinition

// Custom is what only custom kinds have: those that a CustomResourceDefinition
// makes. Their objects are *unstructured.Unstructured.
type Custom struct {
	// Definition is what made the kind. It must not be changed.
	Definition *Definition
	// Terminating says that the definition is being deleted: there will be no
	// new objects.
	Terminating bool
	// Warning is what users of the version are to be told; empty is nothing.
	Warning string
	// Scale is where an object's scale is; nil for kinds that have none.
	Scale *apiextensionsv1.CustomResourceSubresourceScale
	// Retired is closed once the definition has changed, and with it the kind.
	Retired chan struct{}

	// The fields below are the Store's; elsewhere they are nil.

	// Clean makes what a user sent an object of the kind: it drops fields that
	// the schema does not have, and returns their paths, and fills in others.
	// Objects of another kind or with other than metadata are errors.
	Clean func(obj *unstructured.Unstructured) (unknown []string, err error)
	// Types tells how the kind's fields merge.
	Types func() (managedfields.TypeConverter, error)
	// Convert returns an object of the kind as one of another version.
	Convert func(ctx context.Context, obj *unstructured.Unstructured, version string) (*unstructured.Unstructured, error)
}

// IsTrue says whether a definition has a condition.
func IsTrue(d *Definition, condition apiextensionsv1.CustomResourceDefinitionConditionType) bool {
	for i := range d.Status.Conditions {
		if c := &d.Status.Conditions[i]; c.Type == condition {
			return c.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}

// FromDefinition returns the kinds that a definition makes, one for each served
// version: their names and subresources. How they behave is added by the
// Store. There are none before the definition is established.
func FromDefinition(d *Definition) []*Kind {
	if !IsTrue(d, apiextensionsv1.Established) {
		return nil
	}
	var out []*Kind
	retired := make(chan struct{})
	for i := range d.Spec.Versions {
		if d.Spec.Versions[i].Served {
			out = append(out, fromVersion(d, &d.Spec.Versions[i], retired))
		}
	}
	return out
}

func fromVersion(d *Definition, v *apiextensionsv1.CustomResourceDefinitionVersion, retired chan struct{}) *Kind {
	names := &d.Status.AcceptedNames
	k := NewCustom(schema.GroupVersionKind{Group: d.Spec.Group, Version: v.Name, Kind: names.Kind}, names.Plural)
	k.Singular, k.ShortNames, k.Categories = names.Singular, names.ShortNames, names.Categories
	k.ListKind = names.ListKind
	k.Namespaced = d.Spec.Scope == apiextensionsv1.NamespaceScoped
	k.Custom = &Custom{
		Definition: d, Terminating: d.DeletionTimestamp != nil || IsTrue(d, apiextensionsv1.Terminating), Retired: retired, Warning: deprecation(d, v),
	}
	if s := v.Subresources; s != nil && s.Status != nil {
		k.Subresources = append(k.Subresources, "status")
	}
	if s := v.Subresources; s != nil && s.Scale != nil {
		k.Subresources, k.Custom.Scale = append(k.Subresources, "scale"), s.Scale
	}
	for _, f := range v.SelectableFields {
		k.FieldNames = append(k.FieldNames, strings.TrimPrefix(f.JSONPath, "."))
	}
	return k
}

func deprecation(d *Definition, v *apiextensionsv1.CustomResourceDefinitionVersion) string {
	switch {
	case !v.Deprecated:
		return ""
	case v.DeprecationWarning != nil:
		return *v.DeprecationWarning
	}
	return fmt.Sprintf("%s/%s %s is deprecated", d.Spec.Group, v.Name, d.Spec.Names.Kind)
}

// NewCustom returns a kind whose objects are *unstructured.Unstructured.
func NewCustom(gvk schema.GroupVersionKind, resource string) *Kind {
	k := Kind{
		Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind, Resource: resource,
		NameRule: validation.NameIsDNSSubdomain,
		Custom:   &Custom{},
	}
	k.newObject = func() Object {
		u := &unstructured.Unstructured{Object: map[string]any{}}
		u.SetGroupVersionKind(gvk)
		return u
	}
	k.newList = func() List { return &unstructured.UnstructuredList{} }
	k.typeURL = typeURLPrefix + documentName
	return &k
}

// CompareCustom orders custom kinds for discovery: by group, then by version as
// Kubernetes prefers them (v2 before v1 before v1beta1), then by name.
func CompareCustom(a, b *Kind) int {
	return cmp.Or(
		strings.Compare(a.Group, b.Group),
		version.CompareKubeAwareVersionStrings(b.Version, a.Version),
		strings.Compare(a.Resource, b.Resource),
	)
}

// DefinitionKey is a text that differs if the kinds that definitions make do.
func DefinitionKey(d *Definition) string {
	return fmt.Sprint(d.Generation, d.DeletionTimestamp != nil, d.Status.AcceptedNames,
		IsTrue(d, apiextensionsv1.Established), IsTrue(d, apiextensionsv1.Terminating))
}
