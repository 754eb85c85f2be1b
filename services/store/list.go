package store

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/cache"
	"navarch.dev/navarch/services/store/codec"
)

const (
	expiredList = "The resourceVersion for the provided list is too old."
	expiredPage = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, " +
		"or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - " +
		"objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list."
)

// List implements the RPC.
func (s *Store) List(req *storev1.ListRequest, stream grpc.ServerStreamingServer[storev1.ListResponse]) error {
	ctx := stream.Context()
	sc, err := s.enter(ctx, target{
		resource: req.GetResource(), verb: "list", namespace: req.GetNamespace(),
		labels: req.GetLabelSelector(), fields: req.GetFieldSelector(),
	})
	if err != nil {
		return err
	}
	defer sc.leaveInTime()()
	selector, err := codec.ParseSelector(sc.kind, req.GetLabelSelector(), req.GetFieldSelector())
	if err != nil {
		return err
	}
	page, err := s.page(ctx, sc, req, selector)
	if err != nil {
		return err
	}
	f := cache.Form{Encoding: req.GetEncoding(), Projection: req.GetProjection()}
	header, err := s.listHeader(sc, page, f)
	if err != nil {
		return err
	}
	out := listSender{all: selector.Everything(), versions: page.versions, form: f, stream: stream}
	return out.send(header, req.GetPacking())
}

// page is one page of a list.
type page struct {
	revision  int64
	versions  []*cache.Version
	next      string
	remaining *int64
}

func (s *Store) listHeader(sc scope, p page, f cache.Form) (*storev1.ListHeader, error) {
	cols, err := columns(sc.kind, f)
	return &storev1.ListHeader{
		ResourceVersion: cache.ResourceVersion(p.revision), NextPageToken: p.next, RemainingItemCount: p.remaining,
		TableColumns: cols, ApiVersion: sc.kind.APIVersion(), Kind: sc.kind.List(),
	}, err
}

// page collects the objects that a list asks for.
func (s *Store) page(ctx context.Context, sc scope, req *storev1.ListRequest, selector codec.Selector) (page, error) {
	if sc.kind.ReadOnly {
		versions, err := s.components(ctx, sc.kind, selector)
		return page{versions: versions}, err
	}
	labels := selector.Labels()
	s.registry.Cache(sc.kind).Want(labels)
	snapshot, after, err := s.snapshot(ctx, sc, req)
	if err != nil {
		return page{}, err
	}
	resource, prefix := s.registry.KeyPrefix(sc.kind, ""), s.registry.KeyPrefix(sc.kind, sc.namespace)
	if after != "" {
		after = resource + after
	}
	p := page{revision: snapshot.Revision}
	more := false
	var convert error
	wanted := snapshot.Only(selector.Exactly(sc.kind.WatchField)).Labelled(labels)
	err = wanted.Ascend(ctx, prefix, after, func(stored *cache.Version) bool {
		var v *cache.Version
		if v, convert = stored.As(sc.kind); convert != nil {
			return false
		}
		if !selector.Matches(v) {
			return true
		}
		if size := req.GetPageSize(); size > 0 && int64(len(p.versions)) >= size {
			more = true
			return false
		}
		p.versions = append(p.versions, v)
		return true
	})
	if err == nil {
		err = convert
	}
	if err == nil && more {
		last := p.versions[len(p.versions)-1].Key
		token := codec.PageToken{Revision: p.revision, After: last[len(resource):]}
		// What a selector leaves of the rest is not known without reading it.
		if selector.Everything() {
			token.Rest, err = rest(ctx, snapshot, prefix, last, req, len(p.versions))
			token.Namespace, p.remaining = req.GetNamespace(), &token.Rest
		}
		p.next = token.String()
	}
	return p, pageError(err, req.GetPageToken())
}

// rest returns how many objects there are after a page. They are counted for the
// first page; those after it, which show the same version, only subtract.
func rest(ctx context.Context, snapshot cache.Snapshot, prefix, last string, req *storev1.ListRequest, length int) (int64, error) {
	before, err := codec.ParsePageToken(req.GetPageToken())
	if err == nil && before.Revision == snapshot.Revision && before.Namespace == req.GetNamespace() && before.Rest > int64(length) {
		return before.Rest - int64(length), nil
	}
	return snapshot.Count(ctx, prefix, last)
}

// pageError turns the cache's errors into API errors. A page whose snapshot is
// no longer held comes with a token that goes on with the newest state.
func pageError(err error, token string) error {
	if token == "" || !errors.Is(err, cache.ErrExpired) {
		return historyError(err, expiredList)
	}
	expired := apierrors.NewResourceExpired(expiredPage)
	if t, perr := codec.ParsePageToken(token); perr == nil {
		expired.ErrStatus.Continue = codec.PageToken{Revision: codec.Inconsistent, After: t.After}.String()
	}
	return expired
}

// snapshot returns the state that a list reads, and the key to start after.
func (s *Store) snapshot(ctx context.Context, sc scope, req *storev1.ListRequest) (cache.Snapshot, string, error) {
	c := s.registry.Cache(sc.kind)
	rv, match := req.GetResourceVersion(), req.GetResourceVersionMatch()
	exact := match == storev1.ResourceVersionMatch_RESOURCE_VERSION_MATCH_EXACT
	unset := match == storev1.ResourceVersionMatch_RESOURCE_VERSION_MATCH_UNSPECIFIED
	switch {
	case !unset && req.GetPageToken() != "":
		return cache.Snapshot{}, "", apierrors.NewBadRequest("resourceVersionMatch is forbidden when continue is provided")
	case req.GetPageToken() != "":
		return s.continued(ctx, c, req)
	case !unset && rv == "":
		return cache.Snapshot{}, "", apierrors.NewBadRequest("resourceVersionMatch is forbidden unless resourceVersion is provided")
	case exact && rv == "0":
		return cache.Snapshot{}, "", apierrors.NewBadRequest("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
	}
	if err := s.await(ctx, c, rv); err != nil {
		return cache.Snapshot{}, "", err
	}
	// A page of a given version without a match rule has always meant exactly
	// that version.
	revision, _ := parseRevision(rv) // await has judged it
	if revision == 0 || !exact && (!unset || req.GetPageSize() <= 0) {
		return c.Snapshot(), "", nil
	}
	past, err := s.past(c, revision)
	return past, "", pageError(err, "")
}

// past is the state as of a revision that the cache has reached.
func (s *Store) past(c *cache.Cache, revision int64) (cache.Snapshot, error) {
	if oldest := s.oldest.Load(); revision < oldest {
		return cache.Snapshot{}, &cache.ExpiredError{Revision: revision, Oldest: oldest}
	}
	return c.SnapshotAt(revision), nil
}

// continued is snapshot for a page after the first.
func (s *Store) continued(ctx context.Context, c *cache.Cache, req *storev1.ListRequest) (cache.Snapshot, string, error) {
	token, err := codec.ParsePageToken(req.GetPageToken())
	if err != nil {
		return cache.Snapshot{}, "", err
	}
	if rv := req.GetResourceVersion(); rv != "" && rv != "0" {
		return cache.Snapshot{}, "", apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	if token.Revision == codec.Inconsistent {
		err := s.await(ctx, c, "")
		return c.Snapshot(), token.After, err
	}
	if err := s.await(ctx, c, cache.ResourceVersion(token.Revision)); err != nil {
		return cache.Snapshot{}, "", err
	}
	past, err := s.past(c, token.Revision)
	return past, token.After, pageError(err, req.GetPageToken())
}
