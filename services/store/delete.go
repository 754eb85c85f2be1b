package store

import (
	"context"
	"errors"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/codec"
	"navarch.dev/navarch/services/store/registry"
)

// Delete implements the RPC.
func (s *Store) Delete(ctx context.Context, req *storev1.DeleteRequest) (resp *storev1.DeleteResponse, err error) {
	sc, err := s.enter(ctx, target{resource: req.GetResource(), verb: "delete", namespace: req.GetNamespace(), name: req.GetName()})
	if err != nil {
		return nil, err
	}
	defer sc.leave()
	if err := sc.named(); err != nil {
		return nil, err
	}
	ctx, span := s.span(ctx, "store.Delete", sc)
	defer func() { err = s.conclude(ctx, sc, err); finish(span, err) }()
	w := sc.deletion(req.GetOptions())
	v, removed, err := s.deleteOne(ctx, w, req.GetOptions())
	if err != nil {
		return nil, err
	}
	obj, err := v.Encode(deleteForm(req.GetOptions()))
	return &storev1.DeleteResponse{Object: obj, Deleted: removed, Warnings: w.Warnings.All()}, err
}

// deletion is write for a deletion.
func (sc scope) deletion(opts *storev1.DeleteOptions) registry.Write {
	w := sc.write(&storev1.WriteOptions{DryRun: opts.GetDryRun()})
	if sc.kind.Group == batchv1.GroupName && sc.kind.Resource == "jobs" && opts.GetPropagationPolicy() == storev1.PropagationPolicy_PROPAGATION_POLICY_UNSPECIFIED {
		w.Warnings.Add("child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning")
	}
	return w
}

func (s *Store) deleteOne(ctx context.Context, w registry.Write, opts *storev1.DeleteOptions) (*cache.Version, bool, error) {
	if opts == nil {
		opts = &storev1.DeleteOptions{}
	}
	return s.registry.Delete(ctx, w, opts)
}

func deleteForm(opts *storev1.DeleteOptions) cache.Form {
	return cache.Form{Encoding: opts.GetEncoding(), Projection: opts.GetProjection()}
}

// deleteWorkers is how many objects of a collection are deleted at a time.
const deleteWorkers = 16

// DeleteCollection implements the RPC.
func (s *Store) DeleteCollection(ctx context.Context, req *storev1.DeleteCollectionRequest) (resp *storev1.DeleteCollectionResponse, err error) {
	sc, err := s.enter(ctx, target{
		resource: req.GetResource(), verb: "deletecollection", namespace: req.GetNamespace(),
		labels: req.GetLabelSelector(), fields: req.GetFieldSelector(),
	})
	if err != nil {
		return nil, err
	}
	defer sc.leave()
	selector, err := codec.ParseSelector(sc.kind, req.GetLabelSelector(), req.GetFieldSelector())
	if err != nil {
		return nil, err
	}
	ctx, span := s.span(ctx, "store.DeleteCollection", sc)
	defer func() { err = s.conclude(ctx, sc, err); finish(span, err) }()
	p, err := s.page(ctx, sc, &storev1.ListRequest{}, selector)
	if err != nil {
		return nil, err
	}
	w := sc.deletion(req.GetOptions())
	if err := s.deleteAll(ctx, w, p.versions, req.GetOptions()); err != nil {
		return nil, err
	}
	resp = &storev1.DeleteCollectionResponse{Warnings: w.Warnings.All(), ResourceVersion: cache.ResourceVersion(p.revision)}
	for _, v := range p.versions {
		obj, err := v.Encode(deleteForm(req.GetOptions()))
		if err != nil {
			return nil, err
		}
		resp.Objects = append(resp.Objects, obj)
	}
	return resp, nil
}

// deleteAll deletes versions, several at a time. What is gone already is no
// error.
func (s *Store) deleteAll(ctx context.Context, w registry.Write, versions []*cache.Version, opts *storev1.DeleteOptions) error {
	errs := make([]error, len(versions))
	slots := make(chan struct{}, deleteWorkers)
	var wg sync.WaitGroup
	for i, v := range versions {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			one := w
			one.Namespace, one.Name = v.Object().GetNamespace(), v.Object().GetName()
			if _, _, err := s.deleteOne(ctx, one, opts); !apierrors.IsNotFound(err) {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	return first(errs)
}

// first returns the first error that is one. API errors are not joined: the
// caller is told of one, as Kubernetes does.
func first(errs []error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return errors.Join(errs...)
}
