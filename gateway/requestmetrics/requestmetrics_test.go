package requestmetrics

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"navarch.dev/navarch/internal/kinds"
)

func newMetrics(t *testing.T) (*Metrics, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	others := []*kinds.Kind{{Group: "metrics.k8s.io", Version: "v1beta1", Resource: "nodes"}}
	m, err := New(reg, kinds.NewRegistry(), others)
	if err != nil {
		t.Fatal(err)
	}
	return m, reg
}

// seriesIn returns the series of a metric, as {label="value",…} without empty
// labels and the component.
func seriesIn(t *testing.T, reg *prometheus.Registry, name string) map[string]*dto.Metric {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]*dto.Metric)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, l := range metric.GetLabel() {
				if l.GetValue() != "" && l.GetName() != "component" {
					labels = append(labels, l.GetName()+"="+l.GetValue())
				}
			}
			found[strings.Join(labels, " ")] = metric
		}
	}
	return found
}

func TestLabels(t *testing.T) {
	for _, tt := range []struct {
		method, path, contentType string
		code                      int
		want                      string
	}{
		{"GET", "/api/v1/pods", "", 200, "code=200 resource=pods scope=cluster verb=LIST version=v1"},
		{"GET", "/api/v1/namespaces/a/pods?limit=5", "", 410, "code=410 resource=pods scope=namespace verb=LIST version=v1"},
		{"GET", "/api/v1/namespaces/a/pods/p", "", 404, "code=404 resource=pods scope=resource verb=GET version=v1"},
		{"HEAD", "/api/v1/namespaces/a/pods/p", "", 200, "code=200 resource=pods scope=resource verb=HEAD version=v1"},
		{"GET", "/api/v1/pods?watch=1", "", 200, "code=200 resource=pods scope=cluster verb=WATCH version=v1"},
		{"GET", "/api/v1/watch/pods", "", 200, "code=200 resource=pods scope=cluster verb=WATCH version=v1"},
		{"POST", "/apis/apps/v1/namespaces/a/deployments?dryRun=All", "", 201,
			"code=201 dry_run=All group=apps resource=deployments scope=namespace verb=POST version=v1"},
		{"POST", "/apis/apps/v1/namespaces/a/deployments?dryRun=made+up", "", 400,
			"code=400 dry_run=invalid group=apps resource=deployments scope=namespace verb=POST version=v1"},
		{"PATCH", "/apis/apps/v1/namespaces/a/deployments/d", "application/merge-patch+json", 200,
			"code=200 group=apps resource=deployments scope=resource verb=PATCH version=v1"},
		{"PATCH", "/apis/apps/v1/namespaces/a/deployments/d", "application/apply-patch+yaml", 200,
			"code=200 group=apps resource=deployments scope=resource verb=APPLY version=v1"},
		{"PUT", "/apis/apps/v1/namespaces/a/deployments/d/scale", "", 200,
			"code=200 group=apps resource=deployments scope=resource subresource=scale verb=PUT version=v1"},
		{"DELETE", "/api/v1/namespaces/a/pods", "", 200, "code=200 resource=pods scope=namespace verb=DELETECOLLECTION version=v1"},
		{"DELETE", "/api/v1/namespaces/a/pods/p", "", 200, "code=200 resource=pods scope=resource verb=DELETE version=v1"},
		{"POST", "/api/v1/namespaces/a/pods/p/exec?command=sh", "", 101,
			"code=101 resource=pods scope=resource subresource=exec verb=CONNECT version=v1"},
		{"GET", "/apis/metrics.k8s.io/v1beta1/nodes", "", 200, "code=200 group=metrics.k8s.io resource=nodes scope=cluster verb=LIST version=v1beta1"},
		// What clients make up is not told.
		{"GET", "/api/v1/namespaces/a/pods/p/made-up", "", 404, "code=404 verb=GET"},
		{"GET", "/api/v1/made-up", "", 404, "code=404 verb=GET"},
		{"GET", "/apis/made.up/v1/things", "", 404, "code=404 verb=GET"},
		{"MADEUP", "/api/v1/pods", "", 405, "code=405 resource=pods scope=cluster verb=other version=v1"},
		{"GET", "/version", "", 200, "code=200 verb=GET"},
	} {
		m, reg := newMetrics(t)
		r := httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, nil)
		r.Header.Set("Content-Type", tt.contentType)
		m.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(tt.code) })).ServeHTTP(httptest.NewRecorder(), r)
		total, timed := seriesIn(t, reg, "apiserver_request_total"), seriesIn(t, reg, "apiserver_request_duration_seconds")
		if got := total[tt.want]; len(total) != 1 || got.GetCounter().GetValue() != 1 {
			t.Errorf("%s %s counts as %v, not %q", tt.method, tt.path, total, tt.want)
		}
		_, uncoded, _ := strings.Cut(tt.want, " ")
		if got := timed[uncoded]; len(timed) != 1 || got.GetHistogram().GetSampleCount() != 1 {
			t.Errorf("%s %s is timed as %v, not %q", tt.method, tt.path, timed, uncoded)
		}
	}
}

func TestWhatGoesOnIsCountedMeanwhile(t *testing.T) {
	m, reg := newMetrics(t)
	serve := func(path string, during func()) {
		handler := m.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { during() }))
		defer func() { _ = recover() }()
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
	}
	const watches = "resource=pods scope=cluster verb=WATCH version=v1"
	going := func() string {
		found := seriesIn(t, reg, "apiserver_longrunning_requests")
		return fmt.Sprint(len(found), found[watches].GetGauge().GetValue())
	}
	serve("/api/v1/pods?watch=true", func() {
		if got := going(); got != "1 1" {
			t.Errorf("during a watch there are %s", got)
		}
		serve("/api/v1/pods", func() {
			if got := going(); got != "1 1" {
				t.Errorf("during a list there are %s", got)
			}
			panic(http.ErrAbortHandler)
		})
	})
	if got := going(); got != "1 0" {
		t.Errorf("afterwards there are %s", got)
	}
	if total := seriesIn(t, reg, "apiserver_request_total"); len(total) != 2 {
		t.Errorf("what has panicked is not counted: %v", total)
	}
}

func TestBothKindsOfBuckets(t *testing.T) {
	m, reg := newMetrics(t)
	handler := m.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/api", nil))
	h := seriesIn(t, reg, "apiserver_request_duration_seconds")["verb=GET"].GetHistogram()
	if len(h.GetBucket()) != len(buckets) || h.GetSchema() == 0 || len(h.GetPositiveSpan()) == 0 {
		t.Errorf("the histogram is %v", h)
	}
}

func BenchmarkHandler(b *testing.B) {
	m, err := New(prometheus.NewRegistry(), kinds.NewRegistry(), nil)
	if err != nil {
		b.Fatal(err)
	}
	handler := m.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(b.Context(), "GET", "/api/v1/namespaces/a/pods/p", nil)
	for b.Loop() {
		handler.ServeHTTP(w, r)
	}
}
