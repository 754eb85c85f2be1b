package runner

import (
	"context"
	"strings"
)

// IsNamespaced says whether a key is that of a namespaced object, which has a
// slash, for controllers that work on objects of both scopes.
func IsNamespaced(key string) bool { return strings.Contains(key, "/") }

// TraceByScope is the Options.Trace of such a controller: it continues the
// trace of a namespaced object, or that of a cluster-scoped one.
func TraceByScope(namespaced, cluster func(ctx context.Context, key string) context.Context) func(context.Context, string) context.Context {
	return func(ctx context.Context, key string) context.Context {
		if IsNamespaced(key) {
			return namespaced(ctx, key)
		}
		return cluster(ctx, key)
	}
}
