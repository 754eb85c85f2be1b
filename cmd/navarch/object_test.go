package main

import (
	"errors"
	"testing"

	"navarch.dev/navarch/internal/kinds"
)

func TestObjectNames(t *testing.T) {
	for _, tc := range []struct{ text, kind, namespace, name string }{
		{"deployment/web", "Deployment", "shop", "web"},
		{"deployments/web", "Deployment", "shop", "web"},
		{"deploy/web", "Deployment", "shop", "web"},
		{"Deployments.apps/web", "Deployment", "shop", "web"},
		{"po/web-0", "Pod", "shop", "web-0"},
		{"no/n1", "Node", "", "n1"},
	} {
		name, err := parseObjectName(tc.text, "shop")
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		ref, ok := name.of(kinds.Default())
		if !ok {
			t.Errorf("%s: no such kind", tc.text)
			continue
		}
		if ref.kind.Kind != tc.kind || ref.namespace != tc.namespace || ref.name != tc.name {
			t.Errorf("%s is %s %q/%q, want %s %q/%q", tc.text, ref.kind.Kind, ref.namespace, ref.name, tc.kind, tc.namespace, tc.name)
		}
	}
	for _, text := range []string{"", "web", "/web", "pod/", "pod/a/b"} {
		_, err := parseObjectName(text, "shop")
		var usage usageError
		if !errors.As(err, &usage) {
			t.Errorf("%q: the error is %v, want one about usage", text, err)
		}
	}
	for _, kind := range []string{"boat", "pods.apps", "tokenreview"} {
		if ref, ok := (objectName{kind, "shop", "x"}).of(kinds.Default()); ok {
			t.Errorf("%q is %s", kind, ref.kind.Kind)
		}
	}
}
