package model_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// listing is the state that a list has shown.
type listing struct {
	revision int64
	// notBefore is the revision that it must have reached.
	notBefore int64
	exactly   bool
	state     map[string]string
}

// reader lists again and again, in all the ways there are.
type reader struct{ listings []listing }

func (r *reader) run(w *world, rnd *rand.Rand, ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		default:
		}
		l, err := r.list(w, rnd)
		switch {
		case err == nil:
			r.listings = append(r.listings, l)
		case apierrors.IsResourceExpired(err), excused(err):
		default:
			w.t.Errorf("list: %v", err)
			return
		}
	}
}

func (r *reader) list(w *world, rnd *rand.Rand) (listing, error) {
	l := listing{state: make(map[string]string)}
	req := &storev1.ListRequest{Resource: configMaps(), Namespace: namespace}
	switch rnd.IntN(5) {
	case 0:
		l.notBefore = w.acked.Load()
		req.ResourceVersion = strconv.FormatInt(l.notBefore, 10)
		req.ResourceVersionMatch = storev1.ResourceVersionMatch_RESOURCE_VERSION_MATCH_NOT_OLDER_THAN
	case 1:
		// A few changes ago, or between those of one transaction.
		ago := rnd.Int64N(20) << (16 * rnd.IntN(2))
		if revision := w.acked.Load() - ago; revision > 0 {
			l.notBefore, l.exactly = revision, true
			req.ResourceVersion = strconv.FormatInt(revision, 10)
			req.ResourceVersionMatch = storev1.ResourceVersionMatch_RESOURCE_VERSION_MATCH_EXACT
		}
	case 2, 3:
		l.notBefore, req.PageSize = w.acked.Load(), 1+rnd.Int64N(3)
	default:
		l.notBefore = w.acked.Load()
	}
	for {
		header, err := r.page(w, w.node(rnd), req, l.state)
		if err != nil {
			return l, err
		}
		revision := revisionOf(w.t, header.GetResourceVersion())
		if l.revision > 0 && l.revision != revision {
			w.t.Errorf("a page of %d follows one of %d", revision, l.revision)
		}
		l.revision = revision
		if req.PageToken = header.GetNextPageToken(); req.PageToken == "" {
			return l, nil
		}
		req.ResourceVersion = ""
	}
}

// page reads one page from one Store; the next may come from another.
func (r *reader) page(w *world, n *node, req *storev1.ListRequest, into map[string]string) (*storev1.ListHeader, error) {
	stream, err := n.client.Store().List(n.ctx, req)
	if err != nil {
		return nil, apistatus.FromGRPC(err)
	}
	var header *storev1.ListHeader
	for {
		resp, err := stream.Recv()
		if errors.Is(err, io.EOF) && header != nil && n.ctx.Err() == nil {
			return header, nil
		}
		if err != nil {
			return nil, apistatus.FromGRPC(err)
		}
		if h := resp.GetHeader(); h != nil {
			header = h
		}
		for _, o := range resp.GetObjects().GetObjects() {
			var cm corev1.ConfigMap
			if err := kinds.Decode(o.GetObject(), &cm); err != nil {
				return nil, err
			}
			into[nameOf(&cm)] = shown(&cm)
		}
	}
}

// judge compares every list with the truth and returns how many there were.
func (r *reader) judge(t *testing.T, tr *truth) int {
	t.Helper()
	for _, l := range r.listings {
		if l.revision < l.notBefore || l.exactly && l.revision != l.notBefore {
			t.Errorf("a list of %d, where %d (exactly: %t) was asked for", l.revision, l.notBefore, l.exactly)
		}
		want := tr.at(l.revision, func(cm *corev1.ConfigMap) bool { return cm.Namespace == namespace })
		if diff := cmp.Diff(want, l.state); diff != "" {
			t.Errorf("a list of %d is not what there was (-want +got):\n%s", l.revision, diff)
		}
	}
	return len(r.listings)
}
