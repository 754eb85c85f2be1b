package gateway

import (
	"net/http"
	"net/url"
	"strings"

	"navarch.dev/navarch/gateway/caller"
	"navarch.dev/navarch/gateway/podstream"
	"navarch.dev/navarch/gateway/reply"
)

// proxying serves what is under /proxy of a pod, a Service or a node. The mux cannot:
// the rest of such a path belongs to the program behind it, which must get it
// as the client wrote it.
func (g *Gateway) proxying(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target, ok := proxyTarget(r.URL.EscapedPath())
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		ctx, err := caller.Enter(w, r)
		if err != nil {
			reply.Error(w, r, err)
			return
		}
		g.streams.Proxy(w, r.WithContext(ctx), target)
	})
}

// proxyTarget takes a path apart:
//
//	/api/v1/namespaces/{namespace}/{pods|services}/{[scheme:]name[:port]}/proxy[/rest]
//	/api/v1/nodes/{[scheme:]name[:port]}/proxy[/rest]
func proxyTarget(path string) (podstream.ProxyTarget, bool) {
	t := podstream.ProxyTarget{Scheme: "http"}
	rest, ok := strings.CutPrefix(path, "/api/v1/")
	if inside, namespaced := strings.CutPrefix(rest, "namespaces/"); ok && namespaced {
		t.Namespace, rest, _ = strings.Cut(inside, "/")
		ok = t.Namespace != ""
	}
	if !ok {
		return podstream.ProxyTarget{}, false
	}
	parts := strings.SplitN(rest, "/", 4)
	if len(parts) < 3 || parts[2] != "proxy" || !proxied(parts[0], t.Namespace != "") {
		return podstream.ProxyTarget{}, false
	}
	id, err := url.PathUnescape(parts[1])
	if err != nil {
		return podstream.ProxyTarget{}, false
	}
	t.Resource = parts[0]
	if len(parts) == 4 {
		t.Path = "/" + parts[3]
	}
	switch id := strings.Split(id, ":"); len(id) {
	case 1:
		t.Name = id[0]
	case 2:
		t.Name, t.Port = id[0], id[1]
	case 3:
		t.Name, t.Port = id[1], id[2]
		if id[0] != "" {
			t.Scheme = id[0]
		}
	default:
		return podstream.ProxyTarget{}, false
	}
	return t, t.Name != "" && (t.Scheme == "http" || t.Scheme == "https")
}

// proxied says whether there is something behind the objects of a resource.
func proxied(resource string, namespaced bool) bool {
	if namespaced {
		return resource == "pods" || resource == "services"
	}
	return resource == "nodes"
}
