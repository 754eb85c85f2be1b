package gateway_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// ages are the cells of tables that change by themselves.
var ages = regexp.MustCompile(`"(\d+m)?\d+s"`)

// TestCompressedLists compares lists in every form with the same that are not
// compressed.
func TestCompressedLists(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	admin := c.http("admin")
	const length = 150
	text := strings.Repeat("words of some length ", 150)
	for n := range length {
		body := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m-%03d","labels":{"odd":"%t"}},"data":{"text":%q}}`, n, n%2 == 1, text)
		if a := c.do(admin, "POST", configMaps, strings.NewReader(body)); a.code != 201 {
			t.Fatal(a.code, a.body)
		}
	}
	change := func() {
		body := `{"data":{"more":"words"}}`
		if a := c.do(admin, "PATCH", configMaps+"/m-070", strings.NewReader(body), "Content-Type", "application/merge-patch+json"); a.code != 200 {
			t.Fatal(a.code, a.body)
		}
	}
	const table = "application/json;as=Table;g=meta.k8s.io;v=v1"
	for _, tc := range []struct {
		name, accept, query string
		compressed          bool
	}{
		{"JSON", "application/json", "", true},
		{"Protobuf", "application/vnd.kubernetes.protobuf", "", true},
		{"a page", "application/json", "?limit=70", true},
		{"a page in Protobuf", "application/vnd.kubernetes.protobuf", "?limit=70", true},
		{"a short page", "application/json", "?limit=3", false},
		{"by label", "application/json", "?labelSelector=odd%3Dtrue", true},
		{"by label in Protobuf", "application/vnd.kubernetes.protobuf", "?labelSelector=odd%3Dtrue", true},
		{"for people", "application/json", "?pretty=true", true},
		{"YAML", "application/yaml", "", true},
		{"a table", table, "?includeObject=Object", true},
		{"older metadata", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1beta1", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 2 {
				change()
				plain := c.do(admin, "GET", configMaps+tc.query, nil, "Accept", tc.accept)
				zipped := c.do(admin, "GET", configMaps+tc.query, nil, "Accept", tc.accept, "Accept-Encoding", "gzip")
				if got := zipped.header.Get("Content-Encoding") == "gzip"; got != tc.compressed {
					t.Fatalf("compressed: %v, want %v", got, tc.compressed)
				}
				if got := zipped.header.Values("Vary"); len(got) != 1 || got[0] != "Accept-Encoding" {
					t.Errorf("Vary is %q", got)
				}
				if zipped.header.Get("Content-Type") != plain.header.Get("Content-Type") {
					t.Errorf("the type is %q, of the plain list %q", zipped.header.Get("Content-Type"), plain.header.Get("Content-Type"))
				}
				body := zipped.body
				if tc.compressed {
					body = unzip(t, body)
				}
				if body, plain := ages.ReplaceAllString(body, "AGE"), ages.ReplaceAllString(plain.body, "AGE"); body != plain {
					t.Errorf("unpacked it has %d bytes that are not the %d of the plain list", len(body), len(plain))
				}
			}
		})
	}
	// What follows the first page comes in chunks that begin where it ended.
	first := decoded[metav1.PartialObjectMetadataList](t, unzip(t, c.do(admin, "GET", configMaps+"?limit=70", nil, "Accept-Encoding", "gzip").body))
	rest := decoded[metav1.PartialObjectMetadataList](t, unzip(t, c.do(admin, "GET", configMaps+"?continue="+first.Continue, nil, "Accept-Encoding", "gzip").body))
	if len(first.Items) != 70 || len(rest.Items) != length-70 || *first.RemainingItemCount != length-70 {
		t.Errorf("pages of %d and %d objects, %d were to follow", len(first.Items), len(rest.Items), *first.RemainingItemCount)
	}
}

// unzip reads one gzip member, beyond which there must be nothing.
func unzip(t *testing.T, body string) string {
	t.Helper()
	all := bytes.NewReader([]byte(body))
	r, err := gzip.NewReader(all)
	if err != nil {
		t.Fatal(err)
	}
	r.Multistream(false)
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if all.Len() > 0 {
		t.Errorf("%d bytes follow the gzip member", all.Len())
	}
	return string(out)
}

// TestItemsOfLists: as in Kubernetes, the list says what its items are. Those of custom
// kinds, and what are not the objects themselves, say it again.
func TestItemsOfLists(t *testing.T) {
	t.Parallel()
	c, _ := custom(t)
	admin := c.http("admin")
	const tabs = "/apis/stable.example.com/v1/namespaces/default/crontabs"
	for path, body := range map[string]string{
		configMaps: `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"}}`,
		tabs:       `{"apiVersion":"stable.example.com/v1","kind":"CronTab","metadata":{"name":"t"},"spec":{}}`,
	} {
		if a := c.do(admin, "POST", path, strings.NewReader(body)); a.code != 201 {
			t.Fatal(a.code, a.body)
		}
	}
	for _, tc := range []struct{ name, path, accept, kind string }{
		{"built in", configMaps, "application/json", ""},
		{"built in, YAML", configMaps, "application/yaml", ""},
		{"custom", tabs, "application/json", "CronTab"},
		{"metadata", configMaps, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "PartialObjectMetadata"},
	} {
		a := c.do(admin, "GET", tc.path, nil, "Accept", tc.accept)
		var list struct {
			Kind  string            `json:"kind"`
			Items []metav1.TypeMeta `json:"items"`
		}
		if err := yaml.Unmarshal([]byte(a.body), &list); err != nil || list.Kind == "" || len(list.Items) == 0 {
			t.Fatalf("%s: %d, %v: %s", tc.name, a.code, err, a.body)
		}
		for _, item := range list.Items {
			if item.Kind != tc.kind || (item.APIVersion == "") != (tc.kind == "") {
				t.Errorf("%s: an item says that it is %q of %q, want %q", tc.name, item.Kind, item.APIVersion, tc.kind)
			}
		}
	}
}
