package gateway

import (
	"net/url"
	"strings"
	"testing"
)

func FuzzProxyTarget(f *testing.F) {
	for _, path := range []string{
		"/api/v1/namespaces/a/pods/https:web:443/proxy/x%2Fy", "/api/v1/namespaces/a/services/web%3A80/proxy",
		"/api/v1/namespaces/a/pods/:::/proxy/", "/api/v1/namespaces//pods//proxy/", "/api/v1/namespaces/a/pods/%zz/proxy",
		"/api/v1/nodes/https:n%3A10250/proxy/logs/", "/api/v1/nodes//proxy", "/api/v1/namespaces/nodes/n/proxy",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		target, ok := proxyTarget(path)
		if !ok {
			return
		}
		if target.Name == "" || strings.Contains(target.Name, ":") || target.Path != "" && !strings.HasPrefix(target.Path, "/") {
			t.Errorf("%q is %+v", path, target)
		}
		if (target.Resource == "nodes") != (target.Namespace == "") {
			t.Errorf("%q is %+v", path, target)
		}
		if target.Scheme != "http" && target.Scheme != "https" {
			t.Errorf("%q has the scheme %q", path, target.Scheme)
		}
		if _, err := url.PathUnescape(target.Path); err == nil {
			if _, err := url.Parse("http://host" + target.Path); err != nil {
				t.Errorf("%q cannot be passed on: %v", target.Path, err)
			}
		}
	})
}
