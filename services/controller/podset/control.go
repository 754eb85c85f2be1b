package podset

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/runner"
)

// BurstLimit is the most pods that one reconcile creates or deletes.
const BurstLimit = 500

// Control creates and deletes pods for one kind of owner.
type Control struct {
	Client  *client.Client
	Events  runner.EventRecorder
	Tracker *Tracker
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
	c.Tracker.Created(cache.MetaObjectToName(owner).String(), pod)
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
	c.Tracker.Deleted(cache.MetaObjectToName(owner).String(), pod)
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
