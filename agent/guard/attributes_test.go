package guard

import (
	"slices"
	"strings"
	"testing"
)

func TestSubresources(t *testing.T) {
	for _, tt := range []struct {
		path string
		want []string
	}{
		{"/pods", []string{"pods", "proxy"}},
		{"/pods/", []string{"pods", "proxy"}},
		{"/allocatedPods", []string{"pods", "proxy"}},
		{"/runningpods", []string{"pods", "proxy"}},
		{"/runningpods/", []string{"pods", "proxy"}},
		{"/healthz", []string{"healthz", "proxy"}},
		{"/healthz/syncloop", []string{"healthz", "proxy"}},
		{"/configz", []string{"configz", "proxy"}},
		{"/stats/summary", []string{"stats"}},
		{"/metrics", []string{"metrics"}},
		{"/metrics/cadvisor", []string{"metrics"}},
		{"/logs/", []string{"log"}},
		{"/logs/syslog", []string{"log"}},
		{"/checkpoint/default/web/c", []string{"checkpoint"}},
		{"/statusz", []string{"statusz"}},
		{"/flagz", []string{"configz"}},
		{"/podsecrets", []string{"proxy"}},
		{"/metricsx", []string{"proxy"}},
		{"/exec/default/web/c", []string{"proxy"}},
		{"/containerLogs/default/web/c", []string{"proxy"}},
		{"/", []string{"proxy"}},
		{"", []string{"proxy"}},
	} {
		if got := subresourcesOf(tt.path); !slices.Equal(got, tt.want) {
			t.Errorf("%q is of %v, want %v", tt.path, got, tt.want)
		}
	}
}

// FuzzSubresources: whatever the path, there is a right to it, and what is
// apart from nodes/proxy is so by its first part alone.
func FuzzSubresources(f *testing.F) {
	for _, path := range []string{"/pods", "/metrics/../exec", "//metrics", "/stats", "/logs%2f", "/statusz/x", "\xff"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got := subresourcesOf(path)
		if len(got) == 0 {
			t.Fatalf("%q is of nothing", path)
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		if !slices.Contains(got, "proxy") && !slices.ContainsFunc(apart, func(a struct{ path, subresource string }) bool { return a.path == "/"+first }) {
			t.Errorf("%q is of %v", path, got)
		}
	})
}
