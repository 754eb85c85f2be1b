package store

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
)

// maxRevisions is how much of an object's history one call returns.
const maxRevisions = 100

// History implements the RPC.
func (s *Store) History(ctx context.Context, req *storev1.HistoryRequest) (*storev1.HistoryResponse, error) {
	sc, err := s.enter(ctx, target{resource: req.GetResource(), verb: "get", namespace: req.GetNamespace(), name: req.GetName()})
	if err != nil {
		return nil, err
	}
	defer sc.leave()
	if err := sc.named(); err != nil {
		return nil, err
	}
	limit := int(req.GetLimit())
	if limit <= 0 || limit > maxRevisions {
		limit = maxRevisions
	}
	past, complete, err := s.registry.History(ctx, sc.kind, sc.namespace, sc.name, limit)
	if err != nil {
		return nil, err
	}
	if len(past) == 0 {
		return nil, apierrors.NewNotFound(sc.kind.GroupResource(), sc.name)
	}
	resp := &storev1.HistoryResponse{Complete: complete}
	for _, p := range past {
		obj, err := p.Version.Encode(cache.Form{Encoding: req.GetEncoding()})
		if err != nil {
			return nil, err
		}
		resp.Revisions = append(resp.Revisions, &storev1.Revision{
			ResourceVersion: cache.ResourceVersion(p.Version.Revision), Writer: p.Writer, Object: obj, Removed: p.Removed,
		})
	}
	return resp, nil
}
