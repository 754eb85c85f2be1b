package customresource

import (
	"context"
	"errors"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/structural"
)

// conversion converts the objects of a definition between its versions.
type conversion struct {
	definition *kinds.Definition
	hooks      Converter
	schemas    map[string]*structural.Schema
}

// read returns a stored object as one of a kind. A field that the version's
// schema has no longer, or has another type in it now, is left out.
func (c *conversion) read(obj kinds.Object, gvk schema.GroupVersionKind) (kinds.Object, error) {
	converted, err := c.converted(obj, gvk.Version)
	if err != nil {
		return nil, err
	}
	u := converted.(*unstructured.Unstructured)
	s := c.schemas[gvk.Version]
	if _, err := s.CoerceMeta(u.Object, true); err != nil {
		return nil, err
	}
	s.Prune(u.Object)
	s.DropNulls(u.Object)
	s.ApplyDefaults(u.Object)
	u.SetGroupVersionKind(gvk)
	return u, nil
}

// converted returns a copy of an object in a version, within the time that all
// who wait for it are given.
func (c *conversion) converted(obj kinds.Object, version string) (kinds.Object, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("convert a %T: it is of no custom kind", obj)
	}
	ctx, cancel := context.WithTimeout(context.Background(), conversionTimeout)
	defer cancel()
	return c.convert(ctx, u, version)
}

// convert returns a copy of an object in a version.
func (c *conversion) convert(ctx context.Context, u *unstructured.Unstructured, version string) (*unstructured.Unstructured, error) {
	out := u.DeepCopy()
	gv := schema.GroupVersion{Group: c.definition.Spec.Group, Version: version}
	how := c.definition.Spec.Conversion
	if u.GroupVersionKind().GroupVersion() == gv {
		return out, nil
	}
	if how == nil || how.Strategy != apiextensionsv1.WebhookConverter {
		out.SetAPIVersion(gv.String())
		return out, nil
	}
	if c.hooks == nil || how.Webhook == nil {
		return nil, errors.New("conversion webhooks cannot be asked here")
	}
	converted, err := c.hooks.Convert(ctx, how.Webhook, []*unstructured.Unstructured{out}, gv.String())
	if err != nil {
		// Whatever the webhook answers, it is not what the client asked for.
		return nil, apierrors.NewInternalError(fmt.Errorf("conversion webhook for %s failed: %w", u.GroupVersionKind(), err))
	}
	return converted[0], nil
}
