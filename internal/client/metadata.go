package client

import (
	"context"
	"errors"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// NewMetadataInformer returns an informer that follows only the metadata of a
// kind's objects, whatever the kind. trim, if not nil, drops what the caller
// does not need before an object is kept.
func NewMetadataInformer(c *Client, kind *kinds.Kind, opts InformerOptions, trim func(*metav1.PartialObjectMetadata)) *Informer[*metav1.PartialObjectMetadata] {
	i := newInformer(c, kind, opts, func() (*metav1.PartialObjectMetadata, error) {
		return &metav1.PartialObjectMetadata{}, nil
	})
	i.projection = storev1.Projection_PROJECTION_METADATA
	i.trim = trim
	return i
}

// GetMetadata reads the metadata of the newest version of an object.
func (c *Client) GetMetadata(ctx context.Context, kind *kinds.Kind, namespace, name string) (*metav1.PartialObjectMetadata, error) {
	resp, err := c.store.Get(ctx, &storev1.GetRequest{
		Resource: resourceOf(kind), Namespace: namespace, Name: name, Projection: storev1.Projection_PROJECTION_METADATA,
	})
	if err != nil {
		return nil, apistatus.FromGRPC(err)
	}
	meta := &metav1.PartialObjectMetadata{}
	return meta, kinds.Decode(resp.GetObject().GetObject(), meta)
}

// ListMetadata reads the metadata of all objects of a kind in a namespace; an
// empty namespace is all of them. The read is consistent.
func (c *Client) ListMetadata(ctx context.Context, kind *kinds.Kind, namespace string) ([]*metav1.PartialObjectMetadata, error) {
	stream, err := c.store.List(ctx, &storev1.ListRequest{
		Resource: resourceOf(kind), Namespace: namespace, Projection: storev1.Projection_PROJECTION_METADATA,
	})
	if err != nil {
		return nil, apistatus.FromGRPC(err)
	}
	var all []*metav1.PartialObjectMetadata
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, apistatus.FromGRPC(err)
		}
		for _, o := range resp.GetObjects().GetObjects() {
			meta := &metav1.PartialObjectMetadata{}
			if err := kinds.Decode(o.GetObject(), meta); err != nil {
				return nil, err
			}
			all = append(all, meta)
		}
	}
}
