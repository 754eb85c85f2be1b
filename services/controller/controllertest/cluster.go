// Package controllertest runs reconcilers over a real Store in the test's
// process. A test states what is in the Store, and awaits what becomes of it.
package controllertest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/customkinds"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/controller/inventory"
	"navarch.dev/navarch/services/controller/runner"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/storetest"
)

// patience bounds every wait; a test that reaches it has failed.
const patience = 20 * time.Second

// Cluster is a Store, and the informers and controllers over it.
type Cluster struct {
	*client.Client
	Deps      runner.Deps
	Inventory *inventory.Inventory
	Events    *Events

	t     testing.TB
	ctx   context.Context
	gates *gates

	custom *customkinds.Follower
}

// New returns a cluster without controllers. Make them from its Deps, then
// call Start. Storage is not protected from removal unless the controllers that
// protect it are made: nobody else would let it go. The options are those of its
// Store.
func New(t testing.TB, opts ...storetest.Option) *Cluster {
	t.Helper()
	store := storetest.New(t, append([]storetest.Option{storetest.WithoutRules(admission.StorageObjectInUse)}, opts...)...)
	gates := newGates()
	conn := runner.TracedConn(gates.over(store.Conn(identity.Service(identity.Controller))))
	tel := telemetry.Discard("controller")
	metrics, err := runner.NewMetrics(tel.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	c := client.New(conn, "controllertest")
	custom, err := customkinds.New(c, kinds.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	recorded := &Events{}
	return &Cluster{
		// A test acts as an administrator, its controllers as what they are.
		Client: client.New(store.Conn(storetest.Admin()), "controllertest"), Events: recorded, t: t, ctx: t.Context(), gates: gates, Inventory: inventory.New(c, custom), custom: custom,
		Deps: runner.Deps{
			Client: c, Informers: client.NewInformers(c), Kinds: custom.Registry(), Telemetry: tel, Metrics: metrics, Feed: runner.NewFeed(),
			Events: func(string) runner.EventRecorder { return recorded },
		},
	}
}

// Controller fails the test if a controller could not be made.
func (c *Cluster) Controller(made *runner.Controller, err error) *runner.Controller {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
	return made
}

// Start starts the informers and runs the controllers until the test ends.
func (c *Cluster) Start(all ...*runner.Controller) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.ctx)
	var wg sync.WaitGroup
	c.t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	if err := c.Deps.Informers.Start(ctx); err != nil {
		c.t.Fatal(err)
	}
	wg.Go(func() { c.custom.Run(ctx) })
	if err := c.Inventory.Start(ctx, &wg); err != nil {
		c.t.Fatal(err)
	}
	for _, one := range all {
		wg.Go(func() { one.Run(ctx) })
	}
}

// Apply creates objects.
func (c *Cluster) Apply(objs ...kinds.Object) {
	c.t.Helper()
	for _, obj := range objs {
		if err := c.Create(c.ctx, obj); err != nil {
			c.t.Fatalf("create %T %s: %v", obj, obj.GetName(), err)
		}
	}
}

// Change reads an object, lets change alter it and writes it; the status
// subresource if that is asked for.
func Change[T kinds.Object](c *Cluster, obj T, subresource string, change func(T)) {
	c.t.Helper()
	err := c.RetryOnConflict(c.ctx, obj, func() bool { change(obj); return true }, func(ctx context.Context, o kinds.Object) error {
		return c.UpdateSubresource(ctx, o, subresource)
	})
	if err != nil {
		c.t.Fatalf("change %T %s: %v", obj, obj.GetName(), err)
	}
}

// Remove deletes an object, in a way if one is named.
func (c *Cluster) Remove(obj kinds.Object, way metav1.DeletionPropagation) {
	c.t.Helper()
	if err := c.Delete(c.ctx, obj, client.DeleteOptions{Propagation: way}); err != nil {
		c.t.Fatalf("delete %T %s: %v", obj, obj.GetName(), err)
	}
}

// Gone says whether an object is not in the Store.
func (c *Cluster) Gone(obj kinds.Object) bool {
	c.t.Helper()
	kind, err := kinds.Default().ForObject(obj)
	if err != nil {
		c.t.Fatal(err)
	}
	err = c.Get(c.ctx, obj.GetNamespace(), obj.GetName(), kind.New())
	if err != nil && !apierrors.IsNotFound(err) {
		c.t.Fatal(err)
	}
	return err != nil
}

// Await follows all objects of type T until they satisfy a condition, and
// returns them, ordered by name.
func Await[T kinds.Object](c *Cluster, what string, holds func(all []T) bool) []T {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	informer, err := client.NewInformer[T](c.Client, client.InformerOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	changed := make(chan struct{}, 1)
	wake := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	informer.AddHandler(client.Handler[T]{
		OnAdd: func(T) { wake() }, OnUpdate: func(T, T) { wake() }, OnDelete: func(T) { wake() },
	})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { informer.Run(ctx) })
	synced := informer.Synced()
	for {
		select {
		case <-changed:
		case <-synced:
			synced = nil
		case <-ctx.Done():
			c.t.Fatalf("waited in vain for: %s\nthere is: %+v", what, informer.List())
		}
		all := informer.List()
		slices.SortFunc(all, func(a, b T) int { return compareNames(a, b) })
		if synced == nil && holds(all) {
			return all
		}
	}
}

func compareNames(a, b kinds.Object) int {
	x, y := a.GetNamespace()+"/"+a.GetName(), b.GetNamespace()+"/"+b.GetName()
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// Events keeps recorded events.
type Events struct {
	mu  sync.Mutex
	all []string
	// more is closed, and replaced, when an event comes; nil if nobody waits.
	more chan struct{}
}

// Event implements runner.EventRecorder.
func (e *Events) Event(obj kinds.Object, eventType, reason, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, eventType+" "+reason+" "+obj.GetName()+": "+message)
	if e.more != nil {
		close(e.more)
		e.more = nil
	}
}

// AwaitEvent waits for an event that has the text, written as Events.All
// writes them.
func (c *Cluster) AwaitEvent(text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	for {
		found, more := c.Events.look(text)
		if found {
			return
		}
		select {
		case <-more:
		case <-ctx.Done():
			c.t.Fatalf("waited in vain for the event %q\nthere is: %q", text, c.Events.All())
		}
	}
}

// look says whether there is an event with the text, and what tells of more.
func (e *Events) look(text string) (found bool, more <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.more == nil {
		e.more = make(chan struct{})
	}
	return slices.ContainsFunc(e.all, func(have string) bool { return strings.Contains(have, text) }), e.more
}

// All returns the events so far, as "Type Reason object: message".
func (e *Events) All() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.all)
}

// Template is a pod template with one container and the label app.
func Template(app, image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}},
	}
}

// Selector matches what Template labels.
func Selector(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}
