// Package customresource makes kinds of CustomResourceDefinitions: how their
// objects are cleaned of what their schema does not know, defaulted, validated,
// converted between versions, shown in tables and merged.
//
// A definition makes one kind for each version that it serves. All of them
// show the objects of one stored kind, which no client can name: its objects
// are as they were written, each in the version in which it was stored. What
// is read is converted, pruned and defaulted by the schema that there is now.
package customresource

import (
	"context"
	"fmt"
	"sync"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/structural"
)

// Converter asks a conversion webhook for objects of another version.
type Converter interface {
	Convert(ctx context.Context, hook *apiextensionsv1.WebhookConversion, objs []*unstructured.Unstructured, apiVersion string) ([]*unstructured.Unstructured, error)
}

// conversionTimeout bounds the conversion of what is read: those who wait for
// it share its outcome, so none of theirs counts.
const conversionTimeout = 30 * time.Second

// Stored returns the kind under which the objects of a definition are stored.
func Stored(d *kinds.Definition) *kinds.Kind {
	k := kinds.NewCustom(schema.GroupVersionKind{Group: d.Spec.Group, Kind: d.Spec.Names.Kind}, d.Spec.Names.Plural)
	k.Namespaced = d.Spec.Scope == apiextensionsv1.NamespaceScoped
	return k
}

// Kinds returns the kinds that a definition makes, whose objects are stored as
// stored.
func Kinds(d *kinds.Definition, stored *kinds.Kind, hooks Converter) ([]*kinds.Kind, error) {
	made := kinds.FromDefinition(d)
	c := &conversion{definition: d, hooks: hooks, schemas: make(map[string]*structural.Schema)}
	for i := range d.Spec.Versions {
		v := &d.Spec.Versions[i]
		if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			return nil, fmt.Errorf("version %s has no schema", v.Name)
		}
		s, err := structural.New(v.Schema.OpenAPIV3Schema)
		if err != nil {
			return nil, fmt.Errorf("read the schema of version %s: %w", v.Name, err)
		}
		c.schemas[v.Name] = s
	}
	for _, k := range made {
		if err := complete(k, versionOf(d, k.Version), c, stored); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func versionOf(d *kinds.Definition, name string) *apiextensionsv1.CustomResourceDefinitionVersion {
	for i := range d.Spec.Versions {
		if d.Spec.Versions[i].Name == name {
			return &d.Spec.Versions[i]
		}
	}
	return nil
}

func storageVersion(d *kinds.Definition) string {
	for i := range d.Spec.Versions {
		if d.Spec.Versions[i].Storage {
			return d.Spec.Versions[i].Name
		}
	}
	return ""
}

// complete adds to a kind how it behaves.
func complete(k *kinds.Kind, v *apiextensionsv1.CustomResourceDefinitionVersion, c *conversion, stored *kinds.Kind) error {
	s := c.schemas[k.Version]
	columns, err := columnsOf(v)
	if err != nil {
		return err
	}
	k.Columns = columns
	if k.Fields, err = fieldsOf(v); err != nil {
		return err
	}
	k.Strategy = newStrategy(k, s).strategy()
	k.Custom.Clean = func(u *unstructured.Unstructured) ([]string, error) { return clean(s, u) }
	k.Custom.Convert = c.convert
	k.Custom.Types = sync.OnceValues(func() (managedfields.TypeConverter, error) { return typesOf(k.GVK(), s) })
	storage := storageVersion(c.definition)
	k.StoredAs = &kinds.Sharing{
		GVR: stored.GVR(), Kind: stored,
		Decode: func(obj kinds.Object) (kinds.Object, error) { return c.read(obj, k.GVK()) },
		Encode: func(obj kinds.Object) (kinds.Object, error) { return c.converted(obj, storage) },
	}
	return nil
}

// clean makes what a user sent an object by the schema.
func clean(s *structural.Schema, u *unstructured.Unstructured) ([]string, error) {
	unknown, err := s.CoerceMeta(u.Object, false)
	if err != nil {
		return nil, err
	}
	unknown = append(unknown, s.Prune(u.Object)...)
	s.DropNulls(u.Object)
	s.ApplyDefaults(u.Object)
	return unknown, nil
}
