package gateway_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
)

// tableOf and metadataOf are media types of transformed objects.
func tableOf(version string) string {
	return "application/json;as=Table;g=meta.k8s.io;v=" + version
}

func metadataOf(suffix string) string {
	return "application/json;as=PartialObjectMetadata" + suffix + ";g=meta.k8s.io;v=v1"
}

// lines opens a watch and returns its next line whenever called.
func (c *cluster) lines(client *http.Client, path, accept string) func() string {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.address+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		c.t.Fatalf("%s: %s", path, resp.Status)
	}
	r := bufio.NewReader(resp.Body)
	return func() string {
		c.t.Helper()
		line, err := r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("%s: %v", path, err)
		}
		return line
	}
}

// decoded reads JSON.
func decoded[T any](t testing.TB, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// TestTables asks for tables of both versions of their kind, with each part of
// the objects, of one object, a list and a watch.
func TestTables(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	admin := c.http("admin")
	c.do(admin, "POST", configMaps, object("a"))
	c.do(admin, "GET", configMaps, nil) // the watches of "any" version see it then
	for _, version := range []string{"v1", "v1beta1"} {
		for include, kind := range map[string]string{"None": "", "Metadata": "PartialObjectMetadata", "Object": "ConfigMap", "": "PartialObjectMetadata"} {
			query := "?resourceVersion=0"
			if include != "" {
				query += "&includeObject=" + include
			}
			watch := c.lines(admin, configMaps+query+"&watch=1&fieldSelector=metadata.name%3Da", tableOf(version))
			for where, text := range map[string]string{
				"get":   c.do(admin, "GET", configMaps+"/a"+query, nil, "Accept", tableOf(version)).body,
				"list":  c.do(admin, "GET", configMaps+query+"&fieldSelector=metadata.name%3Da", nil, "Accept", tableOf(version)).body,
				"watch": string(decoded[metav1.WatchEvent](t, watch()).Object.Raw),
			} {
				checkTable(t, version+" "+where+" "+include, text, version, kind)
			}
		}
	}
}

func checkTable(t *testing.T, name, text, version, kind string) {
	t.Helper()
	table := decoded[metav1.Table](t, text)
	if table.Kind != "Table" || table.APIVersion != "meta.k8s.io/"+version || len(table.Rows) != 1 || len(table.ColumnDefinitions) != len(table.Rows[0].Cells) {
		t.Fatalf("%s: %s", name, text)
	}
	if table.ResourceVersion == "" {
		t.Errorf("%s: the table has no version: %s", name, text)
	}
	raw := table.Rows[0].Object.Raw
	if kind == "" {
		if raw != nil {
			t.Errorf("%s: an object nobody asked for: %s", name, raw)
		}
		return
	}
	got := decoded[metav1.PartialObjectMetadata](t, string(raw))
	want := "v1"
	if kind == "PartialObjectMetadata" {
		want = "meta.k8s.io/" + version
	}
	if got.Kind != kind || got.APIVersion != want || got.Name != "a" {
		t.Errorf("%s: the row holds %s %s %s, want %s %s", name, got.APIVersion, got.Kind, got.Name, want, kind)
	}
}

// TestBookmarksInTables: a bookmark is a row as wide as any, with the version.
func TestBookmarksInTables(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	query := "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&fieldSelector=metadata.name%3Dnone"
	for include, kind := range map[string]string{"None": "", "Metadata": "PartialObjectMetadata", "Object": "ConfigMap"} {
		e := decoded[metav1.WatchEvent](t, c.lines(c.http("admin"), configMaps+query+"&includeObject="+include, tableOf("v1"))())
		table := decoded[metav1.Table](t, string(e.Object.Raw))
		if e.Type != "BOOKMARK" || table.ResourceVersion == "" || len(table.Rows) != 1 || len(table.Rows[0].Cells) != len(table.ColumnDefinitions) {
			t.Fatalf("%s: %s %s", include, e.Type, e.Object.Raw)
		}
		if kind == "" {
			continue
		}
		got := decoded[metav1.PartialObjectMetadata](t, string(table.Rows[0].Object.Raw))
		if got.Kind != kind || got.ResourceVersion != table.ResourceVersion || got.Annotations[metav1.InitialEventsAnnotationKey] != "true" {
			t.Errorf("%s: the bookmark's row holds %s", include, table.Rows[0].Object.Raw)
		}
	}
}

// TestMetadataOnly asks for metadata of one object, a list and a watch.
func TestMetadataOnly(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	admin := c.http("admin")
	c.do(admin, "POST", configMaps, object("a"))
	for _, version := range []string{"v1", "v1beta1"} {
		as := func(suffix string) string { return strings.ReplaceAll(metadataOf(suffix), "v=v1", "v="+version) }
		list := decoded[metav1.PartialObjectMetadataList](t, c.do(admin, "GET", configMaps, nil, "Accept", as("List")).body)
		if list.Kind != "PartialObjectMetadataList" || list.APIVersion != "meta.k8s.io/"+version || len(list.Items) != 1 {
			t.Fatalf("%s: %+v", version, list)
		}
		e := decoded[metav1.WatchEvent](t, c.lines(admin, configMaps+"?watch=1", as(""))())
		for where, got := range map[string]metav1.PartialObjectMetadata{
			"list":  list.Items[0],
			"get":   decoded[metav1.PartialObjectMetadata](t, c.do(admin, "GET", configMaps+"/a", nil, "Accept", as("")).body),
			"watch": decoded[metav1.PartialObjectMetadata](t, string(e.Object.Raw)),
		} {
			if got.Kind != "PartialObjectMetadata" || got.APIVersion != "meta.k8s.io/"+version || got.Name != "a" || got.UID == "" {
				t.Errorf("%s of %s: %+v", where, version, got)
			}
		}
	}
}

// TestStatusesInProtobuf: who speaks Protobuf reads errors in it too, and may
// send the options of a delete in it.
func TestStatusesInProtobuf(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	admin := c.http("admin")
	c.do(admin, "POST", configMaps, object("a"))
	s := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	const media = "application/vnd.kubernetes.protobuf"
	status := func(a answer) *metav1.Status {
		t.Helper()
		got := &metav1.Status{}
		if _, _, err := s.Decode([]byte(a.body), nil, got); err != nil || a.header.Get("Content-Type") != media {
			t.Fatalf("%d %q of %s: %v", a.code, a.body, a.header.Get("Content-Type"), err)
		}
		return got
	}
	if got := status(c.do(admin, "GET", configMaps+"/none", nil, "Accept", media)); got.Code != 404 || got.Reason != metav1.StatusReasonNotFound || got.Details.Name != "none" {
		t.Errorf("not found: %+v", got)
	}
	uid := types.UID("someone-else")
	options := &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}
	options.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("DeleteOptions"))
	body, err := runtime.Encode(s, options)
	if err != nil {
		t.Fatal(err)
	}
	refused := status(c.do(admin, "DELETE", configMaps+"/a", strings.NewReader(string(body)), "Accept", media, "Content-Type", media))
	if refused.Code != 409 {
		t.Errorf("delete of another uid: %+v", refused)
	}
	done := status(c.do(admin, "DELETE", configMaps+"/a", nil, "Accept", media))
	if done.Status != metav1.StatusSuccess || done.Details.Name != "a" {
		t.Errorf("delete: %+v", done)
	}
}

// TestPagesThroughTheGateway reads pages and what it is told about the rest.
func TestPagesThroughTheGateway(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	admin := c.http("admin")
	for _, name := range []string{"a", "b", "c"} {
		c.do(admin, "POST", configMaps, object(name))
	}
	page := decoded[metav1.PartialObjectMetadataList](t, c.do(admin, "GET", configMaps+"?limit=2", nil).body)
	if len(page.Items) != 2 || page.RemainingItemCount == nil || *page.RemainingItemCount != 1 || page.Continue == "" {
		t.Fatalf("first page: %+v", page)
	}
	rest := decoded[metav1.PartialObjectMetadataList](t, c.do(admin, "GET", configMaps+"?limit=2&continue="+page.Continue, nil).body)
	if len(rest.Items) != 1 || rest.Items[0].Name != "c" || rest.Continue != "" || rest.ResourceVersion != page.ResourceVersion {
		t.Errorf("second page: %+v", rest)
	}
	if a := c.do(admin, "GET", configMaps+"?limit=2&resourceVersion="+page.ResourceVersion+"&continue="+page.Continue, nil); a.code != 400 {
		t.Errorf("a token and a version: %d %s", a.code, a.body)
	}
	if all := decoded[metav1.PartialObjectMetadataList](t, c.do(admin, "GET", configMaps+"?limit=-1", nil).body); len(all.Items) != 3 {
		t.Errorf("a limit below zero: %d objects", len(all.Items))
	}
}
