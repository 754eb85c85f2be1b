package main

import (
	"context"
	"fmt"
	"net/http"

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
	for _, op := range operations() {
		rates[op.name] = new(pair)
	}
	err := p.turns(ctx, func(ctx context.Context, t turn) error {
		for _, op := range operations() {
			if err := t.throughput(ctx, op, rates[op.name]); err != nil {
				return fmt.Errorf("%s: %w", op.name, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var lines []line
	for _, op := range operations() {
		lines = append(lines, rates[op.name].atLeast(fmt.Sprintf("%s, %d clients", op.name, clients), perSecond, op.target))
	}
	return lines, nil
}

// throughput lets all clients do an operation at once and notes how many were
// done in a second.
func (t turn) throughput(ctx context.Context, op operation, rate *pair) error {
	g, ctx := errgroup.WithContext(ctx)
	begin := make(chan struct{})
	for i := range clients {
		requests, err := requestsOf(op, t.round, i)
		if err != nil {
			return err
		}
		c := t.client()
		defer c.CloseIdleConnections()
		// The connection is made before the clock runs.
		if _, err := t.do(ctx, c, request{method: http.MethodGet, path: "/version"}); err != nil {
			return err
		}
		g.Go(func() error {
			<-begin
			for _, r := range requests {
				if _, err := t.do(ctx, c, r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	took, used, err := t.spend(func() error {
		close(begin)
		return g.Wait()
	})
	if err != nil {
		return err
	}
	const each = clients * perClient
	rate.add(t, float64(each*op.repeat)/took.Seconds())
	rate.addSpent(t, used, each*op.repeat)
	return nil
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
