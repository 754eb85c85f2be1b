package resilience_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/testcluster"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// etcdVariable makes this program an etcd: its value is a folder and an address.
const etcdVariable = "NAVARCH_TEST_ETCD"

func TestMain(m *testing.M) {
	if dir, address, ok := strings.Cut(os.Getenv(etcdVariable), "|"); ok {
		e, err := embed.StartEtcd(etcdConfig(dir, address))
		if err == nil {
			err = <-e.Err()
		}
		fmt.Fprintln(os.Stderr, "etcd:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// etcdProcess is an etcd that can be killed and comes back with its data.
type etcdProcess struct {
	dir, address string
	cmd          *exec.Cmd
}

func startEtcdProcess(t *testing.T) *etcdProcess {
	t.Helper()
	e := &etcdProcess{dir: filepath.Join(t.TempDir(), "etcd"), address: unusedAddress(t)}
	e.start(t)
	t.Cleanup(func() { e.kill() })
	return e
}

func (e *etcdProcess) start(t *testing.T) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e.cmd = exec.Command(program)
	e.cmd.Env = append(os.Environ(), etcdVariable+"="+e.dir+"|"+e.address)
	e.cmd.Stderr = os.Stderr
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (e *etcdProcess) kill() {
	_ = syscall.Kill(e.cmd.Process.Pid, syscall.SIGKILL)
	_ = e.cmd.Wait()
}

// history is what watches of one Store have told of the objects of a resource.
type history struct {
	resource *storev1.Resource

	mu       sync.Mutex // guards the fields below
	versions map[string]uint64
	revision uint64
	watches  int
	problems []string
}

// follow watches a resource as clients do, from the present objects on: a watch
// that breaks is resumed after the last event.
func follow(t *testing.T, c *client.Client, resource *storev1.Resource) *history {
	t.Helper()
	h := &history{resource: resource, versions: make(map[string]uint64)}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := apistatus.FromGRPC(h.watch(ctx, c)); apierrors.IsResourceExpired(err) {
				h.problem("events were missed: %v", err)
				return
			}
		}
	})
	return h
}

func (h *history) watch(ctx context.Context, c *client.Client) error {
	request := &storev1.WatchRequest{Resource: h.resource, AllowBookmarks: true, Projection: storev1.Projection_PROJECTION_METADATA}
	if revision := h.reached(); revision > 0 {
		request.ResourceVersion = strconv.FormatUint(revision, 10)
	} else {
		request.SendInitialEvents = true
	}
	stream, err := c.Store().Watch(ctx, request)
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.watches++
	h.mu.Unlock()
	for {
		resp, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, e := range resp.GetEvents().GetEvents() {
			if err := h.take(e); err != nil {
				h.problem("%v", err)
			}
		}
	}
}

// take adds an event to the history. The first ones, until the bookmark that ends
// them, are the objects that there were, in no order.
func (h *history) take(e *storev1.WatchEvent) error {
	version, err := strconv.ParseUint(e.GetResourceVersion(), 10, 64)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if version < h.revision {
		return fmt.Errorf("an event of %d came after %d", version, h.revision)
	}
	bookmark := e.GetType() == storev1.WatchEvent_TYPE_BOOKMARK
	if h.revision > 0 || bookmark && e.GetInitialEventsEnd() {
		h.revision = version
	}
	if bookmark {
		return nil
	}
	obj := &metav1.PartialObjectMetadata{}
	if err := kinds.Decode(e.GetObject().GetObject(), obj); err != nil {
		return err
	}
	key := obj.Namespace + "/" + obj.Name
	before, known := h.versions[key]
	if known == (e.GetType() == storev1.WatchEvent_TYPE_ADDED) || known && version <= before {
		return fmt.Errorf("%s: %s of %d, when %d was known", key, e.GetType(), version, before)
	}
	if h.versions[key] = version; e.GetType() == storev1.WatchEvent_TYPE_DELETED {
		delete(h.versions, key)
	}
	return nil
}

func (h *history) problem(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.problems = append(h.problems, fmt.Sprintf(format, args...))
}

func (h *history) reached() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.revision
}

// check compares what the history has led to with a list.
func (h *history) check(t *testing.T, c *client.Client, kind *kinds.Kind) {
	t.Helper()
	testcluster.Eventually(t, "the history of "+kind.Resource+" leads to what there is", func() error {
		objs, err := c.ListMetadata(t.Context(), kind, "")
		if err != nil {
			return err
		}
		listed := make(map[string]uint64)
		for _, o := range objs {
			if listed[o.Namespace+"/"+o.Name], err = strconv.ParseUint(o.ResourceVersion, 10, 64); err != nil {
				return err
			}
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.problems) > 0 {
			t.Fatalf("%s: %s", kind.Resource, strings.Join(h.problems, "\n"))
		}
		if !maps.Equal(listed, h.versions) {
			return fmt.Errorf("listed are %v, the history has %v", listed, h.versions)
		}
		return nil
	})
	if h.watches != 1 {
		t.Errorf("the watch of %s had to be begun %d times, though its Store lived on", kind.Resource, h.watches)
	}
}

// writer makes one ConfigMap after the other at one of the Stores.
type writer struct {
	client *client.Client
	name   string
	count  atomic.Int64 // of those that were acknowledged

	acknowledged []string // not to be read before the writer has ended
}

func (w *writer) run(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("%s-%d", w.name, n)}}
		if err := w.client.Create(ctx, cm); err == nil { // an error promises nothing
			w.acknowledged = append(w.acknowledged, "default/"+cm.Name)
			w.count.Add(1)
			continue
		}
		select { // a Store without etcd refuses fast
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// has waits until a writer has written so many more objects.
func (w *writer) has(t *testing.T, more int64) {
	t.Helper()
	want := w.count.Load() + more
	testcluster.Eventually(t, "writes are acknowledged", func() error {
		if have := w.count.Load(); have < want {
			return fmt.Errorf("%s has %d of %d", w.name, have, want)
		}
		return nil
	})
}

// readyPods waits until a Deployment has so many pods that are ready.
func readyPods(t *testing.T, c *client.Client, name string, want int32) {
	t.Helper()
	testcluster.Eventually(t, fmt.Sprintf("%d pods are ready", want), func() error {
		d := &appsv1.Deployment{}
		if err := c.Get(t.Context(), "default", name, d); err != nil {
			return err
		}
		if d.Status.ObservedGeneration != d.Generation || d.Status.Replicas != want || d.Status.ReadyReplicas != want {
			return fmt.Errorf("the status is %+v", d.Status)
		}
		return nil
	})
}

// TestEtcdIsLost kills the etcd of two Stores, with a Controller, a Scheduler, hollow
// nodes, watchers and writers at work. The Stores say that they cannot write, and go on reading
// from memory; when etcd is back, so is everything, and no watch has missed an
// event.
func TestEtcdIsLost(t *testing.T) {
	etcd := startEtcdProcess(t)
	s := startStores(t, "http://"+etcd.address)
	s.start(t, "scheduler", "scheduler", "--store", strings.Join(s.addresses, ","), "--listen", unusedAddress(t))
	s.run(t, "hollow", "hollow", "--nodes", "2", "--store", strings.Join(s.addresses, ","),
		"--ca-file", filepath.Join(s.dir, "ca.crt"), "--ca-key-file", filepath.Join(s.dir, "ca.key"))
	clients := []*client.Client{
		client.New(s.dial(t, "admin", s.addresses[:1]), "test"), client.New(s.dial(t, "admin", s.addresses[1:]), "test"),
	}
	web := webDeployment(3)
	if err := clients[0].Create(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	readyPods(t, clients[1], web.Name, 3)

	var histories []*history
	followed := make(map[*history]followedKind)
	for i, c := range clients {
		for _, resource := range []string{"configmaps", "pods"} {
			h := follow(t, c, &storev1.Resource{Version: "v1", Resource: resource})
			kind, ok := kinds.Default().ForResource(corev1.SchemeGroupVersion.WithResource(resource))
			if !ok {
				t.Fatal(resource)
			}
			histories, followed[h] = append(histories, h), followedKind{clients[1-i], kind} // compared with what the other Store lists
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writing sync.WaitGroup
	writers := []*writer{{client: clients[0], name: "one"}, {client: clients[1], name: "two"}}
	for _, w := range writers {
		writing.Go(func() { w.run(ctx) })
	}
	for _, w := range writers {
		w.has(t, 20)
	}

	etcd.kill()
	var asking sync.WaitGroup
	for i, c := range clients {
		asking.Go(func() { withoutEtcd(t, i, c) })
	}
	asking.Wait()
	etcd.start(t)

	for _, w := range writers {
		w.has(t, 20)
	}
	stop()
	writing.Wait()
	err := clients[1].Patch(t.Context(), web, types.MergePatchType, []byte(`{"spec":{"replicas":5}}`), "")
	if err != nil {
		t.Fatal(err)
	}
	readyPods(t, clients[0], web.Name, 5)
	for _, h := range histories {
		h.check(t, followed[h].client, followed[h].kind)
	}
	for _, w := range writers {
		for _, key := range w.acknowledged {
			if _, ok := histories[0].versions[key]; !ok {
				t.Errorf("ConfigMap %s was acknowledged and is lost", key)
			}
		}
	}
}

// followedKind is what a history is compared with.
type followedKind struct {
	client *client.Client
	kind   *kinds.Kind
}

// withoutEtcd asks a Store that has lost its etcd. The time that it may take is
// bounded by much more than the Store promises.
func withoutEtcd(t *testing.T, i int, c *client.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cm := func(name string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	}
	calls := map[string]func() error{
		"a creation":           func() error { return c.Create(ctx, cm(fmt.Sprint("refused-", i))) },
		"a change":             func() error { return c.Patch(ctx, cm("one-0"), types.MergePatchType, []byte(`{"data":{"a":"b"}}`), "") },
		"a deletion":           func() error { return c.Delete(ctx, cm("one-0"), client.DeleteOptions{}) },
		"the newest":           func() error { return c.Get(ctx, "default", "one-0", cm("")) },
		"a list of the newest": func() error { return c.List(ctx, &corev1.ConfigMapList{}, client.ListOptions{}) },
	}
	var wg sync.WaitGroup
	for what, call := range calls {
		wg.Go(func() {
			if err := call(); !apierrors.IsServiceUnavailable(err) {
				t.Errorf("Store %d without etcd answers %s with: %v", i, what, err)
			}
		})
	}
	var list corev1.ConfigMapList
	if err := c.List(ctx, &list, client.ListOptions{ResourceVersion: "0"}); err != nil || len(list.Items) < 20 {
		t.Errorf("Store %d without etcd lists %d ConfigMaps from memory: %v", i, len(list.Items), err)
	}
	stream, err := c.Store().Watch(ctx, &storev1.WatchRequest{
		Resource: &storev1.Resource{Version: "v1", Resource: "configmaps"}, ResourceVersion: "0",
	})
	for begun := false; err == nil && !begun; {
		var resp *storev1.WatchResponse
		resp, err = stream.Recv()
		begun = len(resp.GetEvents().GetEvents()) > 0
	}
	if err != nil {
		t.Errorf("Store %d without etcd begins no watch from memory: %v", i, err)
	}
	wg.Wait()
}

func webDeployment(replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(replicas), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					AutomountServiceAccountToken: ptr.To(false), // there is no authority's certificate to mount beside it
					Containers:                   []corev1.Container{{Name: "main", Image: "app:1"}},
				},
			},
		},
	}
}
