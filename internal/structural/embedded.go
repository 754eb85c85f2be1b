package structural

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
)

// CoerceMeta makes the metadata of a whole object, and of the objects embedded
// in it, what metadata can be. It returns the paths of fields that it dropped
// for being unknown. Metadata whose fields are not of their types is an error
// or, with lenient, loses those.
func (s *Schema) CoerceMeta(obj map[string]any, lenient bool) ([]string, error) {
	c := coercion{lenient: lenient}
	c.object(obj, s, true, "")
	return c.dropped, errors.Join(c.errs...)
}

type coercion struct {
	lenient bool
	dropped []string
	errs    []error
}

func (c *coercion) value(v any, s *Schema, path string) {
	if s == nil {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		c.object(v, s, s.Embedded, path)
	case []any:
		for i, item := range v {
			c.value(item, s.Items, fmt.Sprintf("%s[%d]", path, i))
		}
	}
}

func (c *coercion) object(obj map[string]any, s *Schema, whole bool, path string) {
	if whole {
		c.typeMeta(obj, path)
		c.objectMeta(obj, path)
	}
	for name, value := range obj {
		if whole && isMeta(name) {
			continue
		}
		child, _ := s.child(name)
		c.value(value, child, join(path, name))
	}
}

func (c *coercion) typeMeta(obj map[string]any, path string) {
	for _, name := range []string{"apiVersion", "kind"} {
		value, given := obj[name]
		if _, ok := value.(string); ok || !given {
			continue
		}
		if c.lenient {
			delete(obj, name)
		} else {
			c.errs = append(c.errs, fmt.Errorf("%s: must be a string", join(path, name)))
		}
	}
}

func (c *coercion) objectMeta(obj map[string]any, path string) {
	raw, given := obj["metadata"]
	if !given {
		return
	}
	at := join(path, "metadata")
	fields, ok := raw.(map[string]any)
	if !ok && raw != nil {
		if c.lenient {
			delete(obj, "metadata")
		} else {
			c.errs = append(c.errs, fmt.Errorf("%s: must be an object", at))
		}
		return
	}
	meta := &metav1.ObjectMeta{}
	unknown, err := decodeMeta(fields, meta)
	if err != nil && c.lenient {
		meta, err = salvage(fields), nil
	}
	if err != nil {
		c.errs = append(c.errs, fmt.Errorf("%s: %w", at, err))
		return
	}
	for _, name := range unknown {
		c.dropped = append(c.dropped, at+"."+name)
	}
	if obj["metadata"], err = runtime.DefaultUnstructuredConverter.ToUnstructured(meta); err != nil {
		c.errs = append(c.errs, fmt.Errorf("%s: %w", at, err))
	}
}

// decodeMeta reads metadata and returns the paths of fields that it does not
// have.
func decodeMeta(fields map[string]any, meta *metav1.ObjectMeta) (unknown []string, err error) {
	b, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	strict, err := kjson.UnmarshalStrict(b, meta)
	if err != nil {
		return nil, err
	}
	for _, err := range strict {
		var at kjson.FieldError
		if errors.As(err, &at) {
			unknown = append(unknown, at.FieldPath())
		}
	}
	return unknown, nil
}

// salvage returns the fields of metadata that can be read.
func salvage(fields map[string]any) *metav1.ObjectMeta {
	meta := &metav1.ObjectMeta{}
	for name, value := range fields {
		one := map[string]any{name: value}
		if _, err := decodeMeta(one, &metav1.ObjectMeta{}); err == nil {
			_, _ = decodeMeta(one, meta) // as it just could be
		}
	}
	return meta
}

// CheckEmbedded returns what is wrong with the kinds and the metadata of
// objects embedded in a value that the node describes.
func (s *Schema) CheckEmbedded(v any, at *field.Path) field.ErrorList {
	if s == nil {
		return nil
	}
	var errs field.ErrorList
	switch v := v.(type) {
	case map[string]any:
		if s.Embedded {
			errs = checkEmbedded(v, at)
		}
		for name, value := range v {
			if p, ok := s.Properties[name]; ok {
				errs = append(errs, p.CheckEmbedded(value, at.Child(name))...)
			} else {
				errs = append(errs, s.Values.CheckEmbedded(value, at.Key(name))...)
			}
		}
	case []any:
		for i, item := range v {
			errs = append(errs, s.Items.CheckEmbedded(item, at.Index(i))...)
		}
	}
	return errs
}

func checkEmbedded(obj map[string]any, at *field.Path) field.ErrorList {
	errs := checkTypeMeta(obj, "apiVersion", at.Child("apiVersion"), func(v string) []string {
		if _, err := schema.ParseGroupVersion(v); err != nil {
			return []string{err.Error()}
		}
		return nil
	})
	errs = append(errs, checkTypeMeta(obj, "kind", at.Child("kind"), func(v string) []string {
		if msgs := validation.IsDNS1035Label(strings.ToLower(v)); len(msgs) > 0 {
			return []string{"may have mixed case, but should otherwise match: " + strings.Join(msgs, ",")}
		}
		return nil
	})...)
	raw, given := obj["metadata"]
	if !given {
		return errs
	}
	fields, _ := raw.(map[string]any)
	meta := &metav1.ObjectMeta{}
	if _, err := decodeMeta(fields, meta); err != nil {
		return append(errs, field.Invalid(at.Child("metadata"), raw, err.Error()))
	}
	if meta.Name == "" {
		meta.Name = "unnamed" // names of embedded objects may be missing
	}
	return append(errs, apivalidation.ValidateObjectMeta(meta, meta.Namespace != "", pathSegment, at.Child("metadata"))...)
}

// pathSegment allows every name that an object of any kind can have.
func pathSegment(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}

func checkTypeMeta(obj map[string]any, name string, at *field.Path, form func(string) []string) field.ErrorList {
	value, given := obj[name]
	text, ok := value.(string)
	switch {
	case !given:
		return field.ErrorList{field.Required(at, "")}
	case !ok:
		return field.ErrorList{field.Invalid(at, value, "must be a string")}
	case text == "":
		return field.ErrorList{field.Invalid(at, text, "must not be empty")}
	}
	var errs field.ErrorList
	for _, msg := range form(text) {
		errs = append(errs, field.Invalid(at, text, msg))
	}
	return errs
}
