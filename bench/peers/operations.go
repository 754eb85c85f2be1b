package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	clients       = 32
	perClient     = 40 // objects of each client in a round
	readsPerWrite = 4  // gets are fast: more of them make a measurement
)

// operation is what all clients do with each of their objects.
type operation struct {
	name   string
	target float64 // how many times the reference's throughput
	repeat int
	// request returns the one for the object of a name and its encoding.
	request func(name string, body []byte) request
}

const configMaps = "/api/v1/namespaces/" + namespace + "/configmaps"

// operations are in an order in which each finds its objects.
func operations() []operation {
	return []operation{
		{"create", 2.5, 1, func(_ string, body []byte) request {
			return request{method: http.MethodPost, path: configMaps, contentType: jsonType, body: body}
		}},
		{"get", 4, readsPerWrite, func(name string, _ []byte) request {
			return request{method: http.MethodGet, path: configMaps + "/" + name}
		}},
		{"update", 2.5, 1, func(name string, body []byte) request {
			return request{method: http.MethodPut, path: configMaps + "/" + name, contentType: jsonType, body: body}
		}},
		{"patch", 2.5, 1, func(name string, _ []byte) request {
			return request{method: http.MethodPatch, path: configMaps + "/" + name, contentType: mergeType, body: []byte(`{"data":{"patched":"yes"}}`)}
		}},
		{"delete", 2.5, 1, func(name string, _ []byte) request {
			return request{method: http.MethodDelete, path: configMaps + "/" + name}
		}},
	}
}

// measureOperations compares the throughput of 32 clients.
func measureOperations(ctx context.Context, p *peers) ([]line, error) {
	rates := make(map[string]*pair)
	for round := range p.rounds + 1 {
		for _, s := range p.both(round) {
			for _, op := range operations() {
				rate, err := s.throughput(ctx, op, round)
				if err != nil {
					return nil, fmt.Errorf("%s at %s: %w", op.name, s.name, err)
				}
				if rates[op.name] == nil {
					rates[op.name] = new(pair)
				}
				if round > 0 { // the first round warms up
					rates[op.name].add(p, s, rate)
				}
			}
		}
	}
	var lines []line
	for _, op := range operations() {
		lines = append(lines, rates[op.name].atLeast(fmt.Sprintf("%s, %d clients", op.name, clients), perSecond, op.target))
	}
	return lines, nil
}

// throughput lets all clients do an operation at once and returns how many
// were done in a second.
func (s *server) throughput(ctx context.Context, op operation, round int) (float64, error) {
	g, ctx := errgroup.WithContext(ctx)
	begin := make(chan struct{})
	for i := range clients {
		requests, err := requestsOf(op, round, i)
		if err != nil {
			return 0, err
		}
		c := s.client()
		defer c.CloseIdleConnections()
		// The connection is made before the clock runs.
		if _, err := s.do(ctx, c, request{method: http.MethodGet, path: "/version"}); err != nil {
			return 0, err
		}
		g.Go(func() error {
			<-begin
			for _, r := range requests {
				if _, err := s.do(ctx, c, r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	started := time.Now()
	close(begin)
	if err := g.Wait(); err != nil {
		return 0, err
	}
	return float64(clients*perClient*op.repeat) / time.Since(started).Seconds(), nil
}

func requestsOf(op operation, round, client int) ([]request, error) {
	var out []request
	for range op.repeat {
		for n := range perClient {
			name := fmt.Sprintf("bench-%d-%d-%d", round, client, n)
			body, err := encode(configMap(name))
			if err != nil {
				return nil, err
			}
			out = append(out, op.request(name, body))
		}
	}
	return out, nil
}
