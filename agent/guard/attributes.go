package guard

import (
	"net/http"
	"slices"
	"strings"
)

// runs are the paths that run something in a pod, or speak to what runs there.
var runs = []string{"/exec", "/attach", "/run", "/portForward"}

// verbOf returns the API's verb for an HTTP method. Methods that read no page
// and write nothing, HEAD too, have none: only who may do everything may use
// them, as with kubelets.
//
// What runs something is no reading, though a WebSocket begins with a GET: as at
// the API since Kubernetes 1.35 it takes the verb create. Kubelets let it pass as
// get, so that who may read nodes/proxy may do everything in every container.
func verbOf(method, path string) string {
	if slices.ContainsFunc(runs, func(folder string) bool { return within(path, folder) }) {
		return "create"
	}
	switch method {
	case http.MethodPost:
		return "create"
	case http.MethodGet:
		return "get"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	return ""
}

// finer are the paths for which there is a subresource beside nodes/proxy, the
// right to all (KEP-2862, generally available since Kubernetes 1.36).
var finer = []struct{ path, subresource string }{
	{"/allocatedPods", "pods"}, {"/pods", "pods"}, {"/runningpods", "pods"}, {"/healthz", "healthz"}, {"/configz", "configz"},
}

// apart are the paths to which nodes/proxy is no right.
var apart = []struct{ path, subresource string }{
	{"/stats", "stats"}, {"/metrics", "metrics"}, {"/logs", "log"}, {"/checkpoint", "checkpoint"},
	{"/statusz", "statusz"}, {"/flagz", "configz"},
}

// subresourcesOf returns the subresources of a node of which each is a right to
// a path.
func subresourcesOf(path string) []string {
	for _, p := range finer {
		if within(path, p.path) {
			return []string{p.subresource, "proxy"}
		}
	}
	for _, p := range apart {
		if within(path, p.path) {
			return []string{p.subresource}
		}
	}
	return []string{"proxy"}
}

// within says whether a path is a folder or something below it.
func within(path, folder string) bool {
	rest, ok := strings.CutPrefix(path, folder)
	return ok && (rest == "" || rest[0] == '/')
}
