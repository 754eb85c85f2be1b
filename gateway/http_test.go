package gateway_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/gateway"
)

const configMaps = "/api/v1/namespaces/default/configmaps"

func object(name string) io.Reader {
	return strings.NewReader(fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q},"data":{"k":"v"}}`, name))
}

// TestStatuses asks for things that cannot be had and reads why.
func TestStatuses(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{}, func(cfg *gateway.Config) { cfg.MaxBodyBytes = 1 << 10 })
	admin, anonymous := c.http("admin"), c.http("")
	if a := c.do(admin, "POST", configMaps, object("a")); a.code != 201 {
		t.Fatalf("create: %d %s", a.code, a.body)
	}
	for _, tc := range []struct {
		name, method, path, body string
		client                   *http.Client
		header                   []string
		code                     int
		reason                   metav1.StatusReason
		message                  string
	}{
		{"no such object", "GET", configMaps + "/b", "", admin, nil, 404, "NotFound", `configmaps "b" not found`},
		{"no such resource", "GET", "/api/v1/widgets", "", admin, nil, 404, "NotFound", "the server could not find the requested resource"},
		{"wrong method", "PUT", configMaps, "", admin, nil, 405, "MethodNotAllowed", "the server does not allow this method on the requested resource"},
		{"exists", "POST", configMaps, `{"metadata":{"name":"a"}}`, admin, nil, 409, "AlreadyExists", "already exists"},
		{"no body", "POST", configMaps, "", admin, nil, 400, "BadRequest", "empty"},
		{"large body", "POST", configMaps, strings.Repeat(" ", 2<<10), admin, nil, 413, "RequestEntityTooLarge", "limit is 1024"},
		{"unknown body", "POST", configMaps, "x", admin, []string{"Content-Type", "text/csv"}, 415, "UnsupportedMediaType", "application/json"},
		{"unknown patch", "PATCH", configMaps + "/a", "{}", admin, []string{"Content-Type", "application/json"}, 415, "UnsupportedMediaType", "application/merge-patch+json"},
		{"broken Protobuf", "POST", configMaps, "k8s\x00\xff", admin, []string{"Content-Type", "application/vnd.kubernetes.protobuf"}, 400, "BadRequest", "envelope"},
		{"broken YAML", "POST", configMaps, "a: [", admin, []string{"Content-Type", "application/yaml"}, 400, "BadRequest", "YAML"},
		{"a table of a question", "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "{}", admin, []string{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"}, 406, "NotAcceptable", ""},
		{"nothing acceptable", "GET", configMaps, "", admin, []string{"Accept", "image/png"}, 406, "NotAcceptable", "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch"},
		{"nothing acceptable of an object", "GET", configMaps + "/a", "", admin, []string{"Accept", "image/png"}, 406, "NotAcceptable", "Available representations: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{"no such form", "GET", configMaps + "/a", "", admin, []string{"Accept", "application/json;as=Chart;g=meta.k8s.io;v=v1"}, 406, "NotAcceptable", "only the following media types are accepted"},
		{"a form that is too much, of nothing", "GET", configMaps + "/nothing", "", admin, []string{"Accept", metadataOf("List")}, 404, "NotFound", "nothing"},
		{"a form that is too much, of what is not to be had", "GET", configMaps + "?labelSelector=-", "", admin, []string{"Accept", metadataOf("")}, 400, "BadRequest", "name part must consist of"},
		{"wrong object in a table of nothing", "GET", configMaps + "/nothing?includeObject=Some", "", admin, []string{"Accept", tableOf("v1")}, 404, "NotFound", "nothing"},
		{"wrong limit and selector", "GET", configMaps + "?limit=a&labelSelector=-", "", admin, nil, 400, "BadRequest", `strconv.ParseInt: parsing "a": invalid syntax`},
		{"wrong selector and match", "GET", configMaps + "?resourceVersionMatch=Exact&fieldSelector=a,b", "", admin, nil, 400, "BadRequest", "can't understand 'a'"},
		{"wrong field and match", "GET", configMaps + "?resourceVersionMatch=Exact&fieldSelector=data.k%3Dv", "", admin, nil, 422, "Invalid", "resourceVersionMatch is forbidden unless resourceVersion is provided"},
		{"deletion with a wrong selector and options", "DELETE", configMaps + "?fieldSelector=data.k%3Dv", `{"propagationPolicy":"Sideways"}`, admin, nil, 400, "BadRequest", `"data.k" is not a known field selector`},
		{"options that are something else", "DELETE", configMaps + "/a", `{"kind":"Pod","dryRun":1}`, admin, nil, 400, "BadRequest", `no kind "Pod" is registered for version "v1"`},
		{"options of no kind", "DELETE", configMaps + "/a", `{"kind":true}`, admin, nil, 400, "BadRequest", "couldn't get version/kind; json parse error: json: cannot unmarshal bool into Go struct field .kind of type string"},
		{"unknown field", "POST", configMaps + "?fieldValidation=Strict", `{"metadata":{"name":"x"},"foo":1}`, admin, nil, 400, "BadRequest", `unknown field "foo"`},
		{"wrong dryRun", "POST", configMaps + "?dryRun=Some", `{"metadata":{"name":"x"}}`, admin, nil, 422, "Invalid", "dryRun"},
		{"wrong limit", "GET", configMaps + "?limit=x", "", admin, nil, 400, "BadRequest", `strconv.ParseInt: parsing "x": invalid syntax`},
		{"wrong match", "GET", configMaps + "?resourceVersionMatch=Exact", "", admin, nil, 422, "Invalid", "resourceVersion is provided"},
		{"unknown match", "GET", configMaps + "?resourceVersionMatch=Some&resourceVersion=1", "", admin, nil, 422, "Invalid", `Unsupported value: "Some": supported values: "Exact", "NotOlderThan"`},
		{"exactly any", "GET", configMaps + "?resourceVersionMatch=Exact&resourceVersion=0", "", admin, nil, 422, "Invalid", `"exact" is forbidden for resourceVersion "0"`},
		{"match of a page", "GET", configMaps + "?resourceVersionMatch=Exact&resourceVersion=1&continue=x", "", admin, nil, 422, "Invalid", "forbidden when continue is provided"},
		{"match of a watch", "GET", configMaps + "?watch=1&resourceVersionMatch=NotOlderThan", "", admin, nil, 422, "Invalid", "forbidden for watch unless sendInitialEvents is provided"},
		{"initial events without match", "GET", configMaps + "?watch=1&sendInitialEvents=true", "", admin, nil, 422, "Invalid", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"},
		{"initial events of a list", "GET", configMaps + "?sendInitialEvents=true", "", admin, nil, 422, "Invalid", "sendInitialEvents is forbidden for list"},
		{"wrong token", "GET", configMaps + "?continue=x", "", admin, nil, 400, "BadRequest", "invalid continue token: continue key is not valid"},
		{"wrong version", "GET", configMaps + "?resourceVersion=x", "", admin, nil, 400, "BadRequest", `invalid resource version: resourceVersion: Invalid value: "x"`},
		{"wrong version of an object", "GET", configMaps + "/a?resourceVersion=x", "", admin, nil, 400, "BadRequest", "invalid resource version"},
		{"wrong version of a watch", "GET", configMaps + "?watch=1&resourceVersion=x", "", admin, nil, 422, "Invalid", `configmaps "" is invalid: resourceVersion: Invalid value: "x"`},
		{"wrong timeout", "GET", configMaps + "?timeout=soon", "", admin, nil, 400, "BadRequest", "invalid timeout specified in the request URL"},
		{"wrong timeout of a write", "POST", configMaps + "?timeout=soon", `{"metadata":{"name":"x"}}`, admin, nil, 400, "BadRequest", "invalid timeout specified in the request URL"},
		{"no time", "GET", configMaps + "?timeout=1ns", "", admin, nil, 504, "Timeout", ""},
		{"metadata of a list", "GET", configMaps, "", admin, []string{"Accept", metadataOf("")}, 406, "NotAcceptable", "you requested PartialObjectMetadata, but the requested object is a list (ConfigMapList)"},
		{"metadata list of an object", "GET", configMaps + "/a", "", admin, []string{"Accept", metadataOf("List")}, 406, "NotAcceptable", "you requested PartialObjectMetadataList, but the requested object is not a list (ConfigMap)"},
		{"wrong field", "GET", configMaps + "?fieldSelector=data.k%3Dv", "", admin, nil, 400, "BadRequest", `"data.k" is not a known field selector: only "metadata.name", "metadata.namespace"`},
		{"wrong object in a table", "GET", configMaps + "?includeObject=Some", "", admin, []string{"Accept", tableOf("v1")}, 400, "BadRequest", "includeObject"},
		{"wrong selector", "GET", configMaps + "?labelSelector=a%3D%3D%3Db", "", admin, nil, 400, "BadRequest", ""},
		{"force without apply", "PATCH", configMaps + "/a?force=true", "{}", admin, []string{"Content-Type", "application/merge-patch+json"}, 422, "Invalid", "non-apply patch"},
		{"unsafe deletion of all", "DELETE", configMaps, `{"ignoreStoreReadErrorWithClusterBreakingPotential":true}`, admin, nil, 422, "Invalid", "is not allowed with DELETECOLLECTION"},
		{"unsafe deletion with options", "DELETE", configMaps + "/a", `{"ignoreStoreReadErrorWithClusterBreakingPotential":true,"gracePeriodSeconds":1}`, admin, nil, 422, "Invalid", "cannot be set together with .gracePeriodSeconds"},
		{"unsafe deletion", "DELETE", configMaps + "/a", `{"ignoreStoreReadErrorWithClusterBreakingPotential":true}`, admin, nil, 409, "Conflict", "unsafe deletion is not allowed because the object is decodable from storage"},
		{"unsafe deletion of what is not there", "DELETE", configMaps + "/nothing", `{"ignoreStoreReadErrorWithClusterBreakingPotential":true}`, admin, nil, 404, "NotFound", "nothing"},
		{"propagation twice", "DELETE", configMaps + "/a?propagationPolicy=Sideways&orphanDependents=true", "", admin, nil, 422, "Invalid", "orphanDependents and deletionPropagation cannot be both set, propagationPolicy: Unsupported value"},
		{"wrong propagation", "DELETE", configMaps + "/a?propagationPolicy=Sideways", "", admin, nil, 422, "Invalid", "propagationPolicy"},
		{"a patch to what is no object", "PATCH", configMaps + "/a", `{"data":{"a":1}}`, admin, []string{"Content-Type", "application/merge-patch+json"}, 422, "Invalid", `: json: cannot unmarshal number into Go struct field ConfigMap.data of type string`},
		{"another object's deletion", "DELETE", configMaps + "/a", `{"preconditions":{"uid":"x"}}`, admin, nil, 409, "Conflict", `Operation cannot be fulfilled on ConfigMap "a": the UID in the precondition (x) does not match the UID in record (`},
		{"another version's deletion", "DELETE", configMaps + "/a", `{"preconditions":{"resourceVersion":"1"}}`, admin, nil, 409, "Conflict", "The object might have been modified"},
		{"another namespace's deletion", "DELETE", "/api/v1/namespaces/default", `{"preconditions":{"uid":"x"}}`, admin, nil, 409, "Conflict", `Operation cannot be fulfilled on namespaces "default": Precondition failed: UID in precondition: x, UID in object meta: `},
		{"anonymous", "GET", configMaps, "", anonymous, nil, 403, "Forbidden", "system:anonymous"},
		{"anonymous custom resources", "GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "", anonymous, nil, 403, "Forbidden", "system:anonymous"},
		{"anonymous discovery", "GET", "/apis", "", anonymous, nil, 403, "Forbidden", `cannot get path "/apis"`},
		{"anonymous nowhere", "GET", "/nowhere", "", anonymous, nil, 403, "Forbidden", `cannot get path "/nowhere"`},
		{"bad token", "GET", configMaps, "", anonymous, []string{"Authorization", "Bearer bad"}, 401, "Unauthorized", "Unauthorized"},
		{"stranger", "GET", "/openapi/v3", "", c.http("stranger"), nil, 403, "Forbidden", `User "stranger" cannot get path`},
		{"anonymous keys", "GET", "/openid/v1/jwks", "", anonymous, nil, 403, "Forbidden", `cannot get path "/openid/v1/jwks"`},
		{"a stranger's keys", "GET", "/openid/v1/jwks", "", c.http("stranger"), nil, 403, "Forbidden", `User "stranger" cannot get path "/openid/v1/jwks"`},
		{"no issuer", "GET", "/.well-known/openid-configuration", "", admin, nil, 404, "NotFound", "could not find"},
		{"forged identity", "GET", configMaps, "", anonymous, []string{"Navarch-Remote-User", "admin"}, 403, "Forbidden", "system:anonymous"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := c.do(tc.client, tc.method, tc.path, strings.NewReader(tc.body), tc.header...)
			var s metav1.Status
			if err := json.Unmarshal([]byte(a.body), &s); err != nil {
				t.Fatalf("%d %q is no Status: %v", a.code, a.body, err)
			}
			if a.code != tc.code || int(s.Code) != tc.code || s.Reason != tc.reason || s.Status != "Failure" || s.Kind != "Status" {
				t.Errorf("%d %s, want %d %s", a.code, a.body, tc.code, tc.reason)
			}
			if !strings.Contains(s.Message, tc.message) {
				t.Errorf("message %q, want %q in it", s.Message, tc.message)
			}
		})
	}
	if a := c.do(admin, "GET", "/nowhere", nil); a.code != 404 || a.body != "404 page not found\n" {
		t.Errorf("unknown path: %d %q", a.code, a.body)
	}
	if a := c.do(anonymous, "GET", configMaps, nil, "Authorization", "Bearer good"); a.code != 200 {
		t.Errorf("good token: %d %s", a.code, a.body)
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	admin := c.http("admin")
	c.do(admin, "POST", configMaps, object("a"))
	const table = "application/json;as=Table;v=v1;g=meta.k8s.io"

	yaml := c.do(admin, "GET", configMaps+"/a", nil, "Accept", "application/yaml")
	if !strings.Contains(yaml.body, "kind: ConfigMap\n") || yaml.header.Get("Content-Type") != "application/yaml" {
		t.Errorf("YAML: %q", yaml.body)
	}
	posted := c.do(admin, "POST", configMaps, strings.NewReader("metadata:\n  name: b\ndata:\n  k: v\n"), "Content-Type", "application/yaml")
	if posted.code != 201 {
		t.Errorf("YAML body: %d %s", posted.code, posted.body)
	}
	double := c.do(admin, "POST", configMaps, strings.NewReader("metadata:\n  name: c\ndata:\n  k: v\n  k: w\n"), "Content-Type", "application/yaml")
	if double.code != 201 || !strings.HasPrefix(double.header.Get("Warning"), "299 - ") {
		t.Errorf("key twice: %d, warning %q", double.code, double.header.Get("Warning"))
	}
	pretty := c.do(admin, "GET", configMaps+"/a?pretty=true", nil)
	if !strings.Contains(pretty.body, "{\n  \"") {
		t.Errorf("pretty: %q", pretty.body)
	}
	for _, path := range []string{configMaps, configMaps + "/a"} {
		a := c.do(admin, "GET", path, nil, "Accept", table)
		var got metav1.Table
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			t.Fatal(err)
		}
		if got.Kind != "Table" || len(got.ColumnDefinitions) == 0 || len(got.Rows) == 0 || got.Rows[0].Cells[0] == nil || got.ResourceVersion == "" {
			t.Errorf("table of %s: %s", path, a.body)
		}
	}
	deleted := c.do(admin, "DELETE", configMaps+"/a", nil)
	var s metav1.Status
	if err := json.Unmarshal([]byte(deleted.body), &s); err != nil {
		t.Fatal(err)
	}
	if s.Status != "Success" || s.Details == nil || s.Details.Name != "a" || s.Details.Kind != "configmaps" || s.Details.UID == "" {
		t.Errorf("delete: %s", deleted.body)
	}
	dry := c.do(admin, "DELETE", configMaps+"/b", strings.NewReader(`{"kind":"DeleteOptions","apiVersion":"v1","dryRun":["All"]}`))
	if dry.code != 200 || c.do(admin, "GET", configMaps+"/b", nil).code != 200 {
		t.Errorf("dry run deleted: %d %s", dry.code, dry.body)
	}
	all := c.do(admin, "DELETE", configMaps, nil)
	var list corev1.ConfigMapList
	if err := json.Unmarshal([]byte(all.body), &list); err != nil || len(list.Items) != 2 {
		t.Errorf("delete collection: %v %s", err, all.body)
	}
}

func TestCompression(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	admin := c.http("admin")
	c.do(admin, "POST", configMaps, object("small"))
	if a := c.do(admin, "GET", configMaps, nil, "Accept-Encoding", "gzip"); a.header.Get("Content-Encoding") != "" {
		t.Error("a small list is compressed")
	}
	big := &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Name: "big"},
		Data: map[string]string{"k": strings.Repeat("0123456789", 20_000)}}
	b, err := json.Marshal(big)
	if err != nil {
		t.Fatal(err)
	}
	c.do(admin, "POST", configMaps, bytes.NewReader(b))
	for _, path := range []string{configMaps, configMaps + "/big"} {
		plain := c.do(admin, "GET", path, nil)
		zipped := c.do(admin, "GET", path, nil, "Accept-Encoding", "deflate, gzip;q=0.5")
		if zipped.header.Get("Content-Encoding") != "gzip" {
			t.Fatalf("%s is not compressed", path)
		}
		r, err := gzip.NewReader(strings.NewReader(zipped.body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != plain.body {
			t.Errorf("%s: unzipped %d bytes, plain %d, %v", path, len(got), len(plain.body), err)
		}
		if refused := c.do(admin, "GET", path, nil, "Accept-Encoding", "gzip;q=0"); refused.header.Get("Content-Encoding") != "" {
			t.Errorf("%s is compressed for a client that refuses that", path)
		}
	}
}

func TestHealthAndVersion(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	anonymous := c.http("")
	for _, path := range []string{"/healthz", "/livez", "/readyz"} {
		if a := c.do(anonymous, "GET", path, nil); a.code != 200 || a.body != "ok" {
			t.Errorf("%s: %d %q", path, a.code, a.body)
		}
	}
	if a := c.do(anonymous, "GET", "/readyz?verbose", nil); !strings.Contains(a.body, "[+]store ok\n") || !strings.Contains(a.body, "readyz check passed") {
		t.Errorf("verbose: %q", a.body)
	}
	admin := c.http("admin")
	for path, want := range map[string]int{"/livez/ping": 200, "/readyz/store": 200, "/readyz/none": 404} {
		if a := c.do(admin, "GET", path, nil); a.code != want {
			t.Errorf("%s: %d %q", path, a.code, a.body)
		}
	}
	if a := c.do(anonymous, "GET", "/readyz/store", nil); a.code != 401 && a.code != 403 {
		t.Errorf("one check, for anybody: %d %q", a.code, a.body)
	}
	for _, path := range []string{"/version", "/healthz", "/api", "/apis/apps/v1", "/openapi/v2"} {
		a := c.do(admin, "GET", path+"?timeout=soon", nil)
		if a.code != 400 || !strings.Contains(a.body, `invalid timeout specified in the request URL - time: invalid duration`) {
			t.Errorf("%s within a time that is none: %d %.200q", path, a.code, a.body)
		}
		if a := c.do(admin, "GET", path+"?timeout=3m", nil); a.code != 200 {
			t.Errorf("%s within three minutes: %d", path, a.code)
		}
	}
	c.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	if a := c.do(admin, "GET", "/readyz/store", nil); a.code != 500 || a.body != "internal server error: reason withheld\n" {
		t.Errorf("one check, without a Store: %d %q", a.code, a.body)
	}
	if a := c.do(anonymous, "GET", "/readyz", nil); a.code != 500 || !strings.Contains(a.body, "[-]store failed") {
		t.Errorf("without a Store: %d %q", a.code, a.body)
	}
	if a := c.do(anonymous, "GET", "/livez", nil); a.code != 200 {
		t.Errorf("livez without a Store: %d", a.code)
	}
	v, err := c.clientset("application/json").Discovery().ServerVersion()
	if err != nil || v.Major != "1" || v.Minor != "37" || v.GitVersion != "v1.37.2+navarch" {
		t.Errorf("version %+v, %v", v, err)
	}
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	cs := c.clientset("application/vnd.kubernetes.protobuf")
	// As kube-apiserver v1.37 shows them.
	hashes := map[string]string{
		"v1 pods": "xPOwRZ+Yhw8=", "apps/v1 deployments": "8aSe+NMegvE=", "autoscaling/v1 horizontalpodautoscalers": "qwQve8ut294=",
		"autoscaling/v2 horizontalpodautoscalers": "qwQve8ut294=", "events.k8s.io/v1 events": "r2yiGXH7wu8=", "v1 pods/status": "",
		"authentication.k8s.io/v1 tokenreviews": "",
	}
	for _, legacy := range []bool{false, true} {
		d := cs.DiscoveryClient
		d.UseLegacyDiscovery = legacy
		groups, lists, err := d.ServerGroupsAndResources()
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for _, l := range lists {
			for _, r := range l.APIResources {
				if want, ok := hashes[l.GroupVersion+" "+r.Name]; ok && legacy && r.StorageVersionHash != want {
					t.Errorf("%s %s has the storage version hash %q, want %q", l.GroupVersion, r.Name, r.StorageVersionHash, want)
				}
				found[l.GroupVersion+" "+r.Name+" "+strings.Join(r.Verbs, ",")] = true
			}
		}
		for _, want := range []string{
			"v1 pods create,delete,deletecollection,get,list,patch,update,watch", "v1 pods/exec create,get",
			"v1 namespaces create,delete,get,list,patch,update,watch",
			"apps/v1 deployments/scale get,patch,update", "authorization.k8s.io/v1 selfsubjectaccessreviews create",
		} {
			if !found[want] {
				t.Errorf("legacy %v: %q is missing among %d", legacy, want, len(found))
			}
		}
		if len(groups) < 10 {
			t.Errorf("legacy %v: %d groups", legacy, len(groups))
		}
	}
	admin := c.http("admin")
	accept := "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	a := c.do(admin, "GET", "/apis", nil, "Accept", accept)
	if again := c.do(admin, "GET", "/apis", nil, "Accept", accept, "If-None-Match", a.header.Get("ETag")); again.code != 304 {
		t.Errorf("an unchanged document: %d", again.code)
	}
	if a := c.do(admin, "GET", "/apis/apps/", nil); a.code != 200 || !strings.Contains(a.body, `"kind":"APIGroup"`) {
		t.Errorf("group: %d %s", a.code, a.body)
	}
	if a := c.do(admin, "GET", "/", nil); a.code != 200 || !strings.Contains(a.body, `"/apis/apps/v1"`) {
		t.Errorf("index: %d %s", a.code, a.body)
	}
	if a := c.do(admin, "GET", "/apis/nobody.example/v1", nil); a.code != 404 {
		t.Errorf("no such group: %d %s", a.code, a.body)
	}
}

func TestOpenAPI(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	d := c.clientset("application/json").Discovery()
	v2, err := d.OpenAPISchema()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(v2.GetDefinitions().GetAdditionalProperties()); n < 300 {
		t.Errorf("the v2 document has %d definitions", n)
	}
	paths, err := d.OpenAPIV3().Paths()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"api/v1", "apis/apps/v1", "apis/authorization.k8s.io/v1"} {
		gv, ok := paths[path]
		if !ok {
			t.Fatalf("no v3 document for %s", path)
		}
		b, err := gv.Schema("application/json")
		if err != nil {
			t.Fatal(err)
		}
		var doc struct{ Openapi string }
		if err := json.Unmarshal(b, &doc); err != nil || doc.Openapi != "3.0.0" {
			t.Errorf("%s: %v, version %q", path, err, doc.Openapi)
		}
	}
}

// TestWatchAsLines reads a watch as a shell script does.
func TestWatchAsLines(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	admin := c.http("admin")
	c.do(admin, "POST", configMaps, object("a"))
	for _, path := range []string{
		configMaps + "?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Da",
		"/api/v1/watch/namespaces/default/configmaps/a?timeoutSeconds=1",
		configMaps + "/a?watch=true&timeoutSeconds=1",
	} {
		a := c.do(admin, "GET", path, nil)
		first, _, _ := strings.Cut(a.body, "\n")
		if a.code != 200 || !strings.HasPrefix(first, `{"type":"ADDED","object":{`) || !strings.Contains(first, `"name":"a"`) {
			t.Errorf("%s: %d %s", path, a.code, a.body)
		}
	}
	initial := c.do(admin, "GET", configMaps+"?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", nil)
	if !strings.Contains(initial.body, `"k8s.io/initial-events-end":"true"`) {
		t.Errorf("no end of the initial events: %s", initial.body)
	}
}

// TestIssuerDocuments fetches what verifies tokens, as a user and by a token.
func TestIssuerDocuments(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	for name, a := range map[string]answer{
		"a user":  c.do(c.http("admin"), "GET", "/openid/v1/jwks", nil),
		"a slash": c.do(c.http("admin"), "GET", "/openid/v1/jwks/", nil),
		"a token": c.do(c.http(""), "GET", "/openid/v1/jwks", nil, "Authorization", "Bearer good"),
	} {
		if a.code != 200 || a.header.Get("Content-Type") != "application/jwk-set+json" || a.header.Get("Cache-Control") != "public, max-age=3600" || a.body != `{"keys":[]}` {
			t.Errorf("%s: %d %v %s", name, a.code, a.header, a.body)
		}
	}
}

// Kinds that are worked out when they are asked for can be read, and nothing else;
// who uses a deprecated one is told so.
func TestReadOnlyKinds(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	admin := c.http("admin")
	const path = "/api/v1/componentstatuses"
	list := c.do(admin, "GET", path, nil, "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	var table metav1.Table
	if err := json.Unmarshal([]byte(list.body), &table); err != nil {
		t.Fatal(err)
	}
	var columns []string
	for _, column := range table.ColumnDefinitions {
		columns = append(columns, column.Name)
	}
	if got := strings.Join(columns, " "); got != "Name Status Message Error" || len(table.Rows) != 3 || fmt.Sprint(table.Rows[1].Cells) != "[etcd-0 Healthy ok ]" {
		t.Errorf("%s: %v", got, table.Rows)
	}
	for path, warning := range map[string]string{
		path:                                   `299 - "v1 ComponentStatus is deprecated in v1.19+"`,
		path + "/etcd-0":                       `299 - "v1 ComponentStatus is deprecated in v1.19+"`,
		"/api/v1/namespaces/default/endpoints": `299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"`,
		configMaps:                             "",
	} {
		if a := c.do(admin, "GET", path, nil); a.code != 200 || a.header.Get("Warning") != warning {
			t.Errorf("%s: %d, warning %q", path, a.code, a.header.Get("Warning"))
		}
	}
	for _, request := range [][2]string{
		{"POST", path}, {"DELETE", path}, {"PUT", path + "/etcd-0"}, {"PATCH", path + "/etcd-0"}, {"DELETE", path + "/etcd-0"}, {"GET", path + "?watch=1"},
	} {
		if a := c.do(admin, request[0], request[1], strings.NewReader("{}"), "Content-Type", "application/json"); a.code != 405 {
			t.Errorf("%s %s: %d %s", request[0], request[1], a.code, a.body)
		}
	}
	if a := c.do(admin, "GET", "/api/v1/watch/componentstatuses", nil); a.code != 404 {
		t.Errorf("a path of watches: %d %s", a.code, a.body)
	}
	lists, err := c.clientset("application/json").Discovery().ServerResourcesForGroupVersion("v1")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range lists.APIResources {
		if r.Name == "componentstatuses" && fmt.Sprint(r.Verbs, r.ShortNames, r.StorageVersionHash) != "[get list] [cs]" {
			t.Errorf("discovery: %+v", r)
		}
	}
}
