// Package scale reads and writes how many pods an object of any kind wants,
// through the kind's subresource "scale".
package scale

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// fieldManager is whose fields those are that are written here.
const fieldManager = "navarch-controller"

// KindOf returns a kind that can be scaled, in the version that is preferred if
// gvk has none. Errors say that there is no such kind, or that it cannot be
// scaled.
func KindOf(registry *kinds.Registry, gvk schema.GroupVersionKind) (*kinds.Kind, error) {
	for _, k := range registry.All() {
		if k.Group == gvk.Group && k.Kind == gvk.Kind && (gvk.Version == "" || gvk.Version == k.Version) {
			if !k.HasSubresource("scale") {
				return nil, fmt.Errorf("%s does not implement the scale subresource", k.GroupResource())
			}
			return k, nil
		}
	}
	if gvk.Version != "" {
		return nil, fmt.Errorf("no matches for kind %q in version %q", gvk.Kind, gvk.GroupVersion())
	}
	return nil, fmt.Errorf("no matches for kind %q in group %q", gvk.Kind, gvk.Group)
}

// Get reads an object's scale. Errors are those of the Store, as Kubernetes
// clients know them.
func Get(ctx context.Context, c *client.Client, kind *kinds.Kind, namespace, name string) (*autoscalingv1.Scale, error) {
	resp, err := c.Store().Get(ctx, &storev1.GetRequest{
		Resource: resource(kind), Namespace: namespace, Name: name, Subresource: "scale",
	})
	if err != nil {
		return nil, apistatus.FromGRPC(err)
	}
	scale := &autoscalingv1.Scale{}
	if err := kinds.Decode(resp.GetObject().GetObject(), scale); err != nil {
		return nil, fmt.Errorf("read the scale of %s: %w", name, err)
	}
	return scale, nil
}

// Update writes the scale of the object that it was read of, unless the object
// has changed meanwhile.
func Update(ctx context.Context, c *client.Client, kind *kinds.Kind, scale *autoscalingv1.Scale) error {
	body, err := kinds.Encode(scale)
	if err != nil {
		return fmt.Errorf("write the scale of %s: %w", scale.Name, err)
	}
	_, err = c.Store().Update(ctx, &storev1.UpdateRequest{
		Resource: resource(kind), Namespace: scale.Namespace, Name: scale.Name, Subresource: "scale",
		Object: &storev1.Object{Object: body}, Options: &storev1.WriteOptions{FieldManager: fieldManager},
	})
	if err != nil {
		return apistatus.FromGRPC(err)
	}
	return nil
}

func resource(kind *kinds.Kind) *storev1.Resource {
	return &storev1.Resource{Group: kind.Group, Version: kind.Version, Resource: kind.Resource}
}
