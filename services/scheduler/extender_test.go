package scheduler

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"navarch.dev/navarch/internal/telemetry"
	schedulerv1 "navarch.dev/navarch/proto/navarch/scheduler/v1"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

const extended = `
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
extenders:
- urlPrefix: URL
  filterVerb: filter
  prioritizeVerb: prioritize
  bindVerb: bind
  weight: 100
  nodeCacheCapable: true
  managedResources: [{name: example.com/license, ignoredByScheduler: true}]
`

// licenses is an extender that keeps account of a resource that no node has:
// it allows n2 and n3 while it is open, and prefers n3.
type licenses struct {
	open  atomic.Bool
	bound chan extenderv1.ExtenderBindingArgs
}

func (l *licenses) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var answer any
	switch r.URL.Path {
	case "/filter":
		var args extenderv1.ExtenderArgs
		_ = json.NewDecoder(r.Body).Decode(&args)
		result := &extenderv1.ExtenderFilterResult{NodeNames: &[]string{}, FailedNodes: extenderv1.FailedNodesMap{}}
		for _, node := range *args.NodeNames {
			if node == "n1" || !l.open.Load() {
				result.FailedNodes[node] = "no license left"
			} else {
				*result.NodeNames = append(*result.NodeNames, node)
			}
		}
		answer = result
	case "/prioritize":
		answer = extenderv1.HostPriorityList{{Host: "n3", Score: 10}}
	case "/bind":
		var args extenderv1.ExtenderBindingArgs
		_ = json.NewDecoder(r.Body).Decode(&args)
		l.bound <- args
		answer = extenderv1.ExtenderBindingResult{}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// TestExtender: the extender filters, scores and binds the pods that ask for
// its resource, and no others; once it has changed its mind, any event makes the
// scheduler ask again.
func TestExtender(t *testing.T) {
	l := &licenses{bound: make(chan extenderv1.ExtenderBindingArgs, 10)}
	server := httptest.NewServer(l)
	defer server.Close()
	config := parsed(t, strings.ReplaceAll(extended, "URL", server.URL))
	c := startConfigured(t, telemetry.Discard("scheduler"), func(c *Config) {
		if err := c.Adopt(config, nothingGiven); err != nil {
			t.Fatal(err)
		}
	}, schedtest.Node("n1"), schedtest.Node("n2"), schedtest.Node("n3"))

	c.create(schedtest.Pod("plain").CPU("1").Pod())
	c.until("the plain pod is bound", func() bool { return c.nodeOf("plain") != "" })
	if len(l.bound) > 0 {
		t.Error("the extender was asked to bind a pod that is not its own")
	}

	c.create(schedtest.Pod("licensed").Request("example.com/license", "1").With(func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Limits = p.Spec.Containers[0].Resources.Requests
	}).Pod())
	c.until("the licensed pod is rejected", func() bool {
		p, ok := c.pods.Get("default", "licensed")
		return ok && scheduledCondition(p) != nil && strings.HasPrefix(scheduledCondition(p).Message, "0/3 nodes are available: 3 no license left.")
	})
	resp, err := (&service{scheduler: c.scheduler}).Explain(t.Context(), &schedulerv1.ExplainRequest{Namespace: "default", Name: "licensed"})
	if err != nil {
		t.Fatal(err)
	}
	if r := resp.GetDiagnosis().GetNodes()[0].GetRejections(); len(r) != 1 || r[0].GetPlugin() != server.URL {
		t.Errorf("explained as %v", r)
	}

	l.open.Store(true)
	c.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "any-change"}})
	var args extenderv1.ExtenderBindingArgs
	select {
	case args = <-l.bound:
	case <-time.After(10 * time.Second):
		t.Fatal("the extender is never asked to bind")
	}
	if args.PodName != "licensed" || args.Node != "n3" {
		t.Fatalf("asked to bind %v", args)
	}
	_, err = c.Store().Bind(t.Context(), &storev1.BindRequest{Bindings: []*storev1.Binding{
		{Namespace: args.PodNamespace, Name: args.PodName, Uid: string(args.PodUID), NodeName: args.Node},
	}})
	if err != nil {
		t.Fatal(err)
	}
	c.until("the licensed pod is where the extender put it", func() bool { return c.nodeOf("licensed") == "n3" })
	c.until("it is said so", func() bool {
		return c.hasEvent("licensed", "Scheduled", "Successfully assigned default/licensed to n3")
	})
}
