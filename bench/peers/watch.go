package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const (
	posts         = 1000 // per round: enough that no single one is the p99
	fanOutSeconds = 5    // of each round

	watchesPerConnection = 50
	latencyTarget        = 2 // times faster than the reference
	fanOutTarget         = 3 // times less processor time
)

// stamp is where a written object says when it was sent.
const stamp = `"sent":"`

// watch calls seen with the times of sending and receiving each event of a
// namespace's ConfigMaps that has a stamp, until ctx ends. It returns when the
// watch runs.
func (s *server) watch(ctx context.Context, c *http.Client, namespace string, seen func(sent, received time.Time)) error {
	body, err := s.open(ctx, c, request{method: http.MethodGet, path: configMapsOf(namespace) + "?watch=true&resourceVersion=0&labelSelector=kind%3Dstamped"})
	if err != nil {
		return fmt.Errorf("watch at %s: %w", s.name, err)
	}
	go func() {
		defer func() { _ = body.Close() }()
		lines := bufio.NewReaderSize(body, 16<<10)
		for {
			event, err := lines.ReadSlice('\n')
			if err != nil {
				return
			}
			received := time.Now()
			if _, after, ok := bytes.Cut(event, []byte(stamp)); ok {
				text, _, _ := bytes.Cut(after, []byte(`"`))
				if sent, err := strconv.ParseInt(string(text), 10, 64); err == nil {
					seen(time.Unix(0, sent), received)
				}
			}
		}
	}()
	return nil
}

// watchAll runs so many watches, each of the namespace of its number. HTTP/2
// servers limit how many there may be on a connection.
func (s *server) watchAll(ctx context.Context, watchers int, namespaceOf func(int) string, seen func(sent, received time.Time)) error {
	var c *http.Client
	for n := range watchers {
		if n%watchesPerConnection == 0 {
			c = s.client()
		}
		if err := s.watch(ctx, c, namespaceOf(n), seen); err != nil {
			return err
		}
	}
	return nil
}

// stamped is a ConfigMap that says when it was sent.
func stamped(name string) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q,"labels":{"kind":"stamped"}},"data":{%s%d"}}`,
		name, stamp, time.Now().UnixNano())
}

// post creates a ConfigMap that says when it was sent.
func (s *server) post(ctx context.Context, c *http.Client, name string) error {
	_, err := s.do(ctx, c, request{method: http.MethodPost, path: configMaps, contentType: jsonType, body: stamped(name)})
	return err
}

// forgetStamped deletes what post made.
func (s *server) forgetStamped(ctx context.Context) error {
	c := s.client()
	defer c.CloseIdleConnections()
	_, err := s.do(ctx, c, request{method: http.MethodDelete, path: configMaps + "?labelSelector=kind%3Dstamped"})
	return err
}

// measureLatency compares the time from sending a POST to receiving its event,
// one after the other.
func measureLatency(ctx context.Context, p *peers) ([]line, error) {
	var p50, p99 pair
	err := p.turns(ctx, func(ctx context.Context, t turn) error {
		var took samples
		_, used, err := t.spend(func() (err error) {
			took, err = t.latencies(ctx, t.round)
			return err
		})
		p50.add(t, took.percentile(50).Seconds())
		p50.addSpent(t, used, posts)
		p99.add(t, took.percentile(99).Seconds())
		return err
	})
	const figure = "POST → event at a watcher, "
	return []line{p50.faster(figure+"p50", latencyTarget), p99.faster(figure+"p99", latencyTarget)}, err
}

func (s *server) latencies(ctx context.Context, round int) (samples, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watcher, writer := s.client(), s.client()
	events := make(chan time.Duration, posts)
	if err := s.watch(ctx, watcher, namespace, func(sent, received time.Time) { events <- received.Sub(sent) }); err != nil {
		return nil, err
	}
	var out samples
	for n := range posts {
		if err := s.post(ctx, writer, fmt.Sprintf("stamped-%d-%d", round, n)); err != nil {
			return nil, err
		}
		select {
		case d := <-events:
			out = append(out, d)
		case <-time.After(startTimeout):
			return nil, fmt.Errorf("no event came from %s", s.name)
		}
	}
	return out, s.forgetStamped(ctx)
}

// measureFanOut compares what it costs a server to tell many watchers of many
// events, and how late the last ones are.
func measureFanOut(ctx context.Context, p *peers) ([]line, error) {
	var cpu, late pair
	err := p.turns(ctx, func(ctx context.Context, t turn) error {
		took, used, err := t.fanOut(ctx, t.round, p.scale)
		cpu.add(t, used.server.Seconds())
		cpu.addSpent(t, used, max(len(took), 1))
		late.add(t, took.percentile(99).Seconds())
		return err
	})
	figure := fmt.Sprintf("%d watchers, %d writes/s: ", p.scale.watchers, p.scale.rate)
	return []line{cpu.faster(figure+"processor time", fanOutTarget), late.faster(figure+"POST → event, p99", 1)}, err
}

func (s *server) fanOut(ctx context.Context, round int, scale scale) (samples, spent, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	count := fanOutSeconds * scale.rate
	seen := newSightings(count * scale.watchers)
	if err := s.watchAll(ctx, scale.watchers, func(int) string { return namespace }, seen.add); err != nil {
		return nil, spent{}, err
	}
	before, err := s.processorTime()
	if err != nil {
		return nil, spent{}, err
	}
	writer := s.client()
	tick := time.NewTicker(time.Second / time.Duration(scale.rate))
	defer tick.Stop()
	for n := range count {
		<-tick.C
		if err := s.post(ctx, writer, fmt.Sprintf("stamped-%d-%d", round, n)); err != nil {
			return nil, spent{}, err
		}
	}
	if err := seen.wait(s.name); err != nil {
		return nil, spent{}, err
	}
	after, err := s.processorTime()
	if err != nil {
		return nil, spent{}, err
	}
	cancel() // the watchers go before what they saw
	return seen.times(), after.minus(before), s.forgetStamped(context.WithoutCancel(ctx))
}
