package routes

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds"
)

// recorder keeps what the router found.
type recorder struct {
	target  *Target
	err     error
	unknown bool
}

func (*recorder) Refresh(*http.Request) {}

func (h *recorder) ServeResource(_ http.ResponseWriter, _ *http.Request, t Target) { h.target = &t }
func (h *recorder) ServeError(_ http.ResponseWriter, _ *http.Request, err error)   { h.err = err }
func (h *recorder) ServeUnknown(w http.ResponseWriter, r *http.Request)            { h.unknown = true }

func newMux(t testing.TB, h Handler) *runtime.ServeMux {
	mux := runtime.NewServeMux(runtime.WithDisablePathLengthFallback(), runtime.WithDisableHTTPMethodOverride())
	if err := Register(mux, kinds.Default(), h); err != nil {
		t.Fatal(err)
	}
	return mux
}

func TestTargets(t *testing.T) {
	for _, tc := range []struct {
		method, path string
		resource     string
		want         Target
	}{
		{"GET", "/api/v1/pods", "pods", Target{}},
		{"GET", "/api/v1/namespaces", "namespaces", Target{}},
		{"GET", "/api/v1/namespaces/default", "namespaces", Target{Name: "default"}},
		{"PUT", "/api/v1/namespaces/default/finalize", "namespaces", Target{Name: "default", Subresource: "finalize"}},
		{"PATCH", "/api/v1/namespaces/default/status", "namespaces", Target{Name: "default", Subresource: "status"}},
		{"POST", "/api/v1/namespaces/default/pods", "pods", Target{Namespace: "default"}},
		{"GET", "/api/v1/namespaces/default/pods/a/log", "pods", Target{Namespace: "default", Name: "a", Subresource: "log"}},
		{"POST", "/api/v1/namespaces/default/pods/a/exec", "pods", Target{Namespace: "default", Name: "a", Subresource: "exec"}},
		{"GET", "/api/v1/nodes/n1/status", "nodes", Target{Name: "n1", Subresource: "status"}},
		{"GET", "/api/v1/watch/pods", "pods", Target{Watch: true}},
		{"GET", "/api/v1/watch/namespaces/default/pods", "pods", Target{Namespace: "default", Watch: true}},
		{"GET", "/api/v1/watch/namespaces/default", "namespaces", Target{Name: "default", Watch: true}},
		{"GET", "/apis/apps/v1/namespaces/a/deployments/b/scale", "deployments", Target{Namespace: "a", Name: "b", Subresource: "scale"}},
		{"DELETE", "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node", "clusterroles", Target{Name: "system:node"}},
		{"DELETE", "/apis/apps/v1/namespaces/a/deployments", "deployments", Target{Namespace: "a"}},
		{"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "selfsubjectaccessreviews", Target{}},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			var h recorder
			newMux(t, &h).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(tc.method, tc.path, nil))
			if h.target == nil {
				t.Fatalf("no target: error %v, unknown %v", h.err, h.unknown)
			}
			if h.target.Kind.Resource != tc.resource {
				t.Errorf("resource %q, want %q", h.target.Kind.Resource, tc.resource)
			}
			if diff := cmp.Diff(tc.want, *h.target, cmpopts.IgnoreFields(Target{}, "Kind")); diff != "" {
				t.Error(diff)
			}
			agree(t, httptest.NewRequest(tc.method, tc.path, nil))
		})
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/api/v1/widgets", 404},
		{"GET", "/api/v1/pods/a", 404},
		{"GET", "/api/v1/namespaces/a/nodes", 404},
		{"GET", "/api/v1/namespaces/a/pods/b/scale", 404},
		{"GET", "/api/v1/namespaces/a/pods/b/binding", 405},
		{"POST", "/api/v1/namespaces/a/pods/b", 405},
		{"PUT", "/api/v1/nodes", 405},
		{"POST", "/api/v1/pods", 405},
		{"DELETE", "/api/v1/pods", 405},
		{"GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405},
		{"GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews/a", 404},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			var h recorder
			newMux(t, &h).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(tc.method, tc.path, nil))
			if status, ok := h.err.(apierrors.APIStatus); !ok || int(status.Status().Code) != tc.code {
				t.Errorf("error %v, want code %d", h.err, tc.code)
			}
		})
	}
	var h recorder
	newMux(t, &h).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/apis/nobody.example/v1/things", nil))
	if !h.unknown {
		t.Error("an unserved group is not unknown")
	}
}

func FuzzPaths(f *testing.F) {
	for _, p := range []string{"/api/v1/pods", "/apis/apps/v1/namespaces/a/deployments/b/scale", "/api/v1/watch/namespaces", "/api//v1", "/api/v1/namespaces/%2e%2e/pods",
		"/api/v1/namespaces/a/pods/b/log/c", "/apis//v1/pods", "/apis/apps/v1", "/api/v1/namespaces/a/watch/b", "/apis/apps/v2/deployments", "/api/v1/pods/a:b/x"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r, err := http.NewRequest("GET", "https://host"+path, nil)
		if err != nil || r.URL.Path == "" {
			return
		}
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "HEAD"} {
			r.Method = method
			agree(t, r)
		}
	})
}

// agree checks that a request is served in the same way with the mux alone and
// with Direct before it.
func agree(t *testing.T, r *http.Request) {
	t.Helper()
	var slow, fast recorder
	newMux(t, &slow).ServeHTTP(httptest.NewRecorder(), r)
	Direct(kinds.Default(), &fast, newMux(t, &fast)).ServeHTTP(httptest.NewRecorder(), r)
	if slow.target != nil && slow.target.Kind == nil {
		t.Errorf("%s %q gave a target without a kind", r.Method, r.URL.Path)
	}
	same := cmp.Comparer(func(a, b *kinds.Kind) bool { return a == b })
	if diff := cmp.Diff(slow.target, fast.target, same); diff != "" {
		t.Errorf("%s %q: the mux and Direct find different targets: %s", r.Method, r.URL.Path, diff)
	}
	if slow.unknown != fast.unknown || fmt.Sprint(slow.err) != fmt.Sprint(fast.err) {
		t.Errorf("%s %q: the mux says %v (unknown %v), Direct %v (unknown %v)", r.Method, r.URL.Path, slow.err, slow.unknown, fast.err, fast.unknown)
	}
}

func TestKindsOfSubresources(t *testing.T) {
	for path, want := range map[string]string{
		"pods/exec": "PodExecOptions", "pods/proxy": "PodProxyOptions", "services/proxy": "ServiceProxyOptions",
		"pods/eviction": "Eviction", "pods/status": "Pod",
	} {
		resource, name, _ := strings.Cut(path, "/")
		kind, ok := kinds.Default().ForResource(schema.GroupVersionResource{Version: "v1", Resource: resource})
		if !ok || !kind.HasSubresource(name) {
			t.Errorf("%s is not served", path)
			continue
		}
		if got := Subresources()[name].KindFor(kind).Kind; got != want {
			t.Errorf("%s is a %s, want %s", path, got, want)
		}
	}
}
