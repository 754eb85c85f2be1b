package gateway_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// Stats tells of the pods web, whose uid is asked of the test's cluster, and
// fresh, which has just begun.
func (n *node) Stats(context.Context, *nodev1.StatsRequest) (*nodev1.StatsResponse, error) {
	used := &nodev1.Usage{CpuNanocores: 250_000_000, MemoryWorkingSetBytes: 64 << 20, Window: durationpb.New(15 * time.Second)}
	resp := &nodev1.StatsResponse{NodeName: "n1", Time: timestamppb.Now(), Usage: used}
	for uid, name := range n.pods {
		u := used
		if name == "fresh" {
			u = &nodev1.Usage{MemoryWorkingSetBytes: 1}
		}
		resp.Pods = append(resp.Pods, &nodev1.PodStats{Uid: uid, Containers: []*nodev1.ContainerStats{{Name: "main", Usage: u}}})
	}
	return resp, nil
}

func TestUsageOfNodesAndPods(t *testing.T) {
	ctx := t.Context()
	agent := newNode(t)
	c := start(t, agent)
	cs := c.clientset("application/json")
	if _, err := cs.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"zone": "a"}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	agent.pods = make(map[string]string)
	for _, name := range []string{"web", "fresh", "elsewhere"} {
		pod, err := cs.CoreV1().Pods("default").Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
			Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "main", Image: "i"}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if name != "elsewhere" {
			agent.pods[string(pod.UID)] = name
		}
	}
	admin := c.http("admin")
	const root = "/apis/metrics.k8s.io/v1beta1"
	for path, want := range map[string]string{
		"/nodes": "n1", "/nodes?labelSelector=zone%3Db": "", "/pods": "web", "/namespaces/default/pods": "web",
		"/namespaces/default/pods?labelSelector=app%3Dfresh": "", "/namespaces/other/pods": "",
	} {
		got := c.do(admin, "GET", root+path, nil)
		var list metricsv1beta1.PodMetricsList // the lists differ in nothing that is looked at
		if err := json.Unmarshal([]byte(got.body), &list); err != nil || got.code != 200 {
			t.Fatalf("%s: %d, %v: %s", path, got.code, err, got.body)
		}
		var names []string
		for _, item := range list.Items {
			names = append(names, item.Name)
		}
		if s := strings.Join(names, " "); s != want || !strings.HasSuffix(list.Kind, "MetricsList") {
			t.Errorf("%s: a %s of %q, want %q", path, list.Kind, s, want)
		}
	}
	var web metricsv1beta1.PodMetrics
	if got := c.do(admin, "GET", root+"/namespaces/default/pods/web", nil); json.Unmarshal([]byte(got.body), &web) != nil || web.Kind != "PodMetrics" {
		t.Fatalf("one pod: %d %s", got.code, got.body)
	}
	if u := web.Containers[0].Usage; u.Cpu().MilliValue() != 250 || u.Memory().Value() != 64<<20 || web.Window.Duration != 15*time.Second {
		t.Errorf("usage %v over %s", u, web.Window.Duration)
	}
	for path, want := range map[string]string{
		"/nodes/n2":                        `nodes.metrics.k8s.io \"n2\" not found`,
		"/namespaces/default/pods/fresh":   `pods.metrics.k8s.io \"default/fresh\" not found`,
		"/namespaces/default/pods/missing": `pods.metrics.k8s.io \"default/missing\" not found`,
	} {
		if got := c.do(admin, "GET", root+path, nil); got.code != 404 || !strings.Contains(got.body, want) {
			t.Errorf("%s: %d %s", path, got.code, got.body)
		}
	}
	want := `pods.metrics.k8s.io is forbidden: User \"stranger\" cannot list resource \"pods\" in API group \"metrics.k8s.io\" in the namespace \"default\"`
	if got := c.do(c.http("stranger"), "GET", root+"/namespaces/default/pods", nil); got.code != 403 || !strings.Contains(got.body, want) {
		t.Errorf("a stranger: %d %s", got.code, got.body)
	}
	resources, err := cs.Discovery().ServerResourcesForGroupVersion("metrics.k8s.io/v1beta1")
	if err != nil || len(resources.APIResources) != 2 || strings.Join(resources.APIResources[1].Verbs, " ") != "get list" {
		t.Errorf("discovery: %v, %+v", err, resources)
	}
}
