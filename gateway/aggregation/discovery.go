package aggregation

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/internal/extension"
	"navarch.dev/navarch/internal/kinds"
)

const (
	discoveryGroup = "apidiscovery.k8s.io"
	discoveryList  = "APIGroupDiscoveryList"
	acceptV2       = negotiate.JSON + ";g=" + discoveryGroup + ";v=v2;as=" + discoveryList
)

// resources are what a server says it serves of a version.
type resources []apidiscoveryv2.APIResourceDiscovery

// discover asks a server what it serves.
func (s *server) discover(ctx context.Context) (resources, error) {
	body, contentType, err := s.fetch(ctx, "/apis", acceptV2+","+negotiate.JSON)
	if err == nil && isDiscovery(contentType) {
		list := &apidiscoveryv2.APIGroupDiscoveryList{}
		if err := json.Unmarshal(body, list); err != nil {
			return nil, fmt.Errorf("read what %s serves: %w", s.gv, err)
		}
		return s.own(list), nil
	}
	// Older servers know a document a version only.
	body, _, err = s.fetch(ctx, extension.Path(s.gv), negotiate.JSON)
	if err != nil {
		return nil, err
	}
	list := &metav1.APIResourceList{}
	if err := json.Unmarshal(body, list); err != nil {
		return nil, fmt.Errorf("read what %s serves: %w", s.gv, err)
	}
	return s.converted(list), nil
}

// isDiscovery says whether a body is of the aggregated form.
func isDiscovery(contentType string) bool {
	_, params, err := mime.ParseMediaType(contentType)
	return err == nil && params["g"] == discoveryGroup && params["v"] == "v2" && params["as"] == discoveryList
}

// own returns the resources of the server's version.
func (s *server) own(list *apidiscoveryv2.APIGroupDiscoveryList) resources {
	for _, g := range list.Items {
		for _, v := range g.Versions {
			if g.Name == s.gv.Group && v.Version == s.gv.Version {
				return complete(v.Resources)
			}
		}
	}
	return nil
}

// complete sets the kinds that some clients expect to be there.
func complete(all resources) resources {
	for i := range all {
		if all[i].ResponseKind == nil {
			all[i].ResponseKind = &metav1.GroupVersionKind{}
		}
		for j := range all[i].Subresources {
			if all[i].Subresources[j].ResponseKind == nil {
				all[i].Subresources[j].ResponseKind = &metav1.GroupVersionKind{}
			}
		}
	}
	return all
}

// converted returns the plain form's resources, in which subresources stand
// beside their parents.
func (s *server) converted(list *metav1.APIResourceList) resources {
	kind := func(r *metav1.APIResource) *metav1.GroupVersionKind {
		return &metav1.GroupVersionKind{Group: cmp.Or(r.Group, s.gv.Group), Version: cmp.Or(r.Version, s.gv.Version), Kind: r.Kind}
	}
	var all resources
	at := func(name string) int {
		return slices.IndexFunc(all, func(r apidiscoveryv2.APIResourceDiscovery) bool { return r.Resource == name })
	}
	for i := range list.APIResources {
		r := &list.APIResources[i]
		if strings.Contains(r.Name, "/") {
			continue
		}
		scope := apidiscoveryv2.ScopeCluster
		if r.Namespaced {
			scope = apidiscoveryv2.ScopeNamespace
		}
		all = append(all, apidiscoveryv2.APIResourceDiscovery{
			Resource: r.Name, ResponseKind: kind(r), Scope: scope, SingularResource: r.SingularName, Verbs: r.Verbs,
			ShortNames: r.ShortNames, Categories: r.Categories,
		})
	}
	for i := range list.APIResources {
		r := &list.APIResources[i]
		name, sub, ok := strings.Cut(r.Name, "/")
		if !ok {
			continue
		}
		parent := at(name)
		if parent < 0 { // one that is used by its subresources only
			scope := apidiscoveryv2.ScopeCluster
			if r.Namespaced {
				scope = apidiscoveryv2.ScopeNamespace
			}
			all = append(all, apidiscoveryv2.APIResourceDiscovery{Resource: name, Scope: scope, ResponseKind: &metav1.GroupVersionKind{}})
			parent = len(all) - 1
		}
		all[parent].Subresources = append(all[parent].Subresources, apidiscoveryv2.APISubresourceDiscovery{Subresource: sub, ResponseKind: kind(r), Verbs: r.Verbs})
	}
	return all
}

// mergeDiscovery adds what other servers serve to the cluster's own document of
// the aggregated form. What cannot be had is marked as stale.
func (a *Aggregator) mergeDiscovery(ctx context.Context, list *apidiscoveryv2.APIGroupDiscoveryList) {
	servers := *a.servers.Load()
	found := make(map[schema.GroupVersion]apidiscoveryv2.APIVersionDiscovery, len(servers))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for gv, s := range servers {
		wg.Go(func() {
			v := apidiscoveryv2.APIVersionDiscovery{Version: gv.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
			var err error
			if v.Resources, err = s.resources.get(ctx, s.discover); err != nil {
				a.log.DebugContext(ctx, "another API server does not say what it serves", "api", gv.String(), "error", err)
				v.Freshness, v.Resources = apidiscoveryv2.DiscoveryFreshnessStale, nil
			}
			mu.Lock()
			defer mu.Unlock()
			found[gv] = v
		})
	}
	wg.Wait()
	for gv, v := range found {
		i := slices.IndexFunc(list.Items, func(g apidiscoveryv2.APIGroupDiscovery) bool { return g.Name == gv.Group })
		if i < 0 {
			list.Items = append(list.Items, apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: gv.Group}})
			i = len(list.Items) - 1
		}
		g := &list.Items[i]
		g.Versions = slices.DeleteFunc(g.Versions, func(have apidiscoveryv2.APIVersionDiscovery) bool { return have.Version == gv.Version })
		g.Versions = append(g.Versions, v)
	}
	o := a.order(servers)
	for i := range list.Items {
		g := &list.Items[i]
		slices.SortStableFunc(g.Versions, func(x, y apidiscoveryv2.APIVersionDiscovery) int { return o.versions(g.Name, x.Version, y.Version) })
	}
	slices.SortStableFunc(list.Items, func(x, y apidiscoveryv2.APIGroupDiscovery) int { return o.groups(x.Name, y.Name) })
}

// mergeGroups is mergeDiscovery for the plain form.
func (a *Aggregator) mergeGroups(list *metav1.APIGroupList) {
	servers := *a.servers.Load()
	for gv := range servers {
		i := slices.IndexFunc(list.Groups, func(g metav1.APIGroup) bool { return g.Name == gv.Group })
		if i < 0 {
			list.Groups = append(list.Groups, metav1.APIGroup{Name: gv.Group})
			i = len(list.Groups) - 1
		}
		v := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
		if !slices.Contains(list.Groups[i].Versions, v) {
			list.Groups[i].Versions = append(list.Groups[i].Versions, v)
		}
	}
	o := a.order(servers)
	for i := range list.Groups {
		g := &list.Groups[i]
		slices.SortStableFunc(g.Versions, func(x, y metav1.GroupVersionForDiscovery) int { return o.versions(g.Name, x.Version, y.Version) })
		if len(g.Versions) > 0 {
			g.PreferredVersion = g.Versions[0]
		}
	}
	slices.SortStableFunc(list.Groups, func(x, y metav1.APIGroup) int { return o.groups(x.Name, y.Name) })
}

// order is that of groups and versions in discovery: clients take the first
// that has what they look for.
type order struct {
	servers map[schema.GroupVersion]*server
	highest map[string]int32
}

func (a *Aggregator) order(servers map[schema.GroupVersion]*server) order {
	o := order{servers: servers, highest: make(map[string]int32)}
	for gv, s := range servers {
		o.highest[gv.Group] = max(o.highest[gv.Group], s.spec.GroupPriorityMinimum)
	}
	return o
}

func (o order) groups(x, y string) int {
	return cmp.Or(cmp.Compare(o.group(y), o.group(x)), cmp.Compare(x, y))
}

// group returns a group's priority: the highest of its versions'.
func (o order) group(name string) int32 {
	own := kinds.GroupPriority(name)
	if registered, ok := o.highest[name]; ok && own <= kinds.CustomPriority.Group {
		return registered
	}
	return max(own, o.highest[name])
}

func (o order) versions(group, x, y string) int {
	return cmp.Or(cmp.Compare(o.version(group, y), o.version(group, x)), version.CompareKubeAwareVersionStrings(y, x))
}

func (o order) version(group, v string) int32 {
	gv := schema.GroupVersion{Group: group, Version: v}
	if s := o.servers[gv]; s != nil {
		return s.spec.VersionPriority
	}
	if p, ok := kinds.BuiltinPriority(gv); ok {
		return p.Version
	}
	return kinds.CustomPriority.Version
}

// serveDiscovery answers /apis.
func (a *Aggregator) serveDiscovery(w http.ResponseWriter, r *http.Request, next http.Handler) {
	f, ok := negotiate.Select(r.Header, func(f negotiate.Format) bool {
		if f.As == discoveryList {
			return f.Group == discoveryGroup && f.Version == "v2" && f.Media != negotiate.YAML
		}
		return negotiate.Plain(f)
	})
	accept := negotiate.JSON
	if f.As != "" {
		accept = acceptV2
	}
	own, passed := record(w, r, next, accept)
	if !passed {
		return
	}
	switch {
	case !ok:
		reply.Error(w, r, reply.NotAcceptable())
	case f.As == "":
		list := &metav1.APIGroupList{}
		if err := json.Unmarshal(own, list); err != nil {
			reply.Error(w, r, fmt.Errorf("read the own groups: %w", err))
			return
		}
		a.mergeGroups(list)
		reply.Object(w, r, http.StatusOK, f, list)
	default:
		list := &apidiscoveryv2.APIGroupDiscoveryList{}
		if err := json.Unmarshal(own, list); err != nil {
			reply.Error(w, r, fmt.Errorf("read the own discovery document: %w", err))
			return
		}
		a.mergeDiscovery(r.Context(), list)
		writeDiscovery(w, r, f, list)
	}
}

func writeDiscovery(w http.ResponseWriter, r *http.Request, f negotiate.Format, list *apidiscoveryv2.APIGroupDiscoveryList) {
	text, err := reply.Encode(list, negotiate.Format{Media: negotiate.JSON})
	if err != nil {
		reply.Error(w, r, err)
		return
	}
	sum := sha256.Sum256(text)
	etag := `"` + strings.ToUpper(hex.EncodeToString(sum[:])) + `"`
	w.Header().Set("ETag", etag)
	w.Header().Set("Cache-Control", "public")
	w.Header().Add("Vary", "Accept")
	if strings.TrimPrefix(r.Header.Get("If-None-Match"), "W/") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if f.Media != negotiate.JSON {
		if text, err = reply.Encode(list, f); err != nil {
			reply.Error(w, r, err)
			return
		}
	}
	reply.Bytes(w, r, http.StatusOK, f.Media+";g="+discoveryGroup+";v=v2;as="+discoveryList, text)
}

// serveGroup answers /apis/GROUP of a group that other servers serve versions of.
func (a *Aggregator) serveGroup(w http.ResponseWriter, r *http.Request, next http.Handler, group string) {
	f, ok := negotiate.Select(r.Header, negotiate.Plain)
	all := &http.Request{}
	*all = *r.Clone(r.Context())
	all.URL.Path, all.URL.RawPath = "/apis", ""
	own, passed := record(w, all, next, negotiate.JSON)
	if !passed {
		return
	}
	list := &metav1.APIGroupList{}
	if err := json.Unmarshal(own, list); err != nil {
		reply.Error(w, r, fmt.Errorf("read the own groups: %w", err))
		return
	}
	a.mergeGroups(list)
	i := slices.IndexFunc(list.Groups, func(g metav1.APIGroup) bool { return g.Name == group })
	switch {
	case !ok:
		reply.Error(w, r, reply.NotAcceptable())
	case i < 0:
		next.ServeHTTP(w, r)
	default:
		list.Groups[i].TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
		reply.Object(w, r, http.StatusOK, f, &list.Groups[i])
	}
}

// hasGroup says whether another server serves a version of a group.
func (a *Aggregator) hasGroup(group string) bool {
	for gv := range *a.servers.Load() {
		if gv.Group == group {
			return true
		}
	}
	return false
}

// byName orders versions by their names.
func byName(x, y schema.GroupVersion) int {
	return cmp.Or(cmp.Compare(x.Group, y.Group), cmp.Compare(x.Version, y.Version))
}
