package podset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/ownership"
	"navarch.dev/navarch/services/controller/runner"
)

// BurstLimit is the most pods that one reconcile creates or deletes.
const BurstLimit = 500

// settleTimeout is the longest wait for the informer to show our own writes
// before looking again. Usually the writes' events wake the key much sooner.
const settleTimeout = time.Second

// Control knows, creates and deletes the pods of one kind of owner.
type Control struct {
	Client *client.Client
	Events runner.EventRecorder
	Pods   *client.Informer[*corev1.Pod]
	// Finalizer is what pods get that are adopted; "" is none.
	Finalizer string

	relation *ownership.Relation[*corev1.Pod]
	tracker  *Tracker
}

// Selects returns the selector of an owner of type O.
type Selects[O kinds.Object] func(O) (labels.Selector, error)

// NewControl returns the control of a reconciler of owners. Its events come from
// the named component, for example "job-controller".
func NewControl[O kinds.Object](deps runner.Deps, component string, owners *client.Informer[O], selects Selects[O]) (*Control, error) {
	pods, err := client.InformerFor[*corev1.Pod](deps.Informers, ownership.Indexers())
	if err != nil {
		return nil, err
	}
	relation, err := ownership.Relate[*corev1.Pod](deps.Informers, owners, selects)
	if err != nil {
		return nil, err
	}
	return &Control{Client: deps.Client, Events: deps.Events(component), Pods: pods, relation: relation, tracker: NewTracker(pods)}, nil
}

// NewController returns the controller of a reconciler of owners, which follows them and
// their pods.
func NewController[O kinds.Object](name string, r runner.Reconciler, deps runner.Deps, c *Control, owners *client.Informer[O]) *runner.Controller {
	controller := runner.New(name, r, deps, runner.Options{Trace: owners.TraceContext})
	runner.Primary(controller, owners)
	runner.Watch(controller, c.Pods, runner.Input[*corev1.Pod]{Keys: c.relation.Keys})
	return controller
}

// Settled says whether the informer shows every pod that was created and
// deleted for the owner of a key. If not, nothing may be counted, and the
// reconcile ends with the outcome.
func (c *Control) Settled(key string) (wait runner.Outcome, settled bool) {
	if c.tracker.Settled(key) {
		return runner.Done(), true
	}
	return runner.RequeueAfter(settleTimeout), false
}

// Forget drops what is known of an owner that is gone.
func (c *Control) Forget(key string) { c.tracker.Forget(key) }

// Claim returns the pods that belong to the owner, after adopting and
// releasing where needed. Pods that except names are left alone; it may be nil.
func (c *Control) Claim(ctx context.Context, owner kinds.Object, selector *metav1.LabelSelector, except func(*corev1.Pod) bool) ([]*corev1.Pod, error) {
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, runner.Terminal(fmt.Errorf("read the selector: %w", err))
	}
	candidates, err := c.relation.Candidates(owner, s)
	if err != nil {
		return nil, err
	}
	if except != nil {
		candidates = slices.DeleteFunc(candidates, except)
	}
	return ownership.Claim(ctx, ownership.Claimer{Client: c.Client, Owner: owner, Selector: s, Finalizer: c.Finalizer}, candidates)
}

// Create creates pods of the owner, at first one, then twice as many at a time
// after each batch without an error, so that a quota that is used up or a
// template that nobody accepts costs a few requests and not hundreds. It
// returns how many were created. A namespace that is being deleted is no
// error: there is just nothing to create.
func (c *Control) Create(ctx context.Context, owner kinds.Object, pods []*corev1.Pod) (created int, err error) {
	for size := 1; len(pods) > 0; size *= 2 {
		batch := pods[:min(size, len(pods))]
		pods = pods[len(batch):]
		n, err := inParallel(batch, func(pod *corev1.Pod) error { return c.create(ctx, owner, pod) })
		created += n
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return created, nil
		}
		if err != nil {
			return created, err
		}
	}
	return created, nil
}

func (c *Control) create(ctx context.Context, owner kinds.Object, pod *corev1.Pod) error {
	err := c.Client.Create(ctx, pod)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return err
	}
	if err != nil {
		c.Events.Event(owner, corev1.EventTypeWarning, "FailedCreate", "Error creating: "+err.Error())
		return fmt.Errorf("create a pod of %s: %w", cache.MetaObjectToName(owner), err)
	}
	c.tracker.Created(cache.MetaObjectToName(owner).String(), pod)
	c.Events.Event(owner, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: "+pod.Name)
	return nil
}

// Delete deletes pods of the owner, all at once. Pods that are gone already
// are no error.
func (c *Control) Delete(ctx context.Context, owner kinds.Object, pods []*corev1.Pod) error {
	_, err := inParallel(pods, func(pod *corev1.Pod) error { return c.delete(ctx, owner, pod) })
	return err
}

func (c *Control) delete(ctx context.Context, owner kinds.Object, pod *corev1.Pod) error {
	err := c.Client.Delete(ctx, pod, client.DeleteOptions{UID: pod.UID})
	if err != nil && !apierrors.IsNotFound(err) {
		c.Events.Event(owner, corev1.EventTypeWarning, "FailedDelete", "Error deleting: "+err.Error())
		return fmt.Errorf("delete pod %s: %w", cache.MetaObjectToName(pod), err)
	}
	c.tracker.Deleted(cache.MetaObjectToName(owner).String(), pod)
	if err == nil {
		c.Events.Event(owner, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: "+pod.Name)
	}
	return nil
}

// inParallel calls do for every pod and returns how many calls succeeded.
func inParallel(pods []*corev1.Pod, do func(*corev1.Pod) error) (succeeded int, err error) {
	errs := make([]error, len(pods))
	var wg sync.WaitGroup
	for i, pod := range pods {
		wg.Go(func() { errs[i] = do(pod) })
	}
	wg.Wait()
	for _, e := range errs {
		if e == nil {
			succeeded++
		}
	}
	return succeeded, errors.Join(errs...)
}
