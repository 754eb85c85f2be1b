package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"navarch.dev/navarch/internal/busybox"
)

const (
	podsPerRound = 20
	burstSize    = 30
	// podTime bounds the wait for one pod.
	podTime = 2 * time.Minute
)

// testPod is the container that all pod rows run.
func testPod(name string) *corev1.Pod {
	none := int64(0)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &none,
			Containers: []corev1.Container{{
				Name: "main", Image: busybox.Image, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{"sleep", "1000000"},
			}},
		},
	}
}

// podRows starts what the pod rows need: the image, a first pod (which also
// warms what the first of all pays for), and runc's reference made from it.
func podRows(ctx context.Context, b *bench) (*cluster, *runcReference, error) {
	c, err := b.cluster(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := c.loadImage(ctx); err != nil {
		return nil, nil, err
	}
	if _, err := c.client.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, "model", metav1.GetOptions{}); err != nil {
		if _, err := c.runPods(ctx, "model"); err != nil {
			return nil, nil, err
		}
	}
	ref, err := newRuncReference(ctx, c, "model")
	return c, ref, err
}

// measurePods creates pods one after the other, each followed by one run of
// the same container by runc alone.
func measurePods(ctx context.Context, b *bench) ([]line, error) {
	c, ref, err := podRows(ctx, b)
	if err != nil {
		return nil, err
	}
	var pods, runs samples
	for i := range b.rounds * podsPerRound {
		name := fmt.Sprintf("serial-%d", i)
		took, err := c.runPods(ctx, name)
		if err != nil {
			return nil, err
		}
		pods = append(pods, took)
		if err := c.deletePods(ctx, name); err != nil {
			return nil, err
		}
		if took, err = ref.run(ctx); err != nil {
			return nil, err
		}
		runs = append(runs, took)
	}
	const against = "runc run"
	figure := fmt.Sprintf("pod create → Running seen by a watch, warm image, serial (%d), ", len(pods))
	return []line{
		atMost(figure+"p50", pods.median(), runs.median(), 5, against+" p50"),
		// The reference of p99 is the typical run: its own p99 is mostly the
		// machine's noise.
		atMost(figure+"p99", pods.percentile(99), runs.median(), 12, against+" p50"),
	}, nil
}

// measureBurst creates many pods at once.
func measureBurst(ctx context.Context, b *bench) ([]line, error) {
	c, ref, err := podRows(ctx, b)
	if err != nil {
		return nil, err
	}
	var bursts, runs samples
	for round := range b.rounds {
		var names []string
		for i := range burstSize {
			names = append(names, fmt.Sprintf("burst-%d-%d", round, i))
		}
		took, err := c.runPods(ctx, names...)
		if err != nil {
			return nil, err
		}
		bursts = append(bursts, took)
		if err := c.deletePods(ctx, names...); err != nil {
			return nil, err
		}
		for range podsPerRound / 2 {
			if took, err = ref.run(ctx); err != nil {
				return nil, err
			}
			runs = append(runs, took)
		}
	}
	return []line{atMost(fmt.Sprintf("%d pods created at once → all Running", burstSize), bursts.median(), runs.median(), burstSize, "runc run p50")}, nil
}

// runPods creates pods at the same time and returns how long it took until a
// watch had shown all of them running.
func (c *cluster) runPods(ctx context.Context, names ...string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, podTime)
	defer cancel()
	w, err := c.watchPods(ctx)
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	start := time.Now()
	errs := make(chan error, len(names))
	for _, name := range names {
		go func() {
			_, err := c.client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, testPod(name), metav1.CreateOptions{})
			errs <- err
		}()
	}
	err = awaitPods(ctx, w, names, func(e watch.Event, p *corev1.Pod) bool {
		return e.Type == watch.Modified && running(p)
	})
	took := time.Since(start)
	for range names {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		return 0, fmt.Errorf("run pods: %w", err)
	}
	return took, nil
}

func running(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodRunning && len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Running != nil
}

// deletePods deletes pods and returns when they are gone.
func (c *cluster) deletePods(ctx context.Context, names ...string) error {
	ctx, cancel := context.WithTimeout(ctx, podTime)
	defer cancel()
	w, err := c.watchPods(ctx)
	if err != nil {
		return err
	}
	defer w.Stop()
	for _, name := range names {
		if err := c.client.CoreV1().Pods(metav1.NamespaceDefault).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	return awaitPods(ctx, w, names, func(e watch.Event, _ *corev1.Pod) bool { return e.Type == watch.Deleted })
}

func (c *cluster) watchPods(ctx context.Context) (watch.Interface, error) {
	list, err := c.client.CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	w, err := c.client.CoreV1().Pods(metav1.NamespaceDefault).Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		return nil, fmt.Errorf("watch pods: %w", err)
	}
	return w, nil
}

// awaitPods reads events until reached was true for every name.
func awaitPods(ctx context.Context, w watch.Interface, names []string, reached func(watch.Event, *corev1.Pod) bool) error {
	missing := make(map[string]bool, len(names))
	for _, name := range names {
		missing[name] = true
	}
	for len(missing) > 0 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d pods: %w", len(missing), len(names), ctx.Err())
		case e, ok := <-w.ResultChan():
			if !ok {
				return errors.New("the watch ended")
			}
			if p, ok := e.Object.(*corev1.Pod); ok && missing[p.Name] && reached(e, p) {
				delete(missing, p.Name)
			}
		}
	}
	return nil
}
