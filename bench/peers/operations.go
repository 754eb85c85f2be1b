package main

import (
	"context"
	"fmt"
	"maps"
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
	// request returns the one for the object of a name.
	request func(name string) request
}

const configMaps = "/api/v1/namespaces/" + namespace + "/configmaps"

// operations are in an order in which each finds its objects.
func operations() []operation {
	return []operation{
		{"create", 2.5, 1, func(name string) request {
			return request{method: http.MethodPost, path: configMaps, contentType: jsonType, body: encoded(name, nil)}
		}},
		{"get", 4, readsPerWrite, func(name string) request {
			return request{method: http.MethodGet, path: configMaps + "/" + name}
		}},
		{"update", 2.5, 1, func(name string) request {
			body := encoded(name, map[string]string{"updated": "yes"})
			return request{method: http.MethodPut, path: configMaps + "/" + name, contentType: jsonType, body: body}
		}},
		{"patch", 2.5, 1, func(name string) request {
			return request{method: http.MethodPatch, path: configMaps + "/" + name, contentType: mergeType, body: []byte(`{"data":{"patched":"yes"}}`)}
		}},
		{"delete", 2.5, 1, func(name string) request {
			return request{method: http.MethodDelete, path: configMaps + "/" + name}
		}},
	}
}

// encoded returns a ConfigMap with some more data as JSON.
func encoded(name string, more map[string]string) []byte {
	cm := configMap(name)
	maps.Copy(cm.Data, more)
	body, err := encode(cm)
	if err != nil {
		panic(err) // every ConfigMap can be encoded
	}
	return body
}

// measureOperations compares the throughput of 32 clients of each kind.
func measureOperations(ctx context.Context, p *peers) ([]line, error) {
	var lines []line
	for _, kind := range callerKinds() {
		more, err := measureCallers(ctx, p, kind)
		lines = append(lines, more...)
		if err != nil {
			return lines, fmt.Errorf("%s: %w", kind.name, err)
		}
	}
	return lines, nil
}

func measureCallers(ctx context.Context, p *peers, kind callerKind) ([]line, error) {
	rates := make(map[string]*pair)
	for _, op := range operations() {
		rates[op.name] = new(pair)
	}
	err := p.turns(ctx, func(ctx context.Context, t turn) error {
		for _, op := range operations() {
			if err := t.throughput(ctx, kind, op, rates[op.name]); err != nil {
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
		l := rates[op.name].atLeast(fmt.Sprintf("%s, %d clients, %s", op.name, clients, kind.name), perSecond, op.target)
		if !kind.judged {
			l.target, l.met = "", ""
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// throughput lets all clients do an operation at once and notes how many were
// done in a second.
func (t turn) throughput(ctx context.Context, kind callerKind, op operation, rate *pair) error {
	g, ctx := errgroup.WithContext(ctx)
	begin := make(chan struct{})
	for i := range clients {
		requests := requestsOf(op, fmt.Sprintf("bench-%s-%d-%d", kind.tag, t.round, i))
		c, err := kind.dial(ctx, t.server)
		if err != nil {
			return err
		}
		defer c.close()
		// The connection is made before the clock runs.
		if err := c.call(ctx, request{method: http.MethodGet, path: "/version"}); err != nil {
			return err
		}
		g.Go(func() error {
			<-begin
			for _, r := range requests {
				if err := c.call(ctx, r); err != nil {
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

// requestsOf returns a client's requests, all encoded beforehand.
func requestsOf(op operation, prefix string) []request {
	var out []request
	for range op.repeat {
		for n := range perClient {
			out = append(out, op.request(fmt.Sprintf("%s-%d", prefix, n)))
		}
	}
	return out
}
