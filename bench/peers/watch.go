package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	posts         = 150 // per round
	fanOutSeconds = 5   // of each round

	watchesPerConnection = 50
	latencyTarget        = 2 // times faster than the reference
	fanOutTarget         = 3 // times less processor time
)

// stamp is where a written object says when it was sent.
const stamp = `"sent":"`

// watch calls seen with the time between sending and receiving each event of
// ConfigMaps that has a stamp, until ctx ends. It returns when the watch runs.
func (s *server) watch(ctx context.Context, c *http.Client, seen func(time.Duration)) error {
	body, err := s.open(ctx, c, request{method: http.MethodGet, path: configMaps + "?watch=true&resourceVersion=0&labelSelector=kind%3Dstamped"})
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
					seen(received.Sub(time.Unix(0, sent)))
				}
			}
		}
	}()
	return nil
}

// post creates a ConfigMap that says when it was sent.
func (s *server) post(ctx context.Context, c *http.Client, name string) error {
	body := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q,"labels":{"kind":"stamped"}},"data":{%s%d"}}`,
		name, stamp, time.Now().UnixNano())
	_, err := s.do(ctx, c, request{method: http.MethodPost, path: configMaps, contentType: jsonType, body: []byte(body)})
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
	times := make(map[*server]samples)
	for round := range p.rounds {
		for _, s := range p.both(round) {
			took, err := s.latencies(ctx, round)
			if err != nil {
				return nil, err
			}
			times[s] = append(times[s], took...)
		}
	}
	var lines []line
	for _, percent := range []float64{50, 99} {
		l := pair{
			navarch: []float64{times[p.navarch].percentile(percent).Seconds()},
			kube:    []float64{times[p.kube].percentile(percent).Seconds()},
		}
		lines = append(lines, l.faster(fmt.Sprintf("POST → event at a watcher, p%.0f", percent), latencyTarget))
	}
	return lines, nil
}

func (s *server) latencies(ctx context.Context, round int) (samples, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watcher, writer := s.client(), s.client()
	events := make(chan time.Duration, posts)
	if err := s.watch(ctx, watcher, func(d time.Duration) { events <- d }); err != nil {
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
	var cpu pair
	times := make(map[*server]samples)
	for round := range p.rounds {
		for _, s := range p.both(round) {
			took, used, err := s.fanOut(ctx, round, p.scale)
			if err != nil {
				return nil, err
			}
			cpu.add(p, s, used.Seconds())
			times[s] = append(times[s], took...)
		}
	}
	figure := fmt.Sprintf("%d watchers, %d writes/s: ", p.scale.watchers, p.scale.rate)
	late := pair{
		navarch: []float64{times[p.navarch].percentile(99).Seconds()},
		kube:    []float64{times[p.kube].percentile(99).Seconds()},
	}
	return []line{cpu.faster(figure+"processor time", fanOutTarget), late.faster(figure+"POST → event, p99", 1)}, nil
}

func (s *server) fanOut(ctx context.Context, round int, scale scale) (samples, time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var out samples
	count := fanOutSeconds * scale.rate
	all := make(chan struct{})
	seen := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		if out = append(out, d); len(out) == count*scale.watchers {
			close(all)
		}
	}
	// HTTP/2 servers limit how many there may be on a connection.
	var c *http.Client
	for n := range scale.watchers {
		if n%watchesPerConnection == 0 {
			c = s.client()
		}
		if err := s.watch(ctx, c, seen); err != nil {
			return nil, 0, err
		}
	}
	before, err := s.processorTime()
	if err != nil {
		return nil, 0, err
	}
	writer := s.client()
	tick := time.NewTicker(time.Second / time.Duration(scale.rate))
	defer tick.Stop()
	for n := range count {
		<-tick.C
		if err := s.post(ctx, writer, fmt.Sprintf("stamped-%d-%d", round, n)); err != nil {
			return nil, 0, err
		}
	}
	select {
	case <-all:
	case <-time.After(startTimeout):
		mu.Lock()
		defer mu.Unlock()
		return nil, 0, fmt.Errorf("%s sent %d of %d events", s.name, len(out), count*scale.watchers)
	}
	after, err := s.processorTime()
	if err != nil {
		return nil, 0, err
	}
	cancel() // the watchers go before what they saw
	return slices.Clone(out), after - before, s.forgetStamped(context.WithoutCancel(ctx))
}
