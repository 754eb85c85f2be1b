package gateway_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// TestMetricsOfRequests reads how requests went, as text and as Protobuf.
func TestMetricsOfRequests(t *testing.T) {
	c := start(t, noNodes{})
	admin := c.http("admin")
	c.do(admin, "GET", "/api/v1/namespaces/default/pods/none", nil)
	const counted = `apiserver_request_total{code="404",component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="",verb="GET",version="v1"} 1`
	for !strings.Contains(c.do(admin, "GET", "/metrics", nil).body, counted) { // a request is counted once it has ended
	}
	text := c.do(admin, "GET", "/metrics", nil, "Accept", "text/plain")
	if !strings.Contains(text.body, "navarch_store_watchers") || !strings.HasPrefix(text.header.Get("Content-Type"), "text/plain") {
		t.Errorf("the Store's metrics are not there: %v %.500s", text.header, text.body)
	}
	for family := range strings.SplitSeq(text.body, "# TYPE ") {
		name, _, _ := strings.Cut(family, " ")
		if strings.Count(text.body, "# TYPE "+name+" ") > 1 {
			t.Errorf("the metric %s is there twice", name)
		}
	}
	binary := c.do(admin, "GET", "/metrics", nil, "Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	families := make(map[string]*dto.MetricFamily)
	decoder := expfmt.NewDecoder(strings.NewReader(binary.body), expfmt.Format(binary.header.Get("Content-Type")))
	for {
		family := &dto.MetricFamily{}
		if err := decoder.Decode(family); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		families[family.GetName()] = family
	}
	if families["navarch_store_watchers"] == nil {
		t.Error("the Store's metrics are not there in Protobuf")
	}
	timed := families["apiserver_request_duration_seconds"]
	if timed.GetType() != dto.MetricType_HISTOGRAM || len(timed.GetMetric()[0].GetHistogram().GetPositiveSpan()) == 0 {
		t.Errorf("the times are %v", timed)
	}
	if a := c.do(c.http("stranger"), "GET", "/metrics", nil); a.code != 403 || strings.Contains(a.body, "apiserver_request_total") {
		t.Errorf("a stranger gets %d %.100s", a.code, a.body)
	}
}

func TestServiceLevelIndicators(t *testing.T) {
	c := start(t, noNodes{})
	admin := c.http("admin")
	c.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	c.do(admin, "GET", "/readyz", nil)
	first := c.do(admin, "GET", "/metrics/slis", nil)
	c.health.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
	second := c.do(admin, "GET", "/metrics/slis", nil)
	for i, want := range [][]string{
		{`kubernetes_healthcheck{name="ping",type="livez"} 1`, `kubernetes_healthcheck{name="store",type="readyz"} 0`,
			`kubernetes_healthchecks_total{name="store",status="error",type="readyz"} 2`},
		{`kubernetes_healthcheck{name="store",type="readyz"} 1`, `kubernetes_healthchecks_total{name="store",status="success",type="readyz"} 1`},
	} {
		body := []string{first.body, second.body}[i]
		for _, line := range want {
			if !strings.Contains(body, line+"\n") {
				t.Errorf("reading %d lacks %s: %s", i, line, body)
			}
		}
	}
	if a := c.do(c.http("stranger"), "GET", "/metrics/slis", nil); a.code != 403 {
		t.Errorf("a stranger gets %d", a.code)
	}
}
