package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	boundNamespace = "bound"
	boundPods      = "/api/v1/namespaces/" + boundNamespace + "/pods"
	deployments    = "/apis/apps/v1/namespaces/" + boundNamespace + "/deployments"
	replicaSets    = "/apis/apps/v1/namespaces/" + boundNamespace + "/replicasets"
	// boundWithin is how long a side may take until all pods have nodes, and
	// stalledAfter how long until one more has.
	boundWithin  = 20 * time.Minute
	stalledAfter = 3 * time.Minute
	// forgottenWithin is how long a side may take until all are gone.
	forgottenWithin = 10 * time.Minute
)

// workload is pods that get their nodes. What is measured is the time from
// before the first is created until a watcher has seen the last one's node.
type workload struct {
	row, name string
	nodes     int
	// part of the pods of a round that this one has: all, half, …
	part   int
	target float64
	path   string
	// objects are what is created for so many pods.
	objects func(pods int) []runtime.Object
	// apart says that no two pods may be on one node.
	apart bool
}

// workloads are in the order of their numbers of nodes.
func workloads() []workload {
	return []workload{
		{row: "bare-1000", name: "%d pods, 1,000 nodes: create → bound", nodes: 1000, part: 1, target: 8, path: boundPods, objects: manyPods(plainPod)},
		{row: "bare-5000", name: "%d pods, 5,000 nodes: create → bound", nodes: 5000, part: 1, target: 8, path: boundPods, objects: manyPods(plainPod)},
		{row: "deployment", name: "Deployment of %d, 5,000 nodes: create → bound", nodes: 5000, part: 1, target: 10, path: deployments, objects: oneDeployment},
		{row: "antiaffinity", name: "%d pods that keep apart, 5,000 nodes", nodes: 5000, part: 5, target: 20, path: boundPods, objects: manyPods(apartPod), apart: true},
		{row: "spread", name: "%d pods that spread, 5,000 nodes", nodes: 5000, part: 5, target: 20, path: boundPods, objects: manyPods(spreadPod)},
	}
}

func (w workload) measure(ctx context.Context, p *peers) ([]line, error) {
	pods := max(p.scale.bound/w.part, 1)
	for _, s := range p.both(0) {
		if err := s.makeNodes(ctx, w.nodes); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	var rate pair
	err := p.turns(ctx, func(ctx context.Context, t turn) error {
		if err := p.calm(ctx); err != nil {
			return err
		}
		took, used, err := t.bind(ctx, w, pods)
		if err != nil {
			return err
		}
		perPod := used.each(pods)
		fmt.Fprintf(os.Stderr, "  round %d: %s: %.0f pods/s, %s each\n", t.round, t.name, float64(pods)/took.Seconds(), perPod)
		rate.add(t, float64(pods)/took.Seconds())
		rate.addSpent(t, used, pods)
		return t.forgetBound(ctx)
	})
	return []line{rate.atLeast(fmt.Sprintf(w.name, pods), perSecond, w.target)}, err
}

// bind creates the workload's objects and waits until its pods have nodes. It
// returns what that took. Connections are made and requests encoded before.
func (t turn) bind(ctx context.Context, w workload, pods int) (time.Duration, spent, error) {
	ctx, cancel := context.WithTimeout(ctx, boundWithin)
	defer cancel()
	var creates []request
	for _, obj := range w.objects(pods) {
		body, err := encode(obj)
		if err != nil {
			return 0, spent{}, err
		}
		creates = append(creates, request{method: http.MethodPost, path: w.path, contentType: jsonType, body: body})
	}
	await, err := t.watchBound(ctx, pods)
	if err != nil {
		return 0, spent{}, err
	}
	callers, err := t.dialAll(ctx, min(clients, len(creates)))
	if err != nil {
		return 0, spent{}, err
	}
	defer closeAll(callers)
	return t.spend(func() error {
		if err := callAll(ctx, callers, creates); err != nil {
			return fmt.Errorf("create: %w", err)
		}
		return await(pods, w.apart)
	})
}

// watchBound begins to watch pods that have nodes, of which there will be at
// most so many. What it returns waits until so many were seen.
func (s *server) watchBound(ctx context.Context, most int) (await func(pods int, apart bool) error, err error) {
	body, err := s.openBound(ctx, "")
	if err != nil {
		return nil, err
	}
	names := make(chan string, most) // room for all: a server does not wait for those who read slowly
	var ended error                  // says why names was closed
	go func() {
		defer close(names)
		for last := ""; ended == nil; {
			if last, ended = readBound(body, names, last); ended != nil {
				return
			}
			// A server that has more to say than is read ends the watch. Clients
			// go on where it ended.
			if ended = wait(ctx, 10*time.Millisecond); ended == nil {
				body, ended = s.openBound(ctx, last)
			}
		}
	}()
	return func(pods int, apart bool) error {
		taken := make(map[string]int)
		stalled := time.NewTimer(stalledAfter)
		defer stalled.Stop()
		for seen := range pods {
			var name string
			var ok bool
			select {
			case name, ok = <-names:
			case <-stalled.C:
				return fmt.Errorf("%d of %d pods have nodes, and none has got one for %s", seen, pods, stalledAfter)
			}
			if !ok {
				return fmt.Errorf("%d of %d pods have nodes: the watch ended: %w", seen, pods, ended)
			}
			stalled.Reset(stalledAfter)
			if taken[name]++; apart && taken[name] > 1 {
				return fmt.Errorf("two pods that keep apart are on node %s", name)
			}
		}
		return nil
	}, nil
}

func (s *server) openBound(ctx context.Context, from string) (io.ReadCloser, error) {
	body, err := s.open(ctx, s.client(), request{
		method: http.MethodGet, path: boundPods + "?watch=true&fieldSelector=spec.nodeName%21%3D&resourceVersion=" + from,
	})
	if err != nil {
		return nil, fmt.Errorf("watch bound pods: %w", err)
	}
	return body, nil
}

// readBound sends the node of each pod that gets one, until the watch ends, and
// returns how far it came.
func readBound(body io.ReadCloser, names chan<- string, last string) (string, error) {
	defer func() { _ = body.Close() }()
	lines := bufio.NewReaderSize(body, 64<<10)
	for {
		event, err := lines.ReadSlice('\n')
		switch {
		case err != nil:
			return last, nil
		case bytes.HasPrefix(event, []byte(`{"type":"ERROR"`)):
			return last, fmt.Errorf("from %q: %s", last, event)
		}
		last = stringField(event, "resourceVersion")
		if !bytes.HasPrefix(event, []byte(`{"type":"ADDED"`)) {
			continue
		}
		select {
		case names <- stringField(event, "nodeName"):
		default:
			return last, fmt.Errorf("more than %d pods have nodes", cap(names))
		}
	}
}

// stringField returns the first field of a name in JSON, without decoding it.
func stringField(json []byte, name string) string {
	_, after, _ := bytes.Cut(json, []byte(`"`+name+`":"`))
	value, _, _ := bytes.Cut(after, []byte(`"`))
	return string(value)
}

// forgetBound removes what a workload has made, as nobody does it for it: no
// garbage is collected and no agent runs.
func (s *server) forgetBound(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, forgottenWithin)
	defer cancel()
	c := s.client()
	defer c.CloseIdleConnections()
	for _, path := range []string{deployments, replicaSets, boundPods} {
		now := request{method: http.MethodDelete, path: path + "?gracePeriodSeconds=0&propagationPolicy=Background"}
		if _, err := s.do(ctx, c, now); err != nil {
			return fmt.Errorf("delete %s: %w", path, err)
		}
		for {
			head, _, err := s.skim(ctx, c, request{method: http.MethodGet, path: path + "?limit=1"}, 4<<10)
			if err != nil {
				return fmt.Errorf("list %s: %w", path, err)
			}
			if !bytes.Contains(head, []byte(`"uid":`)) {
				break
			}
			if err := wait(ctx, 100*time.Millisecond); err != nil {
				return err
			}
			if _, err := s.do(ctx, c, now); err != nil {
				return fmt.Errorf("delete %s: %w", path, err)
			}
		}
	}
	return nil
}

// manyPods makes pods with names of their own.
func manyPods(template func() corev1.PodTemplateSpec) func(int) []runtime.Object {
	return func(pods int) []runtime.Object {
		out := make([]runtime.Object, pods)
		for n := range out {
			t := template()
			t.Name = fmt.Sprintf("bound-%05d", n)
			out[n] = &corev1.Pod{ObjectMeta: t.ObjectMeta, Spec: t.Spec}
		}
		return out
	}
}

func oneDeployment(pods int) []runtime.Object {
	replicas := int32(pods)
	template := plainPod()
	return []runtime.Object{&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "bound"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: template.Labels}, Template: template,
		},
	}}
}

// plainPod asks for what the pods of kube-scheduler's own benchmarks do.
func plainPod() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "bound"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "main", Image: "registry.example.com/team/backend:v1.2.3",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("500Mi"),
			}},
		}}},
	}
}

// apartPod is never on a node with another one.
func apartPod() corev1.PodTemplateSpec {
	t := plainPod()
	t.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			LabelSelector: &metav1.LabelSelector{MatchLabels: t.Labels}, TopologyKey: corev1.LabelHostname,
		}},
	}}
	return t
}

// spreadPod keeps the zones even, and prefers even nodes.
func spreadPod() corev1.PodTemplateSpec {
	t := plainPod()
	selector := &metav1.LabelSelector{MatchLabels: t.Labels}
	t.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{
		{MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: selector},
		{MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: selector},
	}
	return t
}
