package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/admission/webhook"
	"navarch.dev/navarch/services/store/customresource"
)

// newDefinitions returns what makes kinds of the custom resource definitions.
func newDefinitions(s *Store) (*customresource.Follower, error) {
	resource := apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")
	kind, ok := s.kinds.ForResource(resource)
	if !ok {
		return nil, fmt.Errorf("follow %s: there is no such kind", resource.Resource)
	}
	return &customresource.Follower{
		Definitions: s.registry.Cache(kind), Prefix: s.registry.KeyPrefix(kind, ""), Set: s.registry.SetCustom, Log: s.tel.Log,
		Hooks: webhook.NewConverters(serviceDialer{s}),
	}, nil
}

// kindFor returns the kind of a resource, which may have been defined just now,
// through another Store.
func (s *Store) kindFor(ctx context.Context, gvr schema.GroupVersionResource) (*kinds.Kind, error) {
	kind, known := s.kinds.ForResource(gvr)
	if known && kind.Custom == nil {
		return kind, nil
	}
	ctx, cancel := context.WithTimeout(ctx, freshTimeout)
	defer cancel()
	look := s.definitions.Refresh
	if known {
		look = s.definitions.Settle // it is enough to see what was written here
	}
	if err := look(ctx); err != nil {
		return nil, apierrors.NewServiceUnavailable(err.Error())
	}
	if kind, ok := s.kinds.ForResource(gvr); ok {
		return kind, nil
	}
	return nil, noResource(gvr)
}

// noResource is the error of a request for what is not served.
func noResource(gvr schema.GroupVersionResource) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
		Message: "the server could not find the requested resource",
		Details: &metav1.StatusDetails{Group: gvr.Group, Kind: gvr.Resource},
	}}
}

// checkCustom refuses what a custom kind does not allow: new objects of one
// whose definition is being deleted.
func checkCustom(kind *kinds.Kind, verb string) error {
	if kind.Custom == nil || !kind.Custom.Terminating || verb != "create" {
		return nil
	}
	err := apierrors.NewMethodNotSupported(kind.GroupResource(), verb)
	err.ErrStatus.Message = verb + " not allowed while custom resource definition is terminating"
	return err
}

// retired returns a channel that is closed when a kind is not served any longer
// as it was; nil for kinds that always are.
func retired(kind *kinds.Kind) <-chan struct{} {
	if kind.Custom == nil {
		return nil
	}
	return kind.Custom.Retired
}

// untilRetired returns a context that ends with ctx, or because of errRetired once
// a kind is retired.
func untilRetired(ctx context.Context, kind *kinds.Kind) (context.Context, context.CancelFunc) {
	gone := retired(kind)
	if gone == nil {
		return ctx, func() {}
	}
	ctx, end := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-gone:
			end(errRetired)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { end(nil) }
}

// errRetired ends the watches of a kind whose definition has changed. Clients
// go on from where they were.
var errRetired = errors.New("the custom resource definition has changed")
