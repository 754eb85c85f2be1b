package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sync/errgroup"
)

const (
	scatteredNamespaces = 100
	scatteredWriters    = 16
)

func scatteredNamespace(n int) string { return fmt.Sprintf("scattered-%02d", n%scatteredNamespaces) }

func configMapsOf(namespace string) string { return "/api/v1/namespaces/" + namespace + "/configmaps" }

// measureScattered compares what it costs a server to tell watchers of many
// namespaces of what is written there. That every watcher sees a thousand writes
// in a second is more than clients and servers of one machine can do.
func measureScattered(ctx context.Context, p *peers) ([]line, error) {
	var cpu, late pair
	err := p.turns(ctx, func(ctx context.Context, t turn) error {
		took, used, err := t.scattered(ctx, p.scale)
		cpu.add(t, used.server.Seconds())
		cpu.addSpent(t, used, max(len(took), 1))
		late.add(t, took.percentile(99).Seconds())
		return err
	})
	figure := fmt.Sprintf("%d watchers of %d namespaces, %d writes/s, of which each sees %d: ",
		p.scale.watchers, scatteredNamespaces, p.scale.scattered, max(1, p.scale.scattered/scatteredNamespaces))
	return []line{cpu.faster(figure+"processor time", fanOutTarget), late.faster(figure+"PUT → event, p99", 1)}, err
}

// prepareScattered makes the namespaces, and in each the object that is written.
func (s *server) prepareScattered(ctx context.Context) error {
	c := s.client()
	defer c.CloseIdleConnections()
	for n := range scatteredNamespaces {
		body, err := encode(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: scatteredNamespace(n)}})
		if err != nil {
			return err
		}
		if err := s.eventually(ctx, c, request{method: http.MethodPost, path: "/api/v1/namespaces", contentType: jsonType, body: body}); err != nil {
			return err
		}
		r := request{method: http.MethodPost, path: configMapsOf(scatteredNamespace(n)), contentType: jsonType, body: stamped("scattered")}
		if err := s.eventually(ctx, c, r); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) scattered(ctx context.Context, scale scale) (samples, spent, error) {
	if err := s.prepareScattered(ctx); err != nil {
		return nil, spent{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	count := fanOutSeconds * scale.scattered
	seen := newSightings(count * scale.watchers / scatteredNamespaces)
	if err := s.watchAll(ctx, scale.watchers, scatteredNamespace, seen.add); err != nil {
		return nil, spent{}, err
	}
	before, err := s.processorTime()
	if err != nil {
		return nil, spent{}, err
	}
	if err := s.writeScattered(ctx, count, scale.scattered); err != nil {
		return nil, spent{}, err
	}
	if err := seen.wait(s.name); err != nil {
		return nil, spent{}, err
	}
	after, err := s.processorTime()
	return seen.times(), after.minus(before), err
}

// writeScattered writes to one namespace after the other, so many times in a second;
// later if the server is not fast enough.
func (s *server) writeScattered(ctx context.Context, count, rate int) error {
	g, ctx := errgroup.WithContext(ctx)
	started := time.Now()
	for writer := range scatteredWriters {
		c := s.client()
		defer c.CloseIdleConnections()
		g.Go(func() error {
			for n := writer; n < count; n += scatteredWriters {
				time.Sleep(time.Until(started.Add(time.Duration(n) * time.Second / time.Duration(rate))))
				r := request{method: http.MethodPut, path: configMapsOf(scatteredNamespace(n)) + "/scattered", contentType: jsonType, body: stamped("scattered")}
				if _, err := s.do(ctx, c, r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// sightings gathers how late events were seen.
type sightings struct {
	began time.Time
	want  int
	all   chan struct{}

	mu  sync.Mutex
	out samples
}

func newSightings(want int) *sightings {
	return &sightings{began: time.Now(), want: want, all: make(chan struct{})}
}

// add notes when an event was sent and received. What was sent before the
// sightings began is of the state in which the watch found the objects.
func (s *sightings) add(sent, received time.Time) {
	if sent.Before(s.began) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out = append(s.out, received.Sub(sent)); len(s.out) == s.want {
		close(s.all)
	}
}

func (s *sightings) times() samples {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.out)
}

// wait waits until all events have been seen.
func (s *sightings) wait(server string) error {
	select {
	case <-s.all:
		return nil
	case <-time.After(startTimeout):
		return fmt.Errorf("%s sent %d of %d events", server, len(s.times()), s.want)
	}
}
