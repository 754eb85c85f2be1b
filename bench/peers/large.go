package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	largeNodes = 5000
	// largeMemory is the most memory in MiB, and largeLatency the longest p99 in
	// seconds, of a control plane of that size.
	largeMemory  = 3 << 10
	largeLatency = 0.1

	replicasEach   = 1000 // pods of each Deployment
	leaseNamespace = "kube-node-lease"
	leasesPath     = "/apis/coordination.k8s.io/v1/namespaces/" + leaseNamespace + "/leases"
	heartbeat      = 10 * time.Second // of each node
	askers         = 4
	askEvery       = 50 * time.Millisecond // each of them
	askFor         = 20 * time.Second      // in a round
)

// measureLarge fills a cluster as large as Kubernetes supports, lets the nodes
// do to the API what kubelets do, and asks it for this and that.
func measureLarge(ctx context.Context, p *peers) ([]line, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pods := make(map[*server][]string)
	var bound pair
	for _, s := range p.both(0) {
		t := turn{server: s, peers: p, round: 1}
		names, err := t.fill(ctx, p.scale.largest, &bound)
		if err != nil {
			return nil, fmt.Errorf("fill %s: %w", s.name, err)
		}
		pods[s] = names
		if err := s.actAsNodes(ctx); err != nil {
			return nil, fmt.Errorf("nodes of %s: %w", s.name, err)
		}
	}
	if err := wait(ctx, settleTime); err != nil {
		return nil, err
	}
	var p50, p99, resident pair
	err := p.turns(ctx, func(ctx context.Context, t turn) error {
		var took samples
		_, used, err := t.spend(func() (err error) {
			took, err = t.ask(ctx, pods[t.server])
			return err
		})
		if err != nil {
			return err
		}
		p50.add(t, took.percentile(50).Seconds())
		p50.addSpent(t, used, int(askFor.Seconds()))
		p99.add(t, took.percentile(99).Seconds())
		mib, err := t.memory()
		resident.add(t, mib)
		return err
	})
	figure := fmt.Sprintf("%d nodes, %d pods: ", largeNodes, p.scale.largest)
	return []line{
		bound.atLeast(figure+"Deployments of 1,000 → bound", perSecond, 1),
		resident.atMost(figure+"memory of all services", mebibytes, largeMemory),
		p50.atMost(figure+"request, p50; a second", seconds, largeLatency),
		p99.atMost(figure+"request, p99", seconds, largeLatency),
	}, err
}

// fill makes nodes and pods and returns the names of some pods.
func (t turn) fill(ctx context.Context, pods int, bound *pair) ([]string, error) {
	if err := t.makeNodes(ctx, largeNodes); err != nil {
		return nil, err
	}
	w := workload{path: deployments, objects: func(pods int) []runtime.Object {
		var out []runtime.Object
		for ; pods > 0; pods -= replicasEach {
			d := oneDeployment(min(pods, replicasEach))[0].(*appsv1.Deployment)
			d.Name = fmt.Sprintf("large-%04d", len(out))
			d.Spec.Template.Labels = map[string]string{"app": d.Name}
			d.Spec.Selector.MatchLabels = d.Spec.Template.Labels
			out = append(out, d)
		}
		return out
	}}
	took, used, err := t.bind(ctx, w, pods)
	if err != nil {
		return nil, err
	}
	bound.add(t, float64(pods)/took.Seconds())
	bound.addSpent(t, used, pods)
	return t.somePods(ctx)
}

func (s *server) somePods(ctx context.Context) ([]string, error) {
	c := s.client()
	defer c.CloseIdleConnections()
	body, err := s.open(ctx, c, request{method: http.MethodGet, path: boundPods + "?limit=500"})
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	var list metav1.PartialObjectMetadataList
	if err := json.NewDecoder(body).Decode(&list); err != nil {
		return nil, fmt.Errorf("read the list of pods: %w", err)
	}
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names, nil
}

// actAsNodes watches each node's pods and renews each node's Lease until ctx
// ends, as agents do, though many nodes share a connection.
func (s *server) actAsNodes(ctx context.Context) error {
	c := s.client()
	for n := range s.nodes {
		if n%watchesPerConnection == 0 {
			c = s.client()
		}
		path := "/api/v1/pods?watch=true&allowWatchBookmarks=true&fieldSelector=spec.nodeName%3D" + nodeName(n)
		body, err := s.open(ctx, c, request{method: http.MethodGet, path: path, accept: protobufType + ";stream=watch"})
		if err != nil {
			return fmt.Errorf("watch the pods of %s: %w", nodeName(n), err)
		}
		go func() {
			defer func() { _ = body.Close() }()
			_, _ = io.Copy(io.Discard, body)
		}()
	}
	if err := s.makeLeases(ctx); err != nil {
		return fmt.Errorf("make Leases: %w", err)
	}
	go func() {
		for ctx.Err() == nil { // one that fails is renewed in the next round
			began := time.Now()
			_ = s.inParallel(ctx, s.nodes, func(ctx context.Context, c *http.Client, n int) error {
				due := began.Add(heartbeat * time.Duration(n) / time.Duration(s.nodes))
				if err := wait(ctx, time.Until(due)); err != nil {
					return err
				}
				renewed := fmt.Sprintf(`{"spec":{"renewTime":%q}}`, metav1.NowMicro().UTC().Format(metav1.RFC3339Micro))
				_, err := s.do(ctx, c, request{method: http.MethodPatch, path: leasesPath + "/" + nodeName(n), contentType: mergeType, body: []byte(renewed)})
				return err
			})
		}
	}()
	return nil
}

func (s *server) makeLeases(ctx context.Context) error {
	c := s.client()
	defer c.CloseIdleConnections()
	body, err := encode(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: leaseNamespace}})
	if err != nil {
		return err
	}
	if err := s.eventually(ctx, c, request{method: http.MethodPost, path: "/api/v1/namespaces", contentType: jsonType, body: body}); err != nil {
		return err
	}
	return s.inParallel(ctx, s.nodes, func(ctx context.Context, c *http.Client, n int) error {
		holder, seconds := nodeName(n), int32(40)
		body, err := encode(&coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: holder},
			Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds},
		})
		if err != nil {
			return err
		}
		_, err = s.do(ctx, c, request{method: http.MethodPost, path: leasesPath, contentType: jsonType, body: body})
		return err
	})
}

// ask sends what users and controllers do, by a few clients at an even pace, and
// returns how long each request took.
func (s *server) ask(ctx context.Context, pods []string) (samples, error) {
	var mu sync.Mutex
	var took samples
	end := time.Now().Add(askFor)
	err := s.inParallel(ctx, askers, func(ctx context.Context, c *http.Client, asker int) error {
		tick := time.NewTicker(askEvery)
		defer tick.Stop()
		for n := 0; time.Now().Before(end); n++ {
			<-tick.C
			for _, r := range s.questions(asker, n, pods[(n*askers+asker)%len(pods)]) {
				began := time.Now()
				if _, err := s.do(ctx, c, r); err != nil {
					return err
				}
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
			}
		}
		return nil
	})
	return took, err
}

// questions are the requests of one tick of a client.
func (s *server) questions(asker, n int, pod string) []request {
	name := fmt.Sprintf("asked-%d-%d", asker, n)
	switch node := nodeName((n*askers + asker) % s.nodes); n % 5 {
	case 0:
		return []request{{method: http.MethodGet, path: boundPods + "/" + pod}}
	case 1:
		return []request{{method: http.MethodGet, path: nodesPath + "/" + node}}
	case 2:
		return []request{{method: http.MethodGet, path: "/api/v1/pods?fieldSelector=spec.nodeName%3D" + node}}
	case 3:
		annotation := fmt.Appendf(nil, `{"metadata":{"annotations":{"bench/asked":"%d"}}}`, time.Now().UnixNano())
		return []request{{method: http.MethodPatch, path: boundPods + "/" + pod, contentType: mergeType, body: annotation}}
	default:
		body := fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q},"data":{"asked":"yes"}}`, name)
		return []request{
			{method: http.MethodPost, path: configMaps, contentType: jsonType, body: body},
			{method: http.MethodDelete, path: configMaps + "/" + name},
		}
	}
}
