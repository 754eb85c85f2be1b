package negotiate

import (
	"net/http"
	"testing"
)

func TestSelect(t *testing.T) {
	const table = "application/json;as=Table;v=v1;g=meta.k8s.io"
	for _, tc := range []struct {
		name   string
		accept []string
		want   Format
		ok     bool
	}{
		{"no header", nil, Format{Media: JSON}, true},
		{"empty header", []string{""}, Format{Media: JSON}, true},
		{"any", []string{"*/*"}, Format{Media: JSON}, true},
		{"kubectl get", []string{table + ",application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"},
			Format{Media: JSON, As: "Table", Group: "meta.k8s.io", Version: "v1"}, true},
		{"client-go", []string{"application/vnd.kubernetes.protobuf,application/json"}, Format{Media: Protobuf}, true},
		{"watch parameter", []string{"application/vnd.kubernetes.protobuf;stream=watch"}, Format{Media: Protobuf}, true},
		{"quality decides", []string{"application/yaml;q=0.5, application/json;q=0.9"}, Format{Media: JSON}, true},
		{"a type before a range", []string{"*/*, application/yaml"}, Format{Media: YAML}, true},
		{"refused", []string{"application/json;q=0"}, Format{}, false},
		{"two headers", []string{"text/html", "application/yaml"}, Format{Media: YAML}, true},
		{"no table in Protobuf", []string{"application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json"}, Format{Media: JSON}, true},
		{"unknown transformation", []string{"application/json;as=Chart;g=meta.k8s.io;v=v1"}, Format{}, false},
		{"not offered", []string{"text/plain"}, Format{}, false},
		{"cbor then json", []string{"application/cbor,application/json;q=0.9"}, Format{Media: JSON}, true},
		{"broken clause", []string{"application/json;as=,application/yaml"}, Format{Media: YAML}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := Select(http.Header{"Accept": tc.accept}, Objects)
			if got != tc.want || ok != tc.ok {
				t.Errorf("Select(%q) = %+v, %v; want %+v, %v", tc.accept, got, ok, tc.want, tc.ok)
			}
		})
	}
}

func FuzzSelect(f *testing.F) {
	f.Add("application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
	f.Add("*/*;q=0.1,,;;=,\"a\"")
	f.Fuzz(func(t *testing.T, accept string) {
		if format, ok := Select(http.Header{"Accept": {accept}}, Objects); ok && !Objects(format) {
			t.Errorf("Select(%q) chose %+v, which is not offered", accept, format)
		}
	})
}
