// Package healthcheck tells load balancers whether a node has endpoints of a
// Service, at the Service's healthCheckNodePort: 200 with some, 503 without, as
// kube-proxy does.
package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Listen opens a port of the node for TCP.
type Listen func(ctx context.Context, port uint16) (net.Listener, error)

// Service is what is told of one Service.
type Service struct {
	Namespace, Name string
	// Port of the node, where it is told.
	Port uint16
	// Endpoints is how many ready ones the node has.
	Endpoints int
}

// Responder answers for the Services that it is given. Set and Close may be
// called by one goroutine at a time.
type Responder struct {
	listen  Listen
	healthy func() bool
	log     *slog.Logger

	servers map[string]*server
	serving sync.WaitGroup
}

// server answers for one Service.
type server struct {
	http    *http.Server
	port    uint16
	service atomic.Pointer[Service]
}

// New returns a Responder for no Service. healthy says whether the node routes
// Services; while it does not, no Service is told to have endpoints that serve.
func New(listen Listen, healthy func() bool, log *slog.Logger) *Responder {
	return &Responder{listen: listen, healthy: healthy, log: log, servers: make(map[string]*server)}
}

// Set has the Responder answer for a Service from now on, nil: no more. If its
// port cannot be had, the error says so, and the next Set tries again.
func (r *Responder) Set(ctx context.Context, key string, s *Service) error {
	is, ok := r.servers[key]
	if ok && (s == nil || s.Port != is.port) {
		delete(r.servers, key)
		_ = is.http.Close() // its connections are short
		ok = false
	}
	if s == nil {
		return nil
	}
	if !ok {
		var err error
		if is, err = r.serve(ctx, s.Port); err != nil {
			return fmt.Errorf("answer health checks of Service %s: %w", key, err)
		}
		r.servers[key] = is
	}
	is.service.Store(s)
	return nil
}

// Close ends all answers and waits until they have.
func (r *Responder) Close() {
	for key, is := range r.servers {
		delete(r.servers, key)
		_ = is.http.Close() // its connections are short
	}
	r.serving.Wait()
}

func (r *Responder) serve(ctx context.Context, port uint16) (*server, error) {
	const patience = 10 * time.Second // load balancers ask often, and wait seconds at most
	listener, err := r.listen(ctx, port)
	if err != nil {
		return nil, fmt.Errorf("listen at port %d: %w", port, err)
	}
	is := &server{port: port}
	is.http = &http.Server{
		Handler:     http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { r.answer(w, is.service.Load()) }),
		ReadTimeout: patience, WriteTimeout: patience, IdleTimeout: patience,
		MaxHeaderBytes: 8 << 10,
		ErrorLog:       slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
	r.serving.Go(func() {
		if err := is.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			r.log.ErrorContext(ctx, "health checks of a Service are no longer answered", "port", port, "error", err)
		}
	})
	return is, nil
}

// reply is the body of an answer.
type reply struct {
	Service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"service"`
	LocalEndpoints      int  `json:"localEndpoints"`
	ServiceProxyHealthy bool `json:"serviceProxyHealthy"`
}

func (r *Responder) answer(w http.ResponseWriter, s *Service) {
	if s == nil { // asked before Set has told
		http.Error(w, "not known yet", http.StatusServiceUnavailable)
		return
	}
	body := reply{LocalEndpoints: s.Endpoints, ServiceProxyHealthy: r.healthy()}
	body.Service.Namespace, body.Service.Name = s.Namespace, s.Name
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(s.Endpoints))
	if s.Endpoints == 0 || !body.ServiceProxyHealthy {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write(text) // the load balancer may be gone
}
