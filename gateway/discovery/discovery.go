// Package discovery tells clients which groups, versions and resources are
// served, in the plain form (a document per group and version) and in the
// aggregated one (a single document, apidiscovery.k8s.io/v2).
package discovery

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/gateway/negotiate"
	"navarch.dev/navarch/gateway/reply"
	"navarch.dev/navarch/gateway/routes"
	"navarch.dev/navarch/internal/kinds"
)

// Documents answers discovery requests from a registry of kinds.
type Documents struct {
	registry     *kinds.Registry
	more         []*kinds.Kind // beside those of the registry
	subresources map[string]routes.Subresource

	mu sync.Mutex // guards the fields below
	// core and groups are the aggregated documents as of a generation of the
	// kinds.
	core, groups aggregated
	generation   int64
}

// aggregated is one encoded document of the aggregated form.
type aggregated struct {
	body map[string][]byte // by media type
	etag string
	err  error
}

// New returns the documents of reg, and of more kinds beside it.
func New(reg *kinds.Registry, more ...*kinds.Kind) *Documents {
	return &Documents{registry: reg, more: more, subresources: routes.Subresources(), generation: -1}
}

// kinds returns all that are shown.
func (d *Documents) kinds() []*kinds.Kind { return slices.Concat(d.registry.All(), d.more) }

// aggregates returns the aggregated documents, made anew if there are other kinds
// than before.
func (d *Documents) aggregates() (core, groups aggregated) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := d.registry.Generation(); now != d.generation {
		d.core = d.aggregate(func(g string) bool { return g == "" })
		d.groups = d.aggregate(func(g string) bool { return g != "" })
		d.generation = now
	}
	return d.core, d.groups
}

func (d *Documents) allCore() aggregated {
	core, _ := d.aggregates()
	return core
}

func (d *Documents) allGroups() aggregated {
	_, groups := d.aggregates()
	return groups
}

// offer is what /api and /apis can answer in.
func offer(f negotiate.Format) bool {
	if f.As == "APIGroupDiscoveryList" {
		return f.Group == "apidiscovery.k8s.io" && f.Version == "v2" && (f.Media == negotiate.JSON || f.Media == negotiate.Protobuf)
	}
	return negotiate.Plain(f)
}

// ServeCore answers /api.
func (d *Documents) ServeCore(w http.ResponseWriter, r *http.Request) {
	d.serveRoot(w, r, d.allCore, func() reply.Message {
		return &metav1.APIVersions{
			TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"},
			ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: r.Host}},
		}
	})
}

// ServeGroups answers /apis.
func (d *Documents) ServeGroups(w http.ResponseWriter, r *http.Request) {
	d.serveRoot(w, r, d.allGroups, func() reply.Message {
		return &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: d.apiGroups()}
	})
}

func (d *Documents) serveRoot(w http.ResponseWriter, r *http.Request, all func() aggregated, plain func() reply.Message) {
	w.Header().Add("Vary", "Accept")
	f, ok := negotiate.Select(r.Header, offer)
	switch {
	case !ok:
		reply.Error(w, r, reply.NotAcceptable())
	case f.As == "":
		reply.Object(w, r, http.StatusOK, f, plain())
	default:
		serveAggregated(w, r, f, all())
	}
}

func serveAggregated(w http.ResponseWriter, r *http.Request, f negotiate.Format, a aggregated) {
	if a.err != nil {
		reply.Error(w, r, a.err)
		return
	}
	w.Header().Set("ETag", a.etag)
	w.Header().Set("Cache-Control", "public")
	if etagMatches(r, a.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	contentType := f.Media + ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	reply.Bytes(w, r, http.StatusOK, contentType, a.body[f.Media])
}

// etagMatches says whether the client already has the document.
func etagMatches(r *http.Request, etag string) bool {
	for _, h := range r.Header.Values("If-None-Match") {
		for tag := range strings.SplitSeq(h, ",") {
			if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
				return true
			}
		}
	}
	return false
}

// ServeGroup answers /apis/{group}. It returns false if there is none.
func (d *Documents) ServeGroup(w http.ResponseWriter, r *http.Request, group string) bool {
	for _, g := range d.apiGroups() {
		if g.Name == group {
			g.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
			d.serve(w, r, &g)
			return true
		}
	}
	return false
}

// ServeVersion answers /api/v1 and /apis/{group}/{version}. It returns false
// if that version is not served.
func (d *Documents) ServeVersion(w http.ResponseWriter, r *http.Request, gv schema.GroupVersion) bool {
	list := &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String()}
	for _, k := range d.kinds() {
		if k.GVK().GroupVersion() == gv {
			list.APIResources = append(list.APIResources, d.resources(k)...)
		}
	}
	if list.APIResources == nil {
		return false
	}
	d.serve(w, r, list)
	return true
}

func (d *Documents) serve(w http.ResponseWriter, r *http.Request, obj reply.Message) {
	f, ok := negotiate.Select(r.Header, negotiate.Plain)
	if !ok {
		reply.Error(w, r, reply.NotAcceptable())
		return
	}
	reply.Object(w, r, http.StatusOK, f, obj)
}

// Verbs returns what can be done with a kind's objects.
func Verbs(k *kinds.Kind) []string {
	switch {
	case k.CreateOnly:
		return []string{"create"}
	case k.ReadOnly:
		return []string{"get", "list"}
	case k.Custom != nil && k.Custom.Terminating:
		return []string{"delete", "deletecollection", "get", "list", "watch"}
	case !routes.HasDeleteCollection(k):
		return []string{"create", "delete", "get", "list", "patch", "update", "watch"}
	}
	return []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
}

// resources returns a kind and its subresources in the plain form.
func (d *Documents) resources(k *kinds.Kind) []metav1.APIResource {
	out := []metav1.APIResource{{
		Name: k.Resource, SingularName: k.Singular, Namespaced: k.Namespaced, Kind: k.Kind,
		Verbs: Verbs(k), ShortNames: k.ShortNames, Categories: k.Categories, StorageVersionHash: d.storageVersionHash(k),
	}}
	for _, name := range k.Subresources {
		s, ok := d.subresources[name]
		if !ok {
			continue
		}
		r := metav1.APIResource{Name: k.Resource + "/" + name, Namespaced: k.Namespaced, Kind: k.Kind, Verbs: s.Verbs}
		if of := s.KindFor(k); of != k.GVK() {
			r.Group, r.Version, r.Kind = of.Group, of.Version, of.Kind
		}
		out = append(out, r)
	}
	return out
}

// storageVersionHash tells clients in which version a kind's objects are stored, so
// that those which move objects to a new one see when it changes. It is what the
// API server of Kubernetes shows for the same version, and empty for kinds that are
// not stored.
func (d *Documents) storageVersionHash(k *kinds.Kind) string {
	if !k.Stored() {
		return ""
	}
	stored := k.GVK()
	switch {
	case k.Custom != nil:
		for _, v := range k.Custom.Definition.Spec.Versions {
			if v.Storage {
				stored.Version = v.Name
			}
		}
	case k.StoredAs != nil:
		if as, ok := d.registry.ForResource(k.StoredAs.GVR); ok {
			stored = as.GVK()
		} else {
			stored = k.StoredAs.Kind.GVK()
		}
	}
	sum := sha256.Sum256([]byte(stored.Group + "/" + stored.Version + "/" + stored.Kind))
	return base64.StdEncoding.EncodeToString(sum[:8])
}

// apiGroups returns the named groups in the registry's order.
func (d *Documents) apiGroups() []metav1.APIGroup {
	var groups []metav1.APIGroup
	for _, k := range d.kinds() {
		if k.Group == "" {
			continue
		}
		i := slices.IndexFunc(groups, func(g metav1.APIGroup) bool { return g.Name == k.Group })
		version := metav1.GroupVersionForDiscovery{GroupVersion: k.APIVersion(), Version: k.Version}
		if i < 0 {
			groups = append(groups, metav1.APIGroup{Name: k.Group, PreferredVersion: version, Versions: []metav1.GroupVersionForDiscovery{version}})
		} else if !slices.Contains(groups[i].Versions, version) {
			groups[i].Versions = append(groups[i].Versions, version)
		}
	}
	return groups
}

// aggregate makes the aggregated document of the groups that include takes.
func (d *Documents) aggregate(include func(group string) bool) aggregated {
	list := &apidiscoveryv2.APIGroupDiscoveryList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: "apidiscovery.k8s.io/v2"},
	}
	for _, k := range d.kinds() {
		if !include(k.Group) {
			continue
		}
		v := versionOf(list, k)
		v.Resources = append(v.Resources, d.aggregatedResource(k))
	}
	a := aggregated{body: make(map[string][]byte)}
	for _, media := range []string{negotiate.JSON, negotiate.Protobuf} {
		if a.body[media], a.err = reply.Encode(list, negotiate.Format{Media: media}); a.err != nil {
			a.err = fmt.Errorf("encode the discovery document: %w", a.err)
			return a
		}
	}
	sum := sha256.Sum256(a.body[negotiate.JSON])
	a.etag = `"` + strings.ToUpper(hex.EncodeToString(sum[:])) + `"`
	return a
}

// versionOf returns the entry of a kind's group and version, added if missing.
func versionOf(list *apidiscoveryv2.APIGroupDiscoveryList, k *kinds.Kind) *apidiscoveryv2.APIVersionDiscovery {
	i := slices.IndexFunc(list.Items, func(g apidiscoveryv2.APIGroupDiscovery) bool { return g.Name == k.Group })
	if i < 0 {
		list.Items = append(list.Items, apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: k.Group}})
		i = len(list.Items) - 1
	}
	g := &list.Items[i]
	j := slices.IndexFunc(g.Versions, func(v apidiscoveryv2.APIVersionDiscovery) bool { return v.Version == k.Version })
	if j < 0 {
		g.Versions = append(g.Versions, apidiscoveryv2.APIVersionDiscovery{Version: k.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent})
		j = len(g.Versions) - 1
	}
	return &g.Versions[j]
}

func (d *Documents) aggregatedResource(k *kinds.Kind) apidiscoveryv2.APIResourceDiscovery {
	kind := metav1.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind}
	r := apidiscoveryv2.APIResourceDiscovery{
		Resource: k.Resource, SingularResource: k.Singular, Scope: apidiscoveryv2.ScopeCluster,
		ResponseKind: &kind, Verbs: Verbs(k), ShortNames: k.ShortNames, Categories: k.Categories,
	}
	if k.Namespaced {
		r.Scope = apidiscoveryv2.ScopeNamespace
	}
	for _, name := range k.Subresources {
		s, ok := d.subresources[name]
		if !ok {
			continue
		}
		sk := metav1.GroupVersionKind(s.KindFor(k))
		r.Subresources = append(r.Subresources, apidiscoveryv2.APISubresourceDiscovery{Subresource: name, ResponseKind: &sk, Verbs: s.Verbs})
	}
	return r
}
