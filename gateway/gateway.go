// Package gateway serves the Kubernetes REST API. It owns nothing: every
// request becomes a call of the Store's gRPC service, or a stream to the Node
// service of the agent that the Store names, and the answer's bytes become the
// response.
//
// The parts:
//
//	routes      paths to kinds, on grpc-gateway's mux
//	caller      who makes a request, and how the Store is told
//	negotiate   Accept headers
//	envelope    Kubernetes' Protobuf framing
//	reply       responses: Status errors, warnings, compression
//	rest        get, list, watch, create, update, patch, delete
//	metrics     metrics.k8s.io: what nodes and pods use
//	podstream   logs, exec, attach, port-forward, proxy
//	discovery   /api and /apis
//	openapi     /openapi/v2 and /openapi/v3
//	h2          the HTTP/2 server
//	aggregation what other API servers serve
//	attributes  what a request asks for, to authorization and audit policies
//	audit       what the audit log has of requests
package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/gateway/aggregation"
	"navarch.dev/navarch/gateway/audit"
	"navarch.dev/navarch/gateway/caller"
	"navarch.dev/navarch/gateway/discovery"
	"navarch.dev/navarch/gateway/envelope"
	"navarch.dev/navarch/gateway/metrics"
	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/openapi"
	"navarch.dev/navarch/gateway/podstream"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/gateway/requestmetrics"
	"navarch.dev/navarch/gateway/rest"
	"navarch.dev/navarch/gateway/routes"
	auditlog "navarch.dev/navarch/internal/audit"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/customkinds"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/telemetry"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// NodeDialer connects to agents.
type NodeDialer = podstream.NodeDialer

// Gateway is the Kubernetes API's HTTP face.
type Gateway struct {
	cfg       Config
	tel       telemetry.Set
	store     storev1.StoreServiceClient
	registry  *kinds.Registry
	custom    *customkinds.Follower
	health    healthv1.HealthClient
	discovery *discovery.Documents
	openapi   *openapi.Documents
	rest      *rest.Handler
	metrics   *metrics.Handler
	slis      *slis
	streams   *podstream.Connector
	others    *aggregation.Aggregator
	// closeAudit closes the audit log; nil if the gateway has none of its own.
	closeAudit func() error
	handler    http.Handler
	stopping   chan struct{}
	stop       func()
}

// New returns a gateway to the Store behind store. nodes connects to the
// agents that the Store names.
func New(cfg Config, tel telemetry.Set, store grpc.ClientConnInterface, nodes NodeDialer) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("gateway configuration: %w", err)
	}
	store = overStores(store)
	registry := kinds.NewRegistry()
	custom, err := customkinds.New(client.New(store, "navarch-gateway"), registry)
	if err != nil {
		return nil, err
	}
	stub := storev1.NewStoreServiceClient(store)
	g := &Gateway{
		cfg: cfg, tel: tel, store: stub, registry: registry, custom: custom, health: healthv1.NewHealthClient(store),
		discovery: discovery.New(registry, metrics.Kinds()...), openapi: openapi.New(registry, cfg.Version),
		metrics:  metrics.New(store, nodes, tel.Log),
		slis:     newSLIs(),
		stopping: make(chan struct{}),
	}
	lifetime, stop := context.WithCancel(context.Background())
	g.stop = stop
	go custom.Run(lifetime)
	context.AfterFunc(lifetime, func() { close(g.stopping) })
	g.streams = podstream.New(podstream.Options{Store: stub, Nodes: nodes, Tracer: tel.Tracer(), Log: tel.Log, Stopping: g.stopping})
	g.rest = rest.New(rest.Options{
		Store: stub, Streams: rest.StreamsOf(store), Types: envelope.NewTypes(registry), Tracer: tel.Tracer(), Log: tel.Log,
		MaxBody: cfg.MaxBodyBytes, Timeout: cfg.RequestTimeout, Stopping: g.stopping,
		Nodes: g.streams,
	})
	g.others, err = aggregation.New(aggregation.Options{
		Store: store, Agents: nodes, Certificate: cfg.ProxyCertificate, Log: tel.Log, Stopping: g.stopping,
	})
	if err != nil {
		return nil, err
	}
	handler, err := g.routes(registry)
	if err != nil {
		return nil, err
	}
	if handler, err = g.audited(handler); err != nil {
		return nil, err
	}
	measured, err := requestmetrics.New(tel.Metrics, registry, metrics.Kinds())
	if err != nil {
		return nil, err
	}
	g.handler = measured.Handler(g.recovered(handler))
	return g, nil
}

// audited has requests be recorded, if the configuration wants that.
func (g *Gateway) audited(handler http.Handler) (http.Handler, error) {
	log := g.cfg.AuditLog
	if log == nil {
		if !g.cfg.Audit.Enabled() {
			return handler, nil
		}
		var err error
		if log, err = auditlog.New(g.cfg.Audit, g.tel); err != nil {
			return nil, err
		}
		g.closeAudit = log.Close
	}
	return audit.New(log, g.store, g.tel.Log).Handler(handler), nil
}

// Handler returns the gateway's handler, for a server of the caller's own.
func (g *Gateway) Handler() http.Handler { return g.handler }

// routes puts every path on one mux.
func (g *Gateway) routes(registry *kinds.Registry) (http.Handler, error) {
	mux := runtime.NewServeMux(
		runtime.WithDisablePathLengthFallback(), runtime.WithDisableHTTPMethodOverride(),
		runtime.WithRoutingErrorHandler(g.routingError),
	)
	if err := routes.Register(mux, registry, resources{g}); err != nil {
		return nil, err
	}
	if err := g.metrics.Register(mux); err != nil { // after the general patterns, and so before them
		return nil, err
	}
	if err := g.registerHealth(mux); err != nil {
		return nil, err
	}
	open := map[string]http.HandlerFunc{
		"/version": g.unlessRefused(g.version),
		// The Store decides who may see these.
		"/.well-known/openid-configuration": g.keptDocument, "/openid/v1/jwks": g.keptDocument, "/metrics": g.allMetrics,
	}
	for path, serve := range open {
		if err := mux.HandlePath(http.MethodGet, path, timed(plain(serve))); err != nil {
			return nil, fmt.Errorf("register %s: %w", path, err)
		}
	}
	known := map[string]runtime.HandlerFunc{
		"/api":                               plain(g.discovery.ServeCore),
		"/apis":                              plain(g.discovery.ServeGroups),
		"/api/{version}":                     g.discoverVersion,
		"/apis/{group}":                      g.discoverGroup,
		"/apis/{group}/{version}":            g.discoverVersion,
		"/metrics/slis":                      plain(g.serveSLIs),
		"/openapi/v2":                        plain(g.openapi.ServeV2),
		"/openapi/v3":                        plain(g.openapi.ServeIndex),
		"/openapi/v3/api/{version}":          g.openapiVersion,
		"/openapi/v3/apis/{group}/{version}": g.openapiVersion,
		"/":                                  plain(g.index),
	}
	for path, serve := range known {
		if err := mux.HandlePath(http.MethodGet, path, g.authorized(timed(serve))); err != nil {
			return nil, fmt.Errorf("register %s: %w", path, err)
		}
	}
	return g.proxying(legible(g.others.Handler(slashless(routes.Direct(registry, resources{g}, mux))))), nil
}

// index lists the paths that clients can begin at.
func (g *Gateway) index(w http.ResponseWriter, r *http.Request) {
	paths := []string{"/.well-known/openid-configuration", "/openid/v1/jwks", "/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3", "/readyz", "/version"}
	for path, checks := range g.healthChecks() {
		for _, c := range checks {
			paths = append(paths, path+"/"+c.name)
		}
	}
	for _, k := range slices.Concat(g.registry.All(), metrics.Kinds()) {
		if k.Group != "" {
			paths = append(paths, "/apis/"+k.Group, "/apis/"+k.APIVersion())
		}
	}
	slices.Sort(paths)
	body, err := json.MarshalIndent(map[string][]string{"paths": slices.Compact(paths)}, "", "  ")
	if err != nil {
		reply.Error(w, r, fmt.Errorf("encode the index of paths: %w", err))
		return
	}
	reply.Bytes(w, r, http.StatusOK, negotiate.JSON, body)
}

func plain(serve http.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, _ map[string]string) { serve(w, r) }
}

// timed refuses a timeout that is none. What it guards takes no time to speak of.
func timed(serve runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		if strings.Contains(r.URL.RawQuery, "timeout=") {
			if _, err := rest.Deadline(r.URL.Query(), 0); err != nil {
				reply.Error(w, r, err)
				return
			}
		}
		serve(w, r, params)
	}
}

func groupVersion(params map[string]string) schema.GroupVersion {
	return schema.GroupVersion{Group: params["group"], Version: params["version"]}
}

func (g *Gateway) discoverVersion(w http.ResponseWriter, r *http.Request, params map[string]string) {
	if gv := groupVersion(params); !g.registry.Serves(gv) {
		g.refresh(r)
	}
	if !g.discovery.ServeVersion(w, r, groupVersion(params)) {
		unknownPath(w)
	}
}

func (g *Gateway) discoverGroup(w http.ResponseWriter, r *http.Request, params map[string]string) {
	if !g.discovery.ServeGroup(w, r, params["group"]) {
		unknownPath(w)
	}
}

func (g *Gateway) openapiVersion(w http.ResponseWriter, r *http.Request, params map[string]string) {
	if !g.openapi.ServeVersion(w, r, groupVersion(params)) {
		unknownPath(w)
	}
}

// routingError answers what no pattern matches.
func (g *Gateway) routingError(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, code int) {
	if code == http.StatusMethodNotAllowed {
		g.rest.ServeError(w, r, routes.NotAllowed())
		return
	}
	g.serveUnknown(w, r)
}

// serveUnknown answers a path that is not there: anonymous callers are not
// told so.
func (g *Gateway) serveUnknown(w http.ResponseWriter, r *http.Request) {
	switch who, err := caller.Of(r); {
	case err != nil:
		reply.Error(w, r, err)
	case who.Anonymous():
		reply.Error(w, r, rest.Anonymous(r))
	default:
		unknownPath(w)
	}
}

func unknownPath(w http.ResponseWriter) { http.Error(w, "404 page not found", http.StatusNotFound) }

// resources serves resource paths.
type resources struct{ *Gateway }

func (h resources) ServeResource(w http.ResponseWriter, r *http.Request, t routes.Target) {
	h.rest.ServeResource(w, r, t)
}

func (h resources) ServeError(w http.ResponseWriter, r *http.Request, err error) {
	h.rest.ServeError(w, r, err)
}

func (h resources) Refresh(r *http.Request) { h.refresh(r) }

func (h resources) ServeUnknown(w http.ResponseWriter, r *http.Request) { h.serveUnknown(w, r) }
