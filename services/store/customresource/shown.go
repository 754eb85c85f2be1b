package customresource

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/jsonpath"

	"navarch.dev/navarch/internal/kinds"
)

// columnsOf returns the columns of a version's table: the name and those that
// it says, or the age where it says none.
func columnsOf(v *apiextensionsv1.CustomResourceDefinitionVersion) ([]kinds.Column, error) {
	columns := []kinds.Column{{
		Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"],
		Value: func(o kinds.Object) any { return o.GetName() },
	}}
	written := v.AdditionalPrinterColumns
	if len(written) == 0 {
		written = []apiextensionsv1.CustomResourceColumnDefinition{{
			Name: "Age", Type: "date", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"], JSONPath: ".metadata.creationTimestamp",
		}}
	}
	for i := range written {
		c, err := columnOf(&written[i])
		if err != nil {
			return nil, err
		}
		columns = append(columns, c)
	}
	return columns, nil
}

func columnOf(c *apiextensionsv1.CustomResourceColumnDefinition) (kinds.Column, error) {
	path, err := parsePath(c.JSONPath)
	if err != nil {
		return kinds.Column{}, fmt.Errorf("column %s: %w", c.Name, err)
	}
	description := c.Description
	if description == "" {
		description = "Custom resource definition column (in JSONPath format): " + c.JSONPath
	}
	typ := c.Type
	return kinds.Column{
		Name: c.Name, Type: typ, Format: c.Format, Description: description, Priority: c.Priority,
		Value: func(o kinds.Object) any { return path.cell(o, typ) },
	}, nil
}

// path is a parsed JSONPath. The parser's result keeps the state of an
// evaluation, so each has one of its own.
type path string

func parsePath(text string) (path, error) {
	p := path("{" + text + "}")
	_, err := p.parsed()
	return p, err
}

func (p path) parsed() (*jsonpath.JSONPath, error) {
	parsed := jsonpath.New("path").AllowMissingKeys(true)
	if err := parsed.Parse(string(p)); err != nil {
		return nil, fmt.Errorf("read the path %s: %w", p, err)
	}
	return parsed, nil
}

// find returns the first value at the path, as text too.
func (p path) find(obj kinds.Object) (value any, text string, found bool) {
	u, ok := obj.(*unstructured.Unstructured)
	parsed, err := p.parsed()
	if !ok || err != nil {
		return nil, "", false
	}
	results, err := parsed.FindResults(u.Object)
	if err != nil || len(results) == 0 || len(results[0]) == 0 {
		return nil, "", false
	}
	value = results[0][0].Interface()
	var b bytes.Buffer
	if err := parsed.PrintResults(&b, []reflect.Value{reflect.ValueOf(value)}); err != nil {
		return value, "", false
	}
	return value, b.String(), true
}

// cell returns what a column of a type shows; nil is nothing.
func (p path) cell(obj kinds.Object, typ string) any {
	value, text, found := p.find(obj)
	if !found || value == nil {
		return nil
	}
	switch typ {
	case "string":
		return text
	case "boolean":
		if b, ok := value.(bool); ok {
			return b
		}
	case "integer", "number":
		return numberCell(value, typ == "integer")
	case "date":
		return dateCell(value)
	}
	return nil
}

func numberCell(value any, integer bool) any {
	switch n := value.(type) {
	case int64:
		if integer {
			return n
		}
		return float64(n)
	case float64:
		if !integer {
			return n
		}
		if math.Abs(n) < math.MaxInt64 {
			return int64(n)
		}
	}
	return nil
}

func dateCell(value any) any {
	text, ok := value.(string)
	if !ok {
		return nil
	}
	var at metav1.Time
	if err := at.UnmarshalQueryParameter(text); err != nil {
		return "<invalid>"
	}
	return kinds.Since(at)
}

// fieldsOf returns how an object's selectable fields are found.
func fieldsOf(v *apiextensionsv1.CustomResourceDefinitionVersion) (kinds.FieldsFunc, error) {
	if len(v.SelectableFields) == 0 {
		return nil, nil
	}
	paths := make(map[string]path, len(v.SelectableFields))
	for _, f := range v.SelectableFields {
		p, err := parsePath(f.JSONPath)
		if err != nil {
			return nil, fmt.Errorf("selectable field %s: %w", f.JSONPath, err)
		}
		paths[strings.TrimPrefix(f.JSONPath, ".")] = p
	}
	return func(obj kinds.Object) map[string]string {
		out := make(map[string]string, len(paths))
		for name, p := range paths {
			_, out[name], _ = p.find(obj)
		}
		return out
	}, nil
}
