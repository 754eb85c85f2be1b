// Package exposition reads metrics that pods expose for Prometheus.
//
//	endpoint.go  which page a pod or a Service names by its annotations
//	page.go      from a page to the series of one metric
//	agents.go    the page itself, through the agent of the pod's node
package exposition

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The annotations by which a pod, or a Service for the pods behind it, names
// its page of metrics.
const (
	// AnnotationScrape must be "true".
	AnnotationScrape = "prometheus.io/scrape"
	// AnnotationPort is a number; without it, it is the first TCP port that the
	// pod's containers, or the Service, declare.
	AnnotationPort = "prometheus.io/port"
	// AnnotationPath begins with a slash; without it, it is DefaultPath.
	AnnotationPath = "prometheus.io/path"
	// AnnotationScheme is "http", which it is without it, or "https".
	AnnotationScheme = "prometheus.io/scheme"
)

// DefaultPath is where programs expose their metrics by convention.
const DefaultPath = "/metrics"

// ErrNotExposed says that nobody has said that there are metrics.
var ErrNotExposed = errors.New(`exposes no metrics: it has no annotation prometheus.io/scrape "true"`)

// Endpoint is a page of metrics in a pod.
type Endpoint struct {
	Port uint32
	Path string
	TLS  bool
}

// EndpointOf returns the page that annotations name. port is that without an
// annotation, 0 if there is none.
func EndpointOf(annotations map[string]string, port int32) (Endpoint, error) {
	if annotations[AnnotationScrape] != "true" {
		return Endpoint{}, ErrNotExposed
	}
	at := Endpoint{Port: uint32(port), Path: DefaultPath}
	invalid := func(annotation, want string) (Endpoint, error) {
		return Endpoint{}, fmt.Errorf("annotation %s: %q is not %s", annotation, annotations[annotation], want)
	}
	if given, ok := annotations[AnnotationPort]; ok {
		n, err := strconv.ParseUint(given, 10, 16)
		if err != nil || n == 0 {
			return invalid(AnnotationPort, "a number between 1 and 65535")
		}
		at.Port = uint32(n)
	}
	if at.Port == 0 {
		return Endpoint{}, fmt.Errorf("annotation %s: required, because no TCP port is declared", AnnotationPort)
	}
	if given, ok := annotations[AnnotationPath]; ok {
		if !strings.HasPrefix(given, "/") {
			return invalid(AnnotationPath, "a path that begins with a slash")
		}
		at.Path = given
	}
	switch annotations[AnnotationScheme] {
	case "", "http":
	case "https":
		at.TLS = true
	default:
		return invalid(AnnotationScheme, `"http" or "https"`)
	}
	return at, nil
}
