// Package client is how every service of Navarch talks to the Store: typed
// reads and writes of Kubernetes objects, and informers that follow a resource
// through a list and a watch into a client-go indexer.
//
// Errors are *apierrors.StatusError, so apierrors.IsNotFound, IsConflict and
// their like apply. The trace in a call's context is recorded with what the
// call writes.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// Client reads and writes objects. It is safe for concurrent use.
type Client struct {
	store   storev1.StoreServiceClient
	kinds   *kinds.Registry
	manager string
}

// New returns a client of the Store behind conn. manager is the field manager
// recorded with its writes.
func New(conn grpc.ClientConnInterface, manager string) *Client {
	return &Client{store: storev1.NewStoreServiceClient(conn), kinds: kinds.Default(), manager: manager}
}

// Store returns the raw service, for what the typed methods do not cover.
func (c *Client) Store() storev1.StoreServiceClient { return c.store }

// Get reads the newest version of an object into obj.
func (c *Client) Get(ctx context.Context, namespace, name string, obj kinds.Object) error {
	kind, err := c.kinds.ForObject(obj)
	if err != nil {
		return err
	}
	resp, err := c.store.Get(ctx, &storev1.GetRequest{Resource: resourceOf(kind), Namespace: namespace, Name: name})
	if err != nil {
		return apistatus.FromGRPC(err)
	}
	return replace(resp.GetObject(), kind, obj)
}

// ListOptions narrow a List.
type ListOptions struct {
	// Namespace is empty for all.
	Namespace string
	Labels    labels.Selector
	Fields    fields.Selector
	// ResourceVersion "" is a consistent read, "0" whatever the Store has.
	ResourceVersion string
}

// List reads the objects that match into list.
func (c *Client) List(ctx context.Context, list kinds.List, opts ListOptions) error {
	kind, err := c.kinds.ForObject(list)
	if err != nil {
		return err
	}
	req := &storev1.ListRequest{
		Resource: resourceOf(kind), Namespace: opts.Namespace, ResourceVersion: opts.ResourceVersion,
		LabelSelector: selectorString(opts.Labels), FieldSelector: selectorString(opts.Fields),
	}
	stream, err := c.store.List(ctx, req)
	if err != nil {
		return apistatus.FromGRPC(err)
	}
	var items []runtime.Object
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return meta.SetList(list, items)
		}
		if err != nil {
			return apistatus.FromGRPC(err)
		}
		if h := resp.GetHeader(); h != nil {
			list.SetResourceVersion(h.GetResourceVersion())
			continue
		}
		for _, o := range resp.GetObjects().GetObjects() {
			obj := kind.New()
			if err := kinds.Decode(o.GetObject(), obj); err != nil {
				return err
			}
			items = append(items, obj)
		}
	}
}

// Create stores obj and fills it with what was stored.
func (c *Client) Create(ctx context.Context, obj kinds.Object) error {
	return c.create(ctx, obj, obj.GetName(), "", obj)
}

// CreateSubresource posts body to a subresource of the object that obj names,
// for example a policyv1.Eviction to a pod.
func (c *Client) CreateSubresource(ctx context.Context, obj kinds.Object, subresource string, body runtime.Object) error {
	return c.create(ctx, obj, obj.GetName(), subresource, body)
}

func (c *Client) create(ctx context.Context, obj kinds.Object, name, subresource string, body runtime.Object) error {
	kind, err := c.kinds.ForObject(obj)
	if err != nil {
		return err
	}
	any, err := kinds.Encode(body)
	if err != nil {
		return err
	}
	req := &storev1.CreateRequest{
		Resource: resourceOf(kind), Namespace: obj.GetNamespace(), Subresource: subresource,
		Object: &storev1.Object{Object: any}, Options: c.writeOptions(),
	}
	if subresource != "" {
		req.Name = name
	}
	resp, err := c.store.Create(ctx, req)
	if err != nil {
		return apistatus.FromGRPC(err)
	}
	if subresource != "" {
		return nil
	}
	return replace(resp.GetObject(), kind, obj)
}

// Update replaces the stored object and fills obj with what was stored.
func (c *Client) Update(ctx context.Context, obj kinds.Object) error {
	return c.update(ctx, obj, "")
}

// UpdateStatus replaces the stored object's status.
func (c *Client) UpdateStatus(ctx context.Context, obj kinds.Object) error {
	return c.update(ctx, obj, "status")
}

// UpdateSubresource replaces what the subresource covers of the stored object,
// for example a namespace's "finalize".
func (c *Client) UpdateSubresource(ctx context.Context, obj kinds.Object, subresource string) error {
	return c.update(ctx, obj, subresource)
}

func (c *Client) update(ctx context.Context, obj kinds.Object, subresource string) error {
	kind, err := c.kinds.ForObject(obj)
	if err != nil {
		return err
	}
	any, err := kinds.Encode(obj)
	if err != nil {
		return err
	}
	resp, err := c.store.Update(ctx, &storev1.UpdateRequest{
		Resource: resourceOf(kind), Namespace: obj.GetNamespace(), Name: obj.GetName(), Subresource: subresource,
		Object: &storev1.Object{Object: any}, Options: c.writeOptions(),
	})
	if err != nil {
		return apistatus.FromGRPC(err)
	}
	return replace(resp.GetObject(), kind, obj)
}

var patchTypes = map[types.PatchType]storev1.PatchType{
	types.JSONPatchType:           storev1.PatchType_PATCH_TYPE_JSON,
	types.MergePatchType:          storev1.PatchType_PATCH_TYPE_MERGE,
	types.StrategicMergePatchType: storev1.PatchType_PATCH_TYPE_STRATEGIC_MERGE,
	types.ApplyPatchType:          storev1.PatchType_PATCH_TYPE_APPLY,
}

// Patch changes the object that obj names and fills obj with the result.
// subresource is "" or "status".
func (c *Client) Patch(ctx context.Context, obj kinds.Object, patchType types.PatchType, patch []byte, subresource string) error {
	kind, err := c.kinds.ForObject(obj)
	if err != nil {
		return err
	}
	resp, err := c.store.Patch(ctx, &storev1.PatchRequest{
		Resource: resourceOf(kind), Namespace: obj.GetNamespace(), Name: obj.GetName(), Subresource: subresource,
		Type: patchTypes[patchType], Patch: patch, Options: c.writeOptions(),
	})
	if err != nil {
		return apistatus.FromGRPC(err)
	}
	return replace(resp.GetObject(), kind, obj)
}

// DeleteOptions qualify a Delete.
type DeleteOptions struct {
	// GracePeriodSeconds nil is the object's own.
	GracePeriodSeconds *int64
	// UID and ResourceVersion are preconditions; empty is any.
	UID             types.UID
	ResourceVersion string
	// Propagation empty is the kind's default.
	Propagation metav1.DeletionPropagation
}

var propagations = map[metav1.DeletionPropagation]storev1.PropagationPolicy{
	metav1.DeletePropagationOrphan:     storev1.PropagationPolicy_PROPAGATION_POLICY_ORPHAN,
	metav1.DeletePropagationBackground: storev1.PropagationPolicy_PROPAGATION_POLICY_BACKGROUND,
	metav1.DeletePropagationForeground: storev1.PropagationPolicy_PROPAGATION_POLICY_FOREGROUND,
}

// Delete deletes the object that obj names.
func (c *Client) Delete(ctx context.Context, obj kinds.Object, opts DeleteOptions) error {
	kind, err := c.kinds.ForObject(obj)
	if err != nil {
		return err
	}
	return c.DeleteNamed(ctx, kind, obj.GetNamespace(), obj.GetName(), opts)
}

// GetNamed reads the newest version of the object of a kind, which may be a custom
// one, that has a name.
func (c *Client) GetNamed(ctx context.Context, kind *kinds.Kind, namespace, name string) (kinds.Object, error) {
	resp, err := c.store.Get(ctx, &storev1.GetRequest{Resource: resourceOf(kind), Namespace: namespace, Name: name})
	if err != nil {
		return nil, apistatus.FromGRPC(err)
	}
	obj := kind.New()
	return obj, replace(resp.GetObject(), kind, obj)
}

// DeleteNamed deletes the object of a kind, which may be a custom one, that has
// a name.
func (c *Client) DeleteNamed(ctx context.Context, kind *kinds.Kind, namespace, name string, opts DeleteOptions) error {
	_, err := c.store.Delete(ctx, &storev1.DeleteRequest{Resource: resourceOf(kind), Namespace: namespace, Name: name, Options: opts.proto()})
	return apistatus.FromGRPC(err)
}

// PatchNamed changes the object of a kind, which may be a custom one, that has a
// name, by a merge patch.
func (c *Client) PatchNamed(ctx context.Context, kind *kinds.Kind, namespace, name string, patch []byte) error {
	_, err := c.store.Patch(ctx, &storev1.PatchRequest{
		Resource: resourceOf(kind), Namespace: namespace, Name: name,
		Type: storev1.PatchType_PATCH_TYPE_MERGE, Patch: patch, Options: c.writeOptions(),
	})
	return apistatus.FromGRPC(err)
}

// DeleteCollection deletes all objects of a kind in a namespace.
func (c *Client) DeleteCollection(ctx context.Context, kind *kinds.Kind, namespace string, opts DeleteOptions) error {
	_, err := c.store.DeleteCollection(ctx, &storev1.DeleteCollectionRequest{
		Resource: resourceOf(kind), Namespace: namespace, Options: opts.proto(),
	})
	return apistatus.FromGRPC(err)
}

func (o DeleteOptions) proto() *storev1.DeleteOptions {
	return &storev1.DeleteOptions{
		GracePeriodSeconds: o.GracePeriodSeconds, Uid: string(o.UID),
		ResourceVersion: o.ResourceVersion, PropagationPolicy: propagations[o.Propagation],
	}
}

// RetryOnConflict reads the object that obj names, lets change alter it and
// calls write, again while the write meets a conflict, at most ten times.
// change returns false if there is nothing to write.
func (c *Client) RetryOnConflict(ctx context.Context, obj kinds.Object, change func() bool, write func(context.Context, kinds.Object) error) error {
	namespace, name := obj.GetNamespace(), obj.GetName()
	var err error
	for range 10 {
		if err = c.Get(ctx, namespace, name, obj); err != nil {
			return err
		}
		if !change() {
			return nil
		}
		if err = write(ctx, obj); !apierrors.IsConflict(err) {
			return err
		}
	}
	return fmt.Errorf("update %s/%s: %w", namespace, name, err)
}

func (c *Client) writeOptions() *storev1.WriteOptions {
	return &storev1.WriteOptions{FieldManager: c.manager, FieldValidation: storev1.FieldValidation_FIELD_VALIDATION_IGNORE}
}

func resourceOf(k *kinds.Kind) *storev1.Resource {
	return &storev1.Resource{Group: k.Group, Version: k.Version, Resource: k.Resource}
}

func selectorString(s fmt.Stringer) string {
	if s == nil {
		return ""
	}
	return s.String()
}

// replace fills obj with a returned object, leaving nothing of its old value.
func replace(from *storev1.Object, kind *kinds.Kind, obj kinds.Object) error {
	fresh := kind.New()
	if err := kinds.Decode(from.GetObject(), fresh); err != nil {
		return err
	}
	return assign(obj, fresh)
}
