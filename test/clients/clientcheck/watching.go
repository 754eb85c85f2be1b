package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// watchList asks a watch for the initial state, as reflectors do instead of a
// list.
func watchList(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	all := true
	w, err := client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{
		SendInitialEvents: &all, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true,
	})
	if err != nil {
		return err
	}
	defer w.Stop()
	pods := 0
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("no end of the initial events: %w", ctx.Err())
		case event, ok := <-w.ResultChan():
			pod, isPod := event.Object.(*corev1.Pod)
			switch {
			case !ok || !isPod:
				return fmt.Errorf("an unexpected event: %+v", event)
			case event.Type == watch.Added:
				pods++
			case event.Type == watch.Bookmark && pod.Annotations[metav1.InitialEventsAnnotationKey] == "true":
				if pods == 0 || pod.ResourceVersion == "" {
					return fmt.Errorf("the initial events end at version %q after %d pods", pod.ResourceVersion, pods)
				}
				return nil
			}
		}
	}
}

// informer keeps a shared informer through a restart of the servers. It prints
// "synced" when the test may restart them, and ends when it has seen the
// ConfigMap "after" that the test makes then; what was there before must have
// neither gone nor come again.
func informer(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
	shared := factory.Core().V1().ConfigMaps().Informer()
	var doubled, lost atomic.Int64
	seen := make(chan struct{})
	known := make(map[string]bool) // used by the handler alone
	if _, err := shared.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			m, ok := obj.(*corev1.ConfigMap)
			if !ok || known[m.Name] {
				doubled.Add(1)
				return
			}
			known[m.Name] = true
			if m.Name == "after" {
				close(seen)
			}
		},
		DeleteFunc: func(any) { lost.Add(1) },
	}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), shared.HasSynced) {
		return fmt.Errorf("sync: %w", ctx.Err())
	}
	fmt.Println("synced")
	select {
	case <-ctx.Done():
		return fmt.Errorf("the object made after the restart was not seen: %w", ctx.Err())
	case <-seen:
	}
	if d, l := doubled.Load(), lost.Load(); d+l > 0 {
		return fmt.Errorf("%d objects were added twice, %d deletions seen", d, l)
	}
	return nil
}

// leaderElection elects one of two, and the other when the first gives up.
func leaderElection(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	elected := make(chan string)
	campaign := func(ctx context.Context, name string) error {
		lock := &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: namespace, Name: "election"}, Client: client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: name},
		}
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 200 * time.Millisecond, ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) {
					select {
					case elected <- name:
					case <-ctx.Done():
					}
				},
				OnStoppedLeading: func() {},
			},
		})
		if err != nil {
			return err
		}
		go elector.Run(ctx)
		return nil
	}
	first, retire := context.WithCancel(ctx)
	defer retire()
	if err := campaign(first, "first"); err != nil {
		return err
	}
	if err := await(ctx, elected, "first"); err != nil {
		return err
	}
	if err := campaign(ctx, "second"); err != nil {
		return err
	}
	lease, err := client.CoordinationV1().Leases(namespace).Get(ctx, "election", metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != "first" {
		return fmt.Errorf("the lease: %+v, %w", lease, errOrNone(err))
	}
	retire()
	if err := await(ctx, elected, "second"); err != nil {
		return err
	}
	return client.CoordinationV1().Leases(namespace).Delete(ctx, "election", metav1.DeleteOptions{})
}

func await(ctx context.Context, elected <-chan string, want string) error {
	select {
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s was not elected", want), ctx.Err())
	case got := <-elected:
		if got != want {
			return fmt.Errorf("%s was elected, not %s", got, want)
		}
		return nil
	}
}
