package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	watchesPerRound = 100
	// payloadSize is the size of the value that the small objects hold.
	payloadSize = 512
)

// configMap is the small object of the rows that measure writes.
func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault},
		Data:       map[string]string{"value": strings.Repeat("v", payloadSize)},
	}
}

// storedSize is how many bytes the Store keeps of a small object in etcd.
func storedSize(name string) (int, error) {
	object := configMap(name)
	now := metav1.Now()
	object.UID, object.CreationTimestamp = "00000000-0000-0000-0000-000000000000", now
	data, err := object.Marshal()
	// The trace context, the kind's name and the field manager's come on top.
	const envelope = 200
	return len(data) + envelope, err
}

// measureWatch creates objects through the gateway, one after the other, and
// waits for each one's event at a watcher of the gateway; in turns with bare
// transactions of etcd.
func measureWatch(ctx context.Context, b *bench) ([]line, error) {
	c, err := b.cluster(ctx)
	if err != nil {
		return nil, err
	}
	size, err := storedSize("watched-1")
	if err != nil {
		return nil, err
	}
	ref, err := b.etcdReference(ctx)
	if err != nil {
		return nil, err
	}
	defer ref.stop()
	etcd, err := ref.client()
	if err != nil {
		return nil, err
	}
	defer func() { _ = etcd.Close() }()
	w, err := c.client.CoreV1().ConfigMaps(metav1.NamespaceDefault).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	defer w.Stop()
	var seen, puts samples
	value := strings.Repeat("v", size)
	// The first of each pays for connections and is not counted.
	for i := range b.rounds*watchesPerRound + 1 {
		name := fmt.Sprintf("watched-%d", i)
		event, err := c.createWatched(ctx, w, name)
		if err != nil {
			return nil, err
		}
		bare, err := timed(func() error { return put(ctx, etcd, "/registry/configmaps/default/"+name, value) })
		if err != nil {
			return nil, err
		}
		if i > 0 {
			seen, puts = append(seen, event), append(puts, bare)
		}
	}
	const against = "etcd Txn put p50"
	figure := fmt.Sprintf("create → event at a REST watcher (%d), ", len(seen))
	return []line{
		atMost(figure+"p50", seen.median(), puts.median(), 3, against),
		atMost(figure+"p99", seen.percentile(99), puts.median(), 8, against),
	}, nil
}

// createWatched creates an object and returns how long it took until its event
// came; that may be before the answer to the creation.
func (c *cluster) createWatched(ctx context.Context, w watch.Interface, name string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	created := make(chan error, 1)
	start := time.Now()
	go func() {
		_, err := c.client.CoreV1().ConfigMaps(metav1.NamespaceDefault).Create(ctx, configMap(name), metav1.CreateOptions{})
		created <- err
	}()
	if err := awaitEvent(ctx, w, name); err != nil {
		return 0, err
	}
	took := time.Since(start)
	if err := <-created; err != nil {
		return 0, fmt.Errorf("create %s: %w", name, err)
	}
	return took, nil
}

func awaitEvent(ctx context.Context, w watch.Interface, name string) error {
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the event of %s: %w", name, ctx.Err())
		case e, ok := <-w.ResultChan():
			if !ok {
				return errors.New("the watch ended")
			}
			if o, ok := e.Object.(*corev1.ConfigMap); ok && o.Name == name {
				return nil
			}
		}
	}
}
