package scheduler

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/telemetry"
	schedulerv1 "navarch.dev/navarch/proto/navarch/scheduler/v1"
	"navarch.dev/navarch/services/scheduler/configuration"
	"navarch.dev/navarch/services/scheduler/schedtest"
)

// twoProfiles spreads by default, and packs the pods of packer into pool batch.
const twoProfiles = `
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
- schedulerName: packer
  plugins:
    multiPoint:
      disabled: [{name: NodeResourcesBalancedAllocation}, {name: ImageLocality}]
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated, resources: [{name: cpu}]}}
  - name: PodTopologySpread
    args: {defaultingType: List}
  - name: NodeAffinity
    args: {addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: In, values: [batch]}]}]}}}
`

func parsed(t *testing.T, text string) *configv1.KubeSchedulerConfiguration {
	t.Helper()
	config, _, err := configuration.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func nothingGiven(string) bool { return false }

func startTwoProfiles(t *testing.T, nodes ...*schedtest.NodeBuilder) *cluster {
	t.Helper()
	config := parsed(t, twoProfiles)
	return startConfigured(t, telemetry.Discard("scheduler"), func(c *Config) {
		if err := c.Adopt(config, nothingGiven); err != nil {
			t.Fatal(err)
		}
	}, nodes...)
}

func by(scheduler string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.SchedulerName = scheduler }
}

// batch begins a node of the pool.
func batch(name string) *schedtest.NodeBuilder { return schedtest.Node(name).Label("pool", "batch") }

func TestEachPodIsPlacedByItsProfile(t *testing.T) {
	c := startTwoProfiles(t, batch("n1"), batch("n2"), schedtest.Node("n3"))
	for i := range 3 {
		c.create(schedtest.Pod(fmt.Sprint("packed-", i)).CPU("1").With(by("packer")).Pod())
	}
	c.until("the packed ones are together", func() bool {
		on := c.nodeOf("packed-0")
		return on != "" && on != "n3" && c.nodeOf("packed-1") == on && c.nodeOf("packed-2") == on
	})
	for i := range 2 { // n3, and what is empty of the pool
		c.create(schedtest.Pod(fmt.Sprint("spread-", i)).CPU("1").Pod())
	}
	c.until("the others are where most is left", func() bool {
		on := []string{c.nodeOf("spread-0"), c.nodeOf("spread-1"), c.nodeOf("packed-0")}
		slices.Sort(on)
		return slices.Equal(on, []string{"n1", "n2", "n3"})
	})
	c.create(schedtest.Pod("theirs").With(by("other")).Pod())
	c.until("events have the profile's name", func() bool {
		return c.eventSource("packed-0", "Scheduled") == "packer" && c.eventSource("spread-0", "Scheduled") == "default-scheduler"
	})
	if n := c.nodeOf("theirs"); n != "" {
		t.Errorf("the pod of another scheduler is on %s", n)
	}
}

func (c *cluster) eventSource(pod, reason string) string {
	for _, e := range c.events.List() {
		if e.InvolvedObject.Name == pod && e.Reason == reason {
			return e.Source.Component
		}
	}
	return ""
}

func TestAWaitingPodIsWokenAndExplainedByItsProfile(t *testing.T) {
	c := startTwoProfiles(t, schedtest.Node("n1"))
	c.create(schedtest.Pod("waits").With(by("packer")).Pod())
	const why = "0/1 nodes are available: 1 node(s) didn't match scheduler-enforced node affinity."
	c.until("the condition says why", func() bool {
		p, ok := c.pods.Get("default", "waits")
		return ok && scheduledCondition(p) != nil && strings.HasPrefix(scheduledCondition(p).Message, why)
	})
	resp, err := (&service{scheduler: c.scheduler}).Explain(t.Context(), &schedulerv1.ExplainRequest{Namespace: "default", Name: "waits"})
	if err != nil {
		t.Fatal(err)
	}
	if r := resp.GetDiagnosis().GetNodes()[0].GetRejections(); len(r) != 1 || r[0].GetPlugin() != "NodeAffinity" {
		t.Errorf("explained by another profile: %v", r)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	if err := c.RetryOnConflict(t.Context(), node, func() bool {
		node.Labels["pool"] = "batch"
		return true
	}, c.Update); err != nil {
		t.Fatal(err)
	}
	c.until("the node's label wakes it", func() bool { return c.nodeOf("waits") == "n1" })
}

func TestPreemptionIsInTheNameOfTheProfile(t *testing.T) {
	c := startTwoProfiles(t, batch("n1"))
	c.create(&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 100})
	c.create(schedtest.Pod("victim").CPU("3").Pod())
	c.until("the victim is placed", func() bool { return c.nodeOf("victim") == "n1" })
	c.create(schedtest.Pod("important").CPU("3").With(by("packer")).With(func(p *corev1.Pod) { p.Spec.PriorityClassName = "high" }).Pod())
	c.until("the victim's condition names the profile", func() bool {
		p, ok := c.pods.Get("default", "victim")
		return ok && slices.ContainsFunc(p.Status.Conditions, func(cond corev1.PodCondition) bool {
			return cond.Type == corev1.DisruptionTarget && strings.HasPrefix(cond.Message, "packer: ")
		})
	})
	c.until("it has its place", func() bool {
		c.endTerminating()
		return c.nodeOf("important") == "n1"
	})
}

// TestPodsOfOneServiceAreSpread: all nodes are alike but n1, which is so large
// that each pod alone is best off there.
func TestPodsOfOneServiceAreSpread(t *testing.T) {
	large := schedtest.Node("n1").Allocatable(corev1.ResourceCPU, "400").Allocatable(corev1.ResourceMemory, "800Gi")
	c := start(t, large, schedtest.Node("n2"), schedtest.Node("n3"))
	c.scheduler.groups.services.AddHandler(client.Handler[*corev1.Service]{OnAdd: func(*corev1.Service) { c.kick() }})
	c.create(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}},
	})
	c.until("the service is known", func() bool {
		_, ok := c.scheduler.groups.services.Get("default", "web")
		return ok
	})
	for i := range 3 {
		c.create(schedtest.Pod(fmt.Sprint("web-", i)).CPU("100m").Label("app", "web").Pod())
	}
	c.until("each is on a node of its own", func() bool {
		on := []string{c.nodeOf("web-0"), c.nodeOf("web-1"), c.nodeOf("web-2")}
		slices.Sort(on)
		return slices.Equal(on, []string{"n1", "n2", "n3"})
	})
}

func TestAdopt(t *testing.T) {
	config := parsed(t, `
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
parallelism: 3
percentageOfNodesToScore: 30
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 20
leaderElection: {leaderElect: false, resourceName: mine, leaseDuration: 30s}
`)
	c := DefaultConfig()
	if err := c.Adopt(config, func(flag string) bool { return flag == "parallelism" || flag == "leader-elect-lease-name" }); err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.PercentageOfNodes, want.InitialBackoff, want.MaxBackoff = 30, 2*time.Second, 20*time.Second
	want.LeaderElect, want.LeaseDuration, want.Profiles = false, 30*time.Second, config.Profiles
	if fmt.Sprintf("%+v", c) != fmt.Sprintf("%+v", want) {
		t.Errorf("%+v, not %+v", c, want)
	}
	for _, flag := range []string{"scheduler-name", "disable-plugins"} {
		if err := c.Adopt(config, func(given string) bool { return given == flag }); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s beside a file: %v", flag, err)
		}
	}
}
