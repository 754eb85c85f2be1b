package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"k8s.io/apimachinery/pkg/version"

	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/reply"
)

// healthTimeout bounds the question to the Store.
const healthTimeout = 2 * time.Second

// check is one named part of a health answer.
type check struct {
	name string
	run  func(context.Context) error
}

// healthChecks are what each health path asks. That the gateway serves is all that
// restarting it could mend; it is ready when the Store serves too.
func (g *Gateway) healthChecks() map[string][]check {
	ping := check{"ping", func(context.Context) error { return nil }}
	all := map[string][]check{
		"/healthz": {ping},
		"/livez":   {ping},
		"/readyz":  {ping, {"shutdown", g.notStopping}, {"store", g.storeServes}, {"apiservices", g.others.Ready}},
	}
	for path, checks := range all {
		for i, c := range checks {
			checks[i] = g.slis.noting(path, c)
		}
	}
	return all
}

// registerHealth serves the health paths to everybody, and each of their checks by
// itself to those who may see it.
func (g *Gateway) registerHealth(mux *runtime.ServeMux) error {
	for path, checks := range g.healthChecks() {
		all := func(w http.ResponseWriter, r *http.Request) { g.serveHealth(w, r, checks...) }
		if err := mux.HandlePath(http.MethodGet, path, timed(plain(all))); err != nil {
			return fmt.Errorf("register %s: %w", path, err)
		}
		for _, c := range checks {
			one := func(w http.ResponseWriter, r *http.Request) { g.serveCheck(w, r, c) }
			if err := mux.HandlePath(http.MethodGet, path+"/"+c.name, g.authorized(timed(plain(one)))); err != nil {
				return fmt.Errorf("register %s: %w", path+"/"+c.name, err)
			}
		}
	}
	return nil
}

func (g *Gateway) notStopping(context.Context) error {
	select {
	case <-g.stopping:
		return fmt.Errorf("the gateway is stopping")
	default:
		return nil
	}
}

func (g *Gateway) storeServes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	resp, err := g.health.Check(ctx, &healthv1.HealthCheckRequest{})
	if err != nil {
		return fmt.Errorf("ask the Store's health: %w", err)
	}
	if resp.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		return fmt.Errorf("the Store is %s", resp.GetStatus())
	}
	return nil
}

// serveHealth answers "ok", or a line per check if one fails or the caller
// wants to see them.
func (g *Gateway) serveHealth(w http.ResponseWriter, r *http.Request, checks ...check) {
	excluded := r.URL.Query()["exclude"]
	var lines strings.Builder
	failed := false
	for _, c := range checks {
		err := c.run(r.Context())
		switch {
		case slices.Contains(excluded, c.name):
			fmt.Fprintf(&lines, "[+]%s excluded: ok\n", c.name)
		case err != nil:
			failed = true
			g.tel.Log.WarnContext(r.Context(), "health check failed", "check", c.name, "error", err)
			fmt.Fprintf(&lines, "[-]%s failed: reason withheld\n", c.name)
		default:
			fmt.Fprintf(&lines, "[+]%s ok\n", c.name)
		}
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, verbose := r.URL.Query()["verbose"]
	switch {
	case failed:
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, "%s%s check failed\n", lines.String(), name)
	case verbose:
		fmt.Fprintf(w, "%s%s check passed\n", lines.String(), name)
	default:
		fmt.Fprint(w, "ok")
	}
}

// serveCheck answers "ok" if one check passes.
func (g *Gateway) serveCheck(w http.ResponseWriter, r *http.Request, c check) {
	if err := c.run(r.Context()); err != nil {
		g.tel.Log.WarnContext(r.Context(), "health check failed", "check", c.name, "error", err)
		http.Error(w, "internal server error: reason withheld", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	fmt.Fprint(w, "ok")
}

// version says which Kubernetes API this is.
func (g *Gateway) version(w http.ResponseWriter, r *http.Request) {
	major, minor := majorMinor(g.cfg.Version)
	body, err := json.MarshalIndent(version.Info{
		Major: major, Minor: minor, GitVersion: g.cfg.Version, GitTreeState: "clean",
		GoVersion: goruntime.Version(), Compiler: goruntime.Compiler, Platform: goruntime.GOOS + "/" + goruntime.GOARCH,
	}, "", "  ")
	if err != nil {
		reply.Error(w, r, fmt.Errorf("encode the version: %w", err))
		return
	}
	reply.Bytes(w, r, http.StatusOK, negotiate.JSON, body)
}

// majorMinor returns "1" and "37" of "v1.37.2+navarch".
func majorMinor(v string) (major, minor string) {
	major, rest, _ := strings.Cut(strings.TrimPrefix(v, "v"), ".")
	minor, _, _ = strings.Cut(rest, ".")
	return major, minor
}
