package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	registrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/gateway"
	"navarch.dev/navarch/internal/certs"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/storetest"
	"navarch.dev/navarch/test/aggregation/widgetserver/widgets"
)

const widgetPath = "/apis/" + widgets.GroupVersion + "/namespaces/default/widgets"

// extended is a cluster with another API server, which believes only the front
// proxy, behind a Service.
type extended struct {
	*cluster
	widgets *widgets.Server
	server  *httptest.Server
	api     *registrationv1.APIService
	client  *client.Client
	// admin is an administrator's HTTP client.
	admin *http.Client
}

func newExtended(t *testing.T, aggregated bool) *extended {
	t.Helper()
	dir := t.TempDir()
	pair, err := certs.EnsureFrontProxy(dir)
	if err != nil {
		t.Fatal(err)
	}
	own, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	frontProxy, err := certs.LoadFiles(dir+"/front-proxy-ca.crt", dir+"/front-proxy-ca.key")
	if err != nil {
		t.Fatal(err)
	}
	e := &extended{widgets: widgets.New(aggregated)}
	e.server = httptest.NewUnstartedServer(e.widgets)
	e.server.Config.ErrorLog = log.New(io.Discard, "", 0) // it is to meet those whom it does not believe
	authority, err := certs.LoadOrCreate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	serving, err := authority.Issue(certs.Request{DNSNames: []string{"widgets.default.svc"}})
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.X509KeyPair(serving.Cert, serving.Key)
	if err != nil {
		t.Fatal(err)
	}
	e.server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: frontProxy.Pool()}
	e.server.StartTLS()
	t.Cleanup(e.server.Close)
	e.cluster = start(t, noNodes{}, func(c *gateway.Config) {
		c.ProxyCertificate = func() *tls.Certificate { return &own }
	})
	e.admin = e.http("admin")
	e.client = client.New(e.store.Conn(storetest.Admin()), "test")
	e.serveBehindService()
	e.register(authority.CertPEM())
	return e
}

// serveBehindService makes the Service whose endpoint the server is.
func (e *extended) serveBehindService() {
	e.t.Helper()
	address := e.server.Listener.Addr().(*net.TCPAddr)
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "widgets"}, Spec: corev1.ServiceSpec{
		Ports: []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP}},
	}}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "widgets-1", Labels: map[string]string{discoveryv1.LabelServiceName: "widgets"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: ptr.To(int32(address.Port)), Protocol: ptr.To(corev1.ProtocolTCP)}},
		// Stored by the cluster itself: users may not name loopback addresses.
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}}},
	}
	for _, create := range []func() error{
		func() error { return e.client.Create(e.t.Context(), service) }, func() error { return e.client.Create(e.t.Context(), slice) },
	} {
		if err := create(); err != nil {
			e.t.Fatal(err)
		}
	}
}

// register registers the server, and says that it is available.
func (e *extended) register(authority []byte) {
	e.t.Helper()
	e.api = &registrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1." + widgets.Group},
		Spec: registrationv1.APIServiceSpec{
			Group: widgets.Group, Version: "v1", Service: &registrationv1.ServiceReference{Namespace: "default", Name: "widgets"},
			CABundle: authority, GroupPriorityMinimum: 1500, VersionPriority: 10,
		},
	}
	if err := e.client.Create(e.t.Context(), e.api); err != nil {
		e.t.Fatal(err)
	}
	e.setAvailable(registrationv1.ConditionTrue)
}

// setAvailable changes the condition and waits until the gateway knows.
func (e *extended) setAvailable(status registrationv1.ConditionStatus) {
	e.t.Helper()
	e.api.Status.Conditions = []registrationv1.APIServiceCondition{{Type: registrationv1.Available, Status: status}}
	if err := e.client.UpdateStatus(e.t.Context(), e.api); err != nil {
		e.t.Fatal(err)
	}
	want := http.StatusOK
	if status != registrationv1.ConditionTrue {
		want = http.StatusServiceUnavailable
	}
	e.await(want, "")
}

// await asks for the widgets until the answer is the one that is waited for.
func (e *extended) await(code int, want string) {
	e.t.Helper()
	var got answer
	for range 2000 {
		if got = e.do(e.admin, "GET", widgetPath, nil); got.code == code && strings.Contains(got.body, want) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	e.t.Fatalf("the answer is %d %s, not %d with %q", got.code, got.body, code, want)
}

func TestAggregatedRequests(t *testing.T) {
	t.Parallel()
	e := newExtended(t, true)
	e.widgets.Add(widgets.Widget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bolt"}, Size: 3})
	tests := []struct {
		name, user, method, path, body string
		header                         []string
		code                           int
		want                           string
	}{
		{"a list", "admin", "GET", widgetPath, "", nil, 200, `"kind":"WidgetList"`},
		{"a table", "admin", "GET", widgetPath, "", []string{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"}, 200, `"cells":["bolt",3]`},
		{"an object", "admin", "GET", widgetPath + "/bolt", "", nil, 200, `"size":3`},
		{"an object that is not there", "admin", "GET", widgetPath + "/nut", "", nil, 404, `widgets.widgets.example.com \"nut\" not found`},
		{"a creation", "admin", "POST", widgetPath, `{"metadata":{"name":"nut"}}`, nil, 201, `"name":"nut"`},
		{"a stranger", "stranger", "GET", widgetPath, "", nil, 403, `widgets.widgets.example.com is forbidden: User \"stranger\" cannot list resource \"widgets\" in API group \"widgets.example.com\" in the namespace \"default\"`},
		{"a stranger's discovery", "stranger", "GET", "/apis/" + widgets.GroupVersion, "", nil, 403, `forbidden: User \"stranger\" cannot get path \"/apis/widgets.example.com/v1\"`},
		{"nobody", "", "GET", widgetPath, "", nil, 403, `User \"system:anonymous\" cannot list resource`},
		{"a bad token", "", "GET", widgetPath, "", []string{"Authorization", "Bearer bad"}, 401, "Unauthorized"},
		{"resources", "admin", "GET", "/apis/" + widgets.GroupVersion, "", nil, 200, `"name":"widgets/upload"`},
		{"a group", "admin", "GET", "/apis/" + widgets.Group, "", nil, 200, `"preferredVersion":{"groupVersion":"widgets.example.com/v1","version":"v1"}`},
		{"a version that is not registered", "admin", "GET", "/apis/" + widgets.Group + "/v2/widgets", "", nil, 404, "404 page not found"},
		{"what is served beside it", "admin", "GET", "/api/v1/namespaces/default/configmaps", "", nil, 200, `"kind":"ConfigMapList"`},
		{"a redirect", "admin", "GET", widgetPath + "/bolt/elsewhere", "", nil, 502, "the backend attempted to redirect this request, which is not permitted"},
		{"a body of any size", "admin", "POST", widgetPath + "/bolt/upload", strings.Repeat("x", 10<<20), nil, 200, "10485760"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := e.do(e.http(tt.user), tt.method, tt.path, strings.NewReader(tt.body), tt.header...)
			if got.code != tt.code || !strings.Contains(got.body, tt.want) {
				t.Errorf("%d %s, want %d with %q", got.code, got.body, tt.code, tt.want)
			}
		})
	}
	t.Run("unavailable", func(t *testing.T) {
		e.setAvailable(registrationv1.ConditionFalse)
		if got := e.do(e.admin, "GET", widgetPath, nil); got.code != 503 || !strings.Contains(got.body, "service unavailable") {
			t.Errorf("%d %s", got.code, got.body)
		}
	})
	t.Run("local again", func(t *testing.T) {
		if err := e.client.Delete(t.Context(), e.api, client.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		e.await(http.StatusNotFound, "")
	})
}

func TestAggregatedServersAreToldWhoCalls(t *testing.T) {
	t.Parallel()
	e := newExtended(t, true)
	told := func(client *http.Client, header ...string) http.Header {
		t.Helper()
		got := e.do(client, "GET", widgetPath+"/x/caller", nil, header...)
		out := http.Header{}
		if err := json.Unmarshal([]byte(got.body), &out); err != nil {
			t.Fatalf("%d %s: %v", got.code, got.body, err)
		}
		for name := range out {
			if strings.HasPrefix(name, "X-Remote-Extra-") {
				delete(out, name) // the certificate's fingerprint
			}
		}
		return out
	}
	forged := []string{"X-Remote-User", "root", "X-Remote-Group", "system:masters", "X-Remote-Uid", "1", "X-Remote-Extra-Scopes", "all"}
	for _, tc := range []struct {
		name   string
		client *http.Client
		header []string
		want   http.Header
	}{
		{"a certificate", e.http("jane"), nil, http.Header{"X-Remote-User": {"jane"}, "X-Remote-Group": {"system:authenticated"}}},
		{"a token", e.http(""), []string{"Authorization", "Bearer good"}, http.Header{"X-Remote-User": {"robot"}, "X-Remote-Group": {"system:authenticated"}}},
		{"forged headers", e.http("jane"), forged, http.Header{"X-Remote-User": {"jane"}, "X-Remote-Group": {"system:authenticated"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, told(tc.client, tc.header...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAggregatedWatch(t *testing.T) {
	t.Parallel()
	e := newExtended(t, true)
	request, err := http.NewRequestWithContext(t.Context(), "GET", e.address+widgetPath+"?watch=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := e.admin.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	events := bufio.NewScanner(response.Body)
	for _, name := range []string{"one", "two"} { // each arrives before the next is made
		e.widgets.Add(widgets.Widget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}})
		if !events.Scan() || !strings.Contains(events.Text(), `"name":"`+name+`"`) {
			t.Fatalf("the event is %q: %v", events.Text(), events.Err())
		}
	}
}

func TestAggregatedUpgrade(t *testing.T) {
	t.Parallel()
	e := newExtended(t, true)
	address, err := url.Parse(e.address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", address.Host, &tls.Config{
		RootCAs: e.authority.Pool(), Certificates: []tls.Certificate{*e.certificate(identity.Identity{Name: "jane"})},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET %s/x/tunnel HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", widgetPath, address.Host); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	response, err := http.ReadResponse(in, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols || response.Header.Get("X-User") != "jane" {
		t.Fatalf("the response is %v: %v", response, err)
	}
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := in.ReadString('\n'); line != "hello\n" {
		t.Errorf("it comes back as %q: %v", line, err)
	}
}

func TestMergedDiscovery(t *testing.T) {
	t.Parallel()
	for _, form := range []struct {
		name       string
		aggregated bool
	}{{"of a server that knows the aggregated form", true}, {"of one that does not", false}} {
		t.Run(form.name, func(t *testing.T) {
			t.Parallel()
			e := newExtended(t, form.aggregated)
			c := discovery.NewDiscoveryClientForConfigOrDie(e.config("admin"))
			groups, lists, err := c.ServerGroupsAndResources()
			if err != nil {
				t.Fatal(err)
			}
			names := make(map[string]int)
			for i, g := range groups {
				names[g.Name] = i + 1
			}
			if at := names[widgets.Group]; at == 0 || at < names["node.k8s.io"] || at > names["metrics.k8s.io"] {
				t.Errorf("the group is at %d of %v", at, names)
			}
			found := false
			for _, list := range lists {
				for _, r := range list.APIResources {
					found = found || list.GroupVersion == widgets.GroupVersion && r.Name == "widgets" && r.Kind == "Widget" && cmp.Equal(r.ShortNames, []string{"wd"})
				}
			}
			if !found {
				t.Errorf("the widgets are not in %v", lists)
			}
			e.mergedForms(t)
			e.setAvailable(registrationv1.ConditionFalse)
			_, _, err = c.ServerGroupsAndResources()
			if err == nil || !strings.Contains(err.Error(), "widgets.example.com/v1: stale GroupVersion discovery") {
				t.Errorf("of an unavailable server: %v", err)
			}
		})
	}
}

// mergedForms compares the forms of the merged document.
func (e *extended) mergedForms(t *testing.T) {
	t.Helper()
	const aggregated = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	text := e.do(e.admin, "GET", "/apis", nil, "Accept", "application/json"+aggregated)
	binary := e.do(e.admin, "GET", "/apis", nil, "Accept", runtime.ContentTypeProtobuf+aggregated)
	again := e.do(e.admin, "GET", "/apis", nil, "Accept", "application/json"+aggregated, "If-None-Match", text.header.Get("ETag"))
	if text.header.Get("ETag") == "" || text.header.Get("ETag") != binary.header.Get("ETag") || again.code != http.StatusNotModified {
		t.Errorf("the tags are %v and %v, and again it is %d", text.header, binary.header, again.code)
	}
	if !strings.Contains(binary.body, widgets.Group) {
		t.Errorf("the binary form lacks the group: %q", binary.body)
	}
	plain := e.do(e.admin, "GET", "/apis", nil)
	if strings.Index(plain.body, widgets.Group) < strings.Index(plain.body, "node.k8s.io") {
		t.Errorf("the plain form is %s", plain.body)
	}
	if got := e.do(e.admin, "GET", "/apis", nil, "Accept", "text/html"); got.code != http.StatusNotAcceptable {
		t.Errorf("as HTML it is %d", got.code)
	}
	if got := e.do(e.http("stranger"), "GET", "/apis", nil); got.code != http.StatusForbidden {
		t.Errorf("a stranger gets %d", got.code)
	}
}

func TestMergedOpenAPI(t *testing.T) {
	t.Parallel()
	e := newExtended(t, true)
	index := e.do(e.admin, "GET", "/openapi/v3", nil)
	if !strings.Contains(index.body, `"/openapi/v3/apis/widgets.example.com/v1?hash=1"`) || !strings.Contains(index.body, "apis/apps/v1") {
		t.Errorf("the index is %s", index.body)
	}
	if got := e.do(e.admin, "GET", "/openapi/v3/apis/"+widgets.GroupVersion, nil); !strings.Contains(got.body, "Size is in inches") {
		t.Errorf("the v3 document is %d %s", got.code, got.body)
	}
	got := e.do(e.admin, "GET", "/openapi/v2", nil)
	var document struct {
		Paths       map[string]json.RawMessage
		Definitions map[string]struct {
			Description string
			Properties  map[string]struct {
				Ref string `json:"$ref"`
			}
		}
	}
	if err := json.Unmarshal([]byte(got.body), &document); err != nil {
		t.Fatal(err)
	}
	const meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
	if ref := document.Definitions["com.example.Widget"].Properties["metadata"].Ref; ref != "#/definitions/"+meta+"_v2" {
		t.Errorf("a widget's metadata is %q", ref)
	}
	if document.Definitions[meta+"_v2"].Description != "Something else." || document.Definitions[meta].Description == "Something else." {
		t.Error("definitions of one name got into each other's way")
	}
	if document.Paths["/apis/"+widgets.GroupVersion+"/widgets"] == nil || strings.Contains(string(document.Paths["/api/v1/pods"]), "listWidgets") {
		t.Error("the other server's paths are missing, or replaced the cluster's")
	}
	binary := e.do(e.admin, "GET", "/openapi/v2", nil, "Accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
	if err := proto.Unmarshal([]byte(binary.body), &openapi_v2.Document{}); err != nil || !strings.Contains(binary.body, "com.example.Widget") {
		t.Errorf("the binary form: %v", err)
	}
}

func TestAggregatedServersAreVerified(t *testing.T) {
	t.Parallel()
	e := newExtended(t, true)
	change := func(mutate func(*registrationv1.APIServiceSpec)) {
		t.Helper()
		if err := e.client.Get(context.Background(), "", e.api.Name, e.api); err != nil {
			t.Fatal(err)
		}
		mutate(&e.api.Spec)
		if err := e.client.Update(t.Context(), e.api); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		bundle   []byte
		insecure bool
		code     int
		want     string
	}{
		{e.authority.CertPEM(), false, http.StatusServiceUnavailable, "certificate signed by unknown authority"},
		{nil, false, http.StatusServiceUnavailable, "certificate signed by unknown authority"}, // the machine's do not know it either
		{nil, true, http.StatusOK, "WidgetList"},
		{[]byte("none"), false, http.StatusInternalServerError, "unable to load root certificates"},
	} {
		change(func(s *registrationv1.APIServiceSpec) { s.InsecureSkipTLSVerify, s.CABundle = tc.insecure, tc.bundle })
		e.await(tc.code, tc.want)
	}
}
