package openapi

import (
	_ "embed"
	"reflect"
	"strconv"
	"strings"
)

// What the Kubernetes types say in comments, and nowhere in the Go types: how
// lists and maps are merged, and the values of enumerations. A line is one of
//
//	io.k8s.api.core.v1.PodSpec.containers listType=map listMapKey=name
//	io.k8s.api.core.v1.LocalObjectReference mapType=atomic
//	k8s.io/api/core/v1.PullPolicy enum=Always enum=IfNotPresent enum=Never
//	io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceSpec.group "Group is …"
//
// the last where the Go type has no SwaggerDoc.
//
//go:generate go run ./internal/markers -o markers.txt
//go:embed markers.txt
var markersText string

// marker is what the comments on one field or type say.
type marker struct {
	listType    string
	listMapKeys []string
	mapType     string
	enum        []string
	text        string
}

// markers are found by model name and field, or by Go type.
type markers map[string]marker

// readMarkers returns the embedded markers.
func readMarkers() markers {
	all := make(markers)
	for line := range strings.Lines(markersText) {
		key, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		m := all[key]
		if text, err := strconv.Unquote(rest); err == nil {
			m.text = text
			all[key] = m
			continue
		}
		for _, word := range strings.Fields(rest) {
			switch name, value, _ := strings.Cut(word, "="); name {
			case "listType":
				m.listType = value
			case "listMapKey":
				m.listMapKeys = append(m.listMapKeys, value)
			case "mapType", "structType":
				m.mapType = value
			case "enum":
				m.enum = append(m.enum, value)
			}
		}
		all[key] = m
	}
	return all
}

// of returns the markers of a model's field, or of the model itself.
func (m markers) of(model, field string) marker {
	if field == "" {
		return m[model]
	}
	return m[model+"."+field]
}

// values returns the values of an enumeration; nil if t is none.
func (m markers) values(t reflect.Type) []string {
	if t.PkgPath() == "" {
		return nil
	}
	return m[t.PkgPath()+"."+t.Name()].enum
}
