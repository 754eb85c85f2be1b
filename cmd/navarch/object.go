package main

import (
	"context"
	"fmt"
	"strings"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/customkinds"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// objectRef is KIND/NAME of the command line.
type objectRef struct {
	kind            *kinds.Kind
	namespace, name string
}

// String returns "pod shop/web" or "node n1".
func (o objectRef) String() string {
	if o.namespace == "" {
		return o.kind.Singular + " " + o.name
	}
	return o.kind.Singular + " " + o.namespace + "/" + o.name
}

// resource returns what the Store calls the object's kind.
func (o objectRef) resource() *storev1.Resource {
	return &storev1.Resource{Group: o.kind.Group, Version: o.kind.Version, Resource: o.kind.Resource}
}

// objectName is KIND/NAME as it was written, in a namespace that counts if the
// kind has any.
type objectName struct {
	kind, namespace, name string
}

func parseObjectName(text, namespace string) (objectName, error) {
	kind, name, ok := strings.Cut(text, "/")
	if !ok || kind == "" || name == "" || strings.Contains(name, "/") {
		return objectName{}, usageError{fmt.Errorf("%q must be KIND/NAME, as in deployment/web", text)}
	}
	return objectName{kind, namespace, name}, nil
}

// of returns the object that is named so among those of some kinds. The kind
// goes by any of the names that kubectl knows it by.
func (n objectName) of(registry *kinds.Registry) (objectRef, bool) {
	kind, ok := findKind(registry, strings.ToLower(n.kind))
	if !ok {
		return objectRef{}, false
	}
	ref := objectRef{kind: kind, namespace: n.namespace, name: n.name}
	if !kind.Namespaced {
		ref.namespace = ""
	}
	return ref, true
}

// object finds out what a name names. The cluster is asked only if the kind is
// none that all clusters have.
func (a *access) object(ctx context.Context, name objectName) (objectRef, error) {
	if ref, ok := name.of(kinds.Default()); ok {
		return ref, nil
	}
	registry, err := a.kinds(ctx)
	if err != nil {
		return objectRef{}, err
	}
	if ref, ok := name.of(registry); ok {
		return ref, nil
	}
	return objectRef{}, usageError{fmt.Errorf("%q is no kind of object: name one as kubectl does, as in deployment, deploy or deployments.apps", name.kind)}
}

// kinds returns the kinds that the cluster has, custom ones too.
func (a *access) kinds(ctx context.Context) (*kinds.Registry, error) {
	conn, err := a.store()
	if err != nil {
		return nil, err
	}
	registry := kinds.NewRegistry()
	custom, err := customkinds.New(client.New(conn, "navarch-cli"), registry)
	if err != nil {
		return nil, err
	}
	return registry, custom.Refresh(ctx)
}

// findKind finds a kind by its plural, singular or short name, with its group or
// without.
func findKind(registry *kinds.Registry, name string) (*kinds.Kind, bool) {
	resource, group, qualified := strings.Cut(name, ".")
	for _, k := range registry.All() {
		if k.CreateOnly || qualified && group != k.Group {
			continue
		}
		if resource == k.Resource || resource == k.Singular {
			return k, true
		}
		for _, short := range k.ShortNames {
			if resource == short {
				return k, true
			}
		}
	}
	return nil, false
}
