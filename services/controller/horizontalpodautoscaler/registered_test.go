package horizontalpodautoscaler_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	registrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"navarch.dev/navarch/internal/extension"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/horizontalpodautoscaler"
	"navarch.dev/navarch/services/controller/horizontalpodautoscaler/metricsapi"
)

// adapter is a server of metrics: what it answers to requests of paths with
// their queries.
type adapter struct {
	*httptest.Server
	answers map[string]string
}

func newAdapter(t *testing.T, answers map[string]string) *adapter {
	a := &adapter{answers: answers}
	a.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := a.answers[r.URL.RequestURI()]
		if user := r.Header.Get("X-Remote-User"); !ok || user != "system:serviceaccount:kube-system:horizontal-pod-autoscaler" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":404,"reason":"NotFound","message":"no %s for %s"}`, r.URL.RequestURI(), user)
			return
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(a.Close)
	return a
}

// DialService implements extension.ServiceDialer.
func (a *adapter) DialService(ctx context.Context, _, _ string, _ int32) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", a.Listener.Addr().String())
}

// valueList is what adapters answer, each value of an object.
func valueList(of map[string]string) string {
	var items []string
	for name, value := range of {
		items = append(items, fmt.Sprintf(`{"describedObject":{"kind":"Pod","name":%q},"metric":{"name":"jobs"},"timestamp":%q,"value":%q}`, name, time.Now().UTC().Format(time.RFC3339), value))
	}
	return `{"kind":"MetricValueList","items":[` + strings.Join(items, ",") + `]}`
}

// TestScalesByRegisteredMetrics starts with 2 pods, which expose nothing that
// asks for more.
func TestScalesByRegisteredMetrics(t *testing.T) {
	const custom, external1 = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default", "/apis/external.metrics.k8s.io/v1beta1/namespaces/default"
	mail := &metav1.LabelSelector{MatchLabels: map[string]string{"queue": "mail"}}
	idle := exposing{"web-a": "jobs 1\n", "web-b": "jobs 1\n"}
	ingress := autoscalingv2.MetricSpec{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{
		DescribedObject: autoscalingv2.CrossVersionObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Name: "front"}, Metric: queue(nil), Target: total("10"),
	}}
	usage := fmt.Sprintf(`{"kind":"PodMetricsList","items":[%[1]s"web-a"%[2]s,%[1]s"web-b"%[2]s]}`, `{"metadata":{"name":`,
		`},"timestamp":"`+time.Now().UTC().Format(time.RFC3339)+`","window":"15s","containers":[{"name":"c","usage":{"cpu":"160m"}}]}`)
	for name, tt := range map[string]struct {
		registered []string
		answers    map[string]string
		metric     autoscalingv2.MetricSpec
		exported   bool // by the annotation of the autoscaler
		want       int32
	}{
		"of pods": {[]string{"v1beta2.custom.metrics.k8s.io"}, map[string]string{
			custom + "/pods/*/jobs?labelSelector=app%3Dweb&metricLabelSelector=queue%3Dmail": valueList(map[string]string{"web-a": "20", "web-b": "20"}),
		}, ofPods(queue(mail), each("10")), false, 4},
		"of pods, an older version": {[]string{"v1beta1.custom.metrics.k8s.io"}, map[string]string{
			"/apis/custom.metrics.k8s.io/v1beta1/namespaces/default/pods/*/jobs?labelSelector=app%3Dweb": valueList(map[string]string{"web-a": "20", "web-b": "20"}),
		}, ofPods(queue(nil), each("10")), false, 4},
		"of an object of any kind": {[]string{"v1beta2.custom.metrics.k8s.io"}, map[string]string{
			custom + "/ingresses.networking.k8s.io/front/jobs": valueList(map[string]string{"front": "20"}),
		}, ingress, false, 4},
		"of something outside": {[]string{"v1beta1.external.metrics.k8s.io"}, map[string]string{
			external1 + "/jobs": `{"items":[{"metricName":"jobs","value":"15"},{"metricName":"jobs","value":"5"}]}`,
		}, external(total("10")), false, 4},
		"what an exporter tells that the autoscaler names": {[]string{"v1beta1.external.metrics.k8s.io"}, nil, external(each("500m")), true, 2},
		"what pods use": {[]string{"v1beta1.metrics.k8s.io"}, map[string]string{
			"/apis/metrics.k8s.io/v1beta1/namespaces/default/pods": usage,
		}, cpu(80), false, 4},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAdapter(t, tt.answers)
			c := startWith(t, 80, idle, exposes(), func(_ *controllertest.Cluster, in horizontalpodautoscaler.Inputs, s *horizontalpodautoscaler.Sources) {
				s.APIs = metricsapi.New(in.APIs, in.Kinds, extension.Connector{Services: a})
				s.Figures = horizontalpodautoscaler.FiguresOf(s.APIs)
			})
			for _, registered := range tt.registered {
				c.Apply(apiService(registered))
			}
			h := autoscaler("web", tt.metric)
			if tt.exported {
				h.Annotations = map[string]string{horizontalpodautoscaler.AnnotationExternal: "web"}
			}
			c.Apply(h)
			controllertest.Await(c, "the replicas", func(all []*appsv1.Deployment) bool { return *all[0].Spec.Replicas == tt.want })
			controllertest.Await(c, "the status", func(all []*autoscalingv2.HorizontalPodAutoscaler) bool {
				return all[0].Status.DesiredReplicas == tt.want
			})
		})
	}
}

func apiService(name string) *registrationv1.APIService {
	version, group, _ := strings.Cut(name, ".")
	return &registrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: registrationv1.APIServiceSpec{
		Group: group, Version: version, InsecureSkipTLSVerify: true, GroupPriorityMinimum: 100, VersionPriority: 100,
		Service: &registrationv1.ServiceReference{Namespace: "default", Name: "adapter"},
	}}
}

// A registered server is believed, and not gone round, when it knows nothing.
func TestSaysWhatRegisteredServersSay(t *testing.T) {
	for name, tt := range map[string]struct {
		registered string
		metric     autoscalingv2.MetricSpec
		want       string
	}{
		"of pods": {"v1beta2.custom.metrics.k8s.io", ofPods(queue(nil), each("10")),
			"unable to get metric jobs: unable to fetch metrics from custom metrics API: no /apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods/*/jobs?labelSelector=app%3Dweb for"},
		"of something outside": {"v1beta1.external.metrics.k8s.io", external(total("1")),
			"unable to get external metric default/jobs/<none>: unable to fetch metrics from external metrics API: no /apis/external"},
		"what pods use": {"v1beta1.metrics.k8s.io", cpu(80),
			"failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: no /apis/metrics"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAdapter(t, nil)
			c := startWith(t, 80, exposing{"web-a": "jobs 100\n", "web-b": "jobs 100\n"}, exposes(), func(_ *controllertest.Cluster, in horizontalpodautoscaler.Inputs, s *horizontalpodautoscaler.Sources) {
				s.APIs = metricsapi.New(in.APIs, in.Kinds, extension.Connector{Services: a})
				s.Figures = horizontalpodautoscaler.FiguresOf(s.APIs)
			})
			c.Apply(apiService(tt.registered))
			c.Apply(autoscaler("web", tt.metric))
			controllertest.Await(c, "the condition", func(all []*autoscalingv2.HorizontalPodAutoscaler) bool {
				return len(all) == 1 && len(all[0].Status.Conditions) > 1 && strings.Contains(all[0].Status.Conditions[1].Message, tt.want)
			})
		})
	}
}
