package metrics

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

var requestLabels = []string{"method", "path", "server_type", "long_running"}

// HTTP returns a handler whose requests are counted.
func (m *Metrics) HTTP(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := pathClass(r.URL.Path)
		labels := []string{methodClass(r.Method), path, "readwrite", strconv.FormatBool(slices.Contains(longRunning, path))}
		m.requests.WithLabelValues(labels...).Inc()
		m.inflight.WithLabelValues(labels...).Inc()
		begun := time.Now()
		defer func() { // also if it panics
			m.inflight.WithLabelValues(labels...).Dec()
			m.requestDuration.WithLabelValues(labels...).Observe(time.Since(begun).Seconds())
		}()
		next.ServeHTTP(w, r)
	})
}

// other is the class of what belongs to none: there must not be one for whatever
// a client makes up.
const other = "other"

var (
	methods = []string{"OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT"}
	paths   = []string{
		"healthz", "pods", "stats", "metrics", "metrics/cadvisor", "metrics/probes", "metrics/resource", "run", "exec", "attach", "portForward",
		"containerLogs", "configz", "runningpods", "checkpoint", "statusz", "flagz", "logs", "debug",
	}
	longRunning = []string{"exec", "attach", "portForward", "debug"}
)

func methodClass(method string) string {
	if slices.Contains(methods, method) {
		return method
	}
	return other
}

// pathClass returns the first part of a path, of metrics the first two.
func pathClass(path string) string {
	parts := strings.SplitN(strings.TrimPrefix(path, "/"), "/", 3)
	class := parts[0]
	if class == "metrics" && len(parts) > 1 {
		class += "/" + parts[1]
	}
	if slices.Contains(paths, class) {
		return class
	}
	return other
}
