package openapi

import (
	"reflect"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/gateway/routes"
	"navarch.dev/navarch/internal/kinds"
)

// operation is one method of one path, before it is written as v2 or v3.
type operation struct {
	path, method string
	action       string
	description  string
	kind         *kinds.Kind
	subject      gvk
	// parameters are those of the query; the path's come from the path.
	parameters []parameter
	// body and result are models; empty is none.
	body, result string
	consumes     []string
	code         string
}

type parameter struct{ name, kind, description string }

func (o operation) id() string {
	name := strings.NewReplacer("{", "", "}", "", "/", "_", ".", "_", "-", "_").Replace(strings.Trim(o.path, "/"))
	return o.method + "_" + name
}

// pathParameters returns the names in braces.
func pathParameters(path string) []parameter {
	var out []parameter
	for part := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			name = strings.TrimSuffix(name, "}")
			out = append(out, parameter{name, "string", "the object's " + name})
		}
	}
	return out
}

var (
	writeParameters = []parameter{
		{"dryRun", "string", "All: do everything but store the result"},
		{"fieldManager", "string", "who makes the change"},
		{"fieldValidation", "string", "Ignore, Warn or Strict: what happens to unknown and duplicate fields"},
	}
	listParameters = []parameter{
		{"allowWatchBookmarks", "boolean", "send bookmarks to a watch"},
		{"continue", "string", "the token of the next page"},
		{"fieldSelector", "string", "only objects whose fields match"},
		{"labelSelector", "string", "only objects whose labels match"},
		{"limit", "integer", "the most objects of a page"},
		{"resourceVersion", "string", "which version to read"},
		{"resourceVersionMatch", "string", "how resourceVersion is meant"},
		{"sendInitialEvents", "boolean", "begin a watch with the present objects"},
		{"timeoutSeconds", "integer", "how long a watch lasts"},
		{"watch", "boolean", "send changes as they happen"},
	}
	deleteParameters = []parameter{
		{"dryRun", "string", "All: do everything but delete"},
		{"gracePeriodSeconds", "integer", "how long the object may take to end"},
		{"orphanDependents", "boolean", "older form of propagationPolicy"},
		{"propagationPolicy", "string", "Orphan, Background or Foreground: what becomes of dependents"},
	}
	forceParameter = parameter{"force", "boolean", "server-side apply: take fields over from other managers"}
)

var (
	objectTypes = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
	patchTypes  = []string{
		"application/apply-patch+yaml", "application/json-patch+json",
		"application/merge-patch+json", "application/strategic-merge-patch+json",
	}
)

// objectTypesOf are the media types of a kind's objects. Custom kinds have no
// Protobuf messages.
func objectTypesOf(k *kinds.Kind) []string {
	if k.Custom != nil {
		return objectTypes[:2]
	}
	return objectTypes
}

// patchTypesOf are the media types of a kind's patches: custom kinds take no
// strategic ones, which clients choose by this.
func patchTypesOf(k *kinds.Kind) []string {
	if k.Custom != nil {
		return patchTypes[:3]
	}
	return patchTypes
}

// root returns "/api/v1" or "/apis/{group}/{version}".
func root(k *kinds.Kind) string {
	if k.Group == "" {
		return "/api/" + k.Version
	}
	return "/apis/" + k.Group + "/" + k.Version
}

// operations returns everything that can be done with a kind, and adds the
// models it takes.
func operations(m *models, k *kinds.Kind) []operation {
	b := builder{m: m, kind: k, subject: gvkOf(k.GVK())}
	if k.Custom != nil {
		b.object = m.custom(k)
	} else {
		b.object = b.model(k.New())
	}
	collection := root(k) + "/" + k.Resource
	if k.Namespaced {
		if !k.CreateOnly {
			b.list(collection)
		}
		collection = root(k) + "/namespaces/{namespace}/" + k.Resource
	}
	if k.ReadOnly {
		b.list(collection)
		b.read(collection+"/{name}", "the "+k.Kind)
		return b.out
	}
	b.add(operation{path: collection, method: "post", action: "post", description: "create " + article(k.Kind),
		parameters: writeParameters, body: b.object, result: b.object, consumes: objectTypesOf(k), code: "201"})
	if k.CreateOnly {
		return b.out
	}
	b.list(collection)
	if routes.HasDeleteCollection(k) {
		b.add(operation{path: collection, method: "delete", action: "deletecollection", description: "delete every matching " + k.Kind,
			parameters: deleteAll(), body: b.model(&metav1.DeleteOptions{}), result: b.model(&metav1.Status{}), consumes: objectTypes})
	}
	item := collection + "/{name}"
	b.document(item, "the "+k.Kind)
	b.add(operation{path: item, method: "delete", action: "delete", description: "delete the " + k.Kind,
		parameters: deleteParameters, body: b.model(&metav1.DeleteOptions{}), result: b.model(&metav1.Status{}), consumes: objectTypes})
	for _, name := range k.Subresources {
		b.subresource(item, name)
	}
	return b.out
}

// deleteAll are the parameters of deleting a collection. Where both lists have
// a parameter, the deletion's counts.
func deleteAll() []parameter {
	return append(append([]parameter(nil), deleteParameters...), listParameters...)
}

func article(kind string) string {
	if strings.ContainsRune("AEIOU", rune(kind[0])) {
		return "an " + kind
	}
	return "a " + kind
}

// builder collects the operations of one kind.
type builder struct {
	m       *models
	kind    *kinds.Kind
	subject gvk
	object  string
	out     []operation
}

func (b *builder) model(value any) string { return b.m.add(reflect.TypeOf(value).Elem()) }

// listModel returns the model of the kind's lists.
func (b *builder) listModel() string {
	if b.kind.Custom != nil {
		return b.m.customList(b.kind)
	}
	return b.model(b.kind.NewList())
}

func (b *builder) add(o operation) {
	o.kind = b.kind
	if o.subject == (gvk{}) {
		o.subject = b.subject
	}
	if o.code == "" {
		o.code = "200"
	}
	b.out = append(b.out, o)
}

func (b *builder) list(path string) {
	what := "list or watch objects of kind "
	if b.kind.ReadOnly {
		what = "list objects of kind "
	}
	b.add(operation{path: path, method: "get", action: "list", description: what + b.kind.Kind,
		parameters: listParameters, result: b.listModel()})
}

// read adds the reading of one object.
func (b *builder) read(path, what string) {
	b.add(operation{path: path, method: "get", action: "get", description: "read " + what, result: b.object})
}

// document adds what can be done with one object as a whole.
func (b *builder) document(path, what string) {
	b.read(path, what)
	b.add(operation{path: path, method: "put", action: "put", description: "replace " + what,
		parameters: writeParameters, body: b.object, result: b.object, consumes: objectTypesOf(b.kind)})
	b.add(operation{path: path, method: "patch", action: "patch", description: "change parts of " + what,
		parameters: append([]parameter{forceParameter}, writeParameters...), body: b.model(&metav1.Patch{}), result: b.object, consumes: patchTypesOf(b.kind)})
}

// subresource adds one subresource.
func (b *builder) subresource(item, name string) {
	s, ok := routes.Subresources()[name]
	if !ok {
		return
	}
	sub := builder{m: b.m, kind: b.kind, subject: gvkOf(s.KindFor(b.kind)), object: b.object}
	switch name {
	case "scale":
		sub.object = sub.model(&autoscalingv1.Scale{})
	case "binding":
		sub.object = sub.model(&corev1.Binding{})
	case "eviction":
		sub.object = sub.model(&policyv1.Eviction{})
	case "token":
		sub.object = sub.model(&authenticationv1.TokenRequest{})
	}
	path := item + "/" + name
	what := name + " of the " + b.kind.Kind
	for _, verb := range s.Verbs {
		o := operation{path: path, method: strings.ToLower(routes.MethodOf(verb)), action: verb, description: verb + " " + what}
		switch {
		case s.Stream:
			o.action = "connect"
		case verb == "get":
			o.result = sub.object
		case verb == "patch":
			o.parameters, o.body, o.result, o.consumes = append([]parameter{forceParameter}, writeParameters...), sub.model(&metav1.Patch{}), sub.object, patchTypesOf(b.kind)
		case verb == "update":
			o.action = "put"
			o.parameters, o.body, o.result, o.consumes = writeParameters, sub.object, sub.object, objectTypesOf(b.kind)
		case verb == "create":
			o.action, o.code = "post", "201"
			o.parameters, o.body, o.result, o.consumes = writeParameters, sub.object, sub.object, objectTypesOf(b.kind)
		}
		sub.add(o)
	}
	b.out = append(b.out, sub.out...)
}
