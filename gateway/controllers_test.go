package gateway_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"navarch.dev/navarch/services/store/backend/memory"
	"navarch.dev/navarch/services/store/storetest"
)

// names collects the names that an informer's handlers are told of.
func names(t *testing.T, informer cache.SharedIndexInformer) <-chan string {
	t.Helper()
	seen := make(chan string, 16)
	tell := func(what string) func(any) {
		return func(o any) { seen <- what + " " + o.(metav1.Object).GetName() }
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: tell("add"), DeleteFunc: tell("delete")}); err != nil {
		t.Fatal(err)
	}
	go informer.Run(t.Context().Done())
	if !cache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
		t.Fatal("the informer did not sync")
	}
	return seen
}

// TestInformersOfEveryClient follows a resource by the typed, the dynamic and
// the metadata client.
func TestInformersOfEveryClient(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	ctx := t.Context()
	typed := c.clientset("application/vnd.kubernetes.protobuf")
	secrets := typed.CoreV1().Secrets("default")
	gvr := corev1.SchemeGroupVersion.WithResource("secrets")
	d, err := dynamic.NewForConfig(c.config("admin"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := metadata.NewForConfig(c.config("admin"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]<-chan string{
		"typed":    names(t, informers.NewSharedInformerFactory(typed, 0).Core().V1().Secrets().Informer()),
		"dynamic":  names(t, dynamicinformer.NewDynamicSharedInformerFactory(d, 0).ForResource(gvr).Informer()),
		"metadata": names(t, metadatainformer.NewSharedInformerFactory(m, 0).ForResource(gvr).Informer()),
	}
	if _, err := secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := secrets.Delete(ctx, "s", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for client, told := range seen {
		for _, want := range []string{"add s", "delete s"} {
			if got := <-told; got != want {
				t.Errorf("%s: told of %q, want %q", client, got, want)
			}
		}
	}
}

// TestWatchList streams the present objects, as client-go's reflectors do.
func TestWatchList(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	for _, contentType := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		maps := c.clientset(contentType).CoreV1().ConfigMaps("default")
		if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "m-"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		all, err := maps.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		yes := true
		w, err := maps.Watch(t.Context(), metav1.ListOptions{
			SendInitialEvents: &yes, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		for range all.Items {
			if e := <-w.ResultChan(); e.Type != watch.Added {
				t.Errorf("%s: %s before all objects were sent", contentType, e.Type)
			}
		}
		e := <-w.ResultChan()
		mark, ok := e.Object.(*corev1.ConfigMap)
		if e.Type != watch.Bookmark || !ok || mark.Annotations[metav1.InitialEventsAnnotationKey] != "true" || mark.ResourceVersion == "" {
			t.Errorf("%s: %s %+v, want the end of the initial events", contentType, e.Type, e.Object)
		}
		w.Stop()
	}
}

// TestInformerOutlivesItsServer: a gateway and its Store go away, others take
// their place on the same data. What changed meanwhile is seen, once.
func TestInformerOutlivesItsServer(t *testing.T) {
	t.Parallel()
	b := memory.New()
	t.Cleanup(func() { _ = b.Close() })
	c := newCluster(t, storetest.WithBackend(b))
	stop := c.serve(noNodes{})
	// The client is led to whichever port is served: no test can count on
	// getting the same one again.
	var address atomic.Value
	address.Store(strings.TrimPrefix(c.address, "https://"))
	cfg := c.config("admin")
	cfg.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address.Load().(string))
	}
	cs, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	seen := names(t, informers.NewSharedInformerFactory(cs, 0).Core().V1().Secrets().Informer())
	admin := storetest.New(t, storetest.WithBackend(b)).Client(storetest.Admin())
	for i := range 2 {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("s%d", i)}}
		if i == 1 {
			stop()
		}
		if err := admin.Create(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			c.store = newStore(t, storetest.WithBackend(b))
			c.serve(noNodes{})
			address.Store(strings.TrimPrefix(c.address, "https://"))
		}
		if got := <-seen; got != "add "+secret.Name {
			t.Errorf("told of %q, want %s to be added", got, secret.Name)
		}
	}
}

// TestLeaderElection elects one of two, and the other when it leaves.
func TestLeaderElection(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	cs := c.clientset("application/vnd.kubernetes.protobuf")
	leaders := make(chan string, 4)
	run := func(ctx context.Context, name string) {
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta: metav1.ObjectMeta{Namespace: "default", Name: "lock"}, Client: cs.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: name},
			},
			LeaseDuration: time.Minute, RenewDeadline: 50 * time.Second, RetryPeriod: 50 * time.Millisecond,
			ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { leaders <- name },
				OnStoppedLeading: func() {},
			},
		})
	}
	first, leave := context.WithCancel(t.Context())
	defer leave()
	ended := make(chan struct{})
	go func() { defer close(ended); run(first, "a") }()
	if got := <-leaders; got != "a" {
		t.Fatalf("%s leads, alone is a", got)
	}
	second, end := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() { defer close(over); run(second, "b") }()
	leave()
	<-ended
	if got := <-leaders; got != "b" {
		t.Errorf("%s leads after a has left", got)
	}
	end()
	<-over
}
