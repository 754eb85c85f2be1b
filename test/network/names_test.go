package network_test

import (
	"slices"
	"strings"
	"testing"
)

func (f *fixture) testNames(t *testing.T) {
	const domain = ".svc.cluster.local"
	echo, kubernetes := f.serviceIP(t, "echo"), f.serviceIP(t, "kubernetes")
	db := []string{f.ip(t, "db-0"), f.ip(t, "db-1")}
	slices.Sort(db)
	for _, tt := range []struct{ name, pod, kind, query, want string }{
		{"short", "client-1", "a", "echo", echo},
		{"with the namespace", "client-1", "a", "echo.default", echo},
		{"from another namespace", "other/stranger", "a", "echo.default", echo},
		{"with svc", "other/stranger", "a", "echo.default.svc", echo},
		{"in full", "other/stranger", "a", "echo.default" + domain, echo},
		{"in full, with the dot", "client-1", "a", "echo.default" + domain + ".", echo},
		{"the API server", "client-2", "a", "kubernetes.default", kubernetes},
		{"headless", "client-1", "a", "db", strings.Join(db, "\n")},
		{"a pod of a headless Service", "client-1", "a", "db-0.db", f.ip(t, "db-0")},
		{"a pod with hostname and subdomain", "client-1", "a", "second.clients", f.ip(t, "client-2")},
		{"itself", "client-2", "a", "second.clients.default" + domain, f.ip(t, "client-2")},
		{"the world's", "client-1", "a", strings.TrimSuffix(worldName, "."), worldNamed},
		{"the world's, with the dot", "other/stranger", "a", worldName, worldNamed},
		{"an external name", "client-1", "a", "outside", worldNamed},
		{"an external name's target", "client-1", "cname", "outside", worldName},
		{"ports", "client-1", "srv", "_http._tcp.echo.default" + domain, "echo.default" + domain + ".:80"},
		{"ports of a headless Service", "client-1", "srv", "_http._tcp.db.default" + domain, "db-0.db.default" + domain + ".:8080\ndb-1.db.default" + domain + ".:8080"},
		{"a Service's address", "client-1", "ptr", echo, "echo.default" + domain + "."},
		{"a pod's address", "client-1", "ptr", f.ip(t, "db-1"), "db-1.db.default" + domain + "."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := f.in(t, tt.pod, "lookup", tt.kind, tt.query); got != tt.want {
				t.Errorf("%s of %s: %q, want %q", tt.kind, tt.query, got, tt.want)
			}
		})
	}
	for _, query := range []string{"echo", "nothing.default", "no.such.outside.test"} {
		if out, err := f.try(t, "other/stranger", "lookup", "a", query); err == nil || !strings.Contains(err.Error(), "no such host") {
			t.Errorf("%s from another namespace: %q, %v; want that it is not there", query, out, err)
		}
	}
}
