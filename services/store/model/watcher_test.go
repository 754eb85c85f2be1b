package model_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

// watcher puts the state together from events, leaving at random and resuming
// at any Store.
type watcher struct {
	number         int
	labels, fields string
	// selects says which objects the selectors pick.
	selects func(*corev1.ConfigMap) bool
	// sample returns an object that they do.
	sample func() *corev1.ConfigMap

	// watches are what it has seen without a gap, one after each time that it
	// had to begin anew.
	watches []*watched
	// last is the revision that ends the watching; 0 while that is open.
	last atomic.Int64
	// leave ends the watch that it takes part in now.
	leave atomic.Pointer[context.CancelFunc]
}

// watched is a stretch of history as a watcher saw it.
type watched struct {
	// initial is the state at revision from.
	initial map[string]string
	from    int64
	// revision is how far it has come; 0 until the initial state is complete.
	revision int64
	events   []string
}

func newWatchers() []*watcher {
	everything := func(*corev1.ConfigMap) bool { return true }
	color := func(is bool) func(*corev1.ConfigMap) bool {
		return func(cm *corev1.ConfigMap) bool { return (cm.Labels[colorKey] == "red") == is }
	}
	all := []*watcher{
		{selects: everything}, {selects: everything},
		{labels: colorKey + "=red", selects: color(true)},
		{labels: colorKey + "!=red", selects: color(false)},
		{fields: "metadata.name=n3", selects: func(cm *corev1.ConfigMap) bool { return cm.Name == "n3" }},
	}
	for i, o := range all {
		o.number = i
		o.sample = func() *corev1.ConfigMap {
			cm := configMap(fmt.Sprintf("end-%d", i), map[bool]string{true: "red", false: "green"}[i == 2], "")
			return cm
		}
	}
	all[4].sample = func() *corev1.ConfigMap {
		cm := configMap("n3", "green", "")
		cm.Namespace = "kube-system"
		return cm
	}
	return all
}

// until tells the watcher where to end. It may have come there already, and
// wait for more.
func (o *watcher) until(revision int64) {
	o.last.Store(revision)
	if leave := o.leave.Load(); leave != nil {
		(*leave)()
	}
}

func (o *watcher) finished() bool {
	last := o.last.Load()
	return last > 0 && len(o.watches) > 0 && o.watches[len(o.watches)-1].revision >= last
}

func (o *watcher) run(w *world, rnd *rand.Rand) {
	for !o.finished() && !w.t.Failed() {
		err := o.follow(w, w.node(rnd), 1+rnd.IntN(40))
		switch {
		case err == nil, excused(err):
		case apierrors.IsResourceExpired(err):
			o.watches = append(o.watches, &watched{})
		default:
			w.t.Errorf("watcher %d: %v", o.number, err)
			return
		}
	}
}

// follow takes part in one watch for a number of messages.
func (o *watcher) follow(w *world, n *node, messages int) error {
	if len(o.watches) == 0 || o.watches[len(o.watches)-1].revision == 0 {
		// What was seen of an initial state that did not end counts for nothing.
		o.watches = append(o.watches[:max(0, len(o.watches)-1)], &watched{initial: make(map[string]string)})
	}
	seen := o.watches[len(o.watches)-1]
	ctx, cancel := context.WithCancel(n.ctx)
	defer cancel()
	o.leave.Store(&cancel)
	if o.finished() {
		return nil
	}
	req := &storev1.WatchRequest{Resource: configMaps(), LabelSelector: o.labels, FieldSelector: o.fields, AllowBookmarks: true}
	if req.SendInitialEvents = seen.revision == 0; !req.SendInitialEvents {
		req.ResourceVersion = strconv.FormatInt(seen.revision, 10)
	}
	stream, err := n.client.Store().Watch(ctx, req)
	if err != nil {
		return apistatus.FromGRPC(err)
	}
	for range messages {
		resp, err := stream.Recv()
		if err != nil {
			return apistatus.FromGRPC(err)
		}
		for _, e := range resp.GetEvents().GetEvents() {
			if err := seen.take(e); err != nil {
				w.t.Errorf("watcher %d: %v", o.number, err)
				return nil
			}
		}
		if o.finished() {
			return nil
		}
	}
	return nil
}

// take notes an event.
func (s *watched) take(e *storev1.WatchEvent) error {
	revision, err := strconv.ParseInt(e.GetResourceVersion(), 10, 64)
	if err != nil {
		return fmt.Errorf("an event of version %q: %w", e.GetResourceVersion(), err)
	}
	if e.GetType() == storev1.WatchEvent_TYPE_BOOKMARK {
		if e.GetInitialEventsEnd() {
			s.from = revision
		}
		if s.from > 0 {
			s.revision = max(s.revision, revision)
		}
		return nil
	}
	var cm corev1.ConfigMap
	if err := kinds.Decode(e.GetObject().GetObject(), &cm); err != nil {
		return err
	}
	if cm.ResourceVersion != e.GetResourceVersion() {
		return fmt.Errorf("an event of %s holds an object of %s", e.GetResourceVersion(), cm.ResourceVersion)
	}
	if s.revision == 0 {
		s.initial[nameOf(&cm)] = shown(&cm)
		return nil
	}
	if revision <= s.revision {
		return fmt.Errorf("an event of %d after all up to %d", revision, s.revision)
	}
	s.revision = revision
	s.events = append(s.events, eventText(e.GetType(), &cm, revision))
	return nil
}

// eventText is what is compared of an event.
func eventText(t storev1.WatchEvent_Type, cm *corev1.ConfigMap, revision int64) string {
	return fmt.Sprintf("%d %s %s=%s", revision, strings.TrimPrefix(t.String(), "TYPE_"), nameOf(cm), cm.Data[valueKey])
}

// judge compares everything that was seen with the truth and returns how many
// events there were.
func (o *watcher) judge(t *testing.T, tr *truth) int {
	t.Helper()
	events := 0
	for _, s := range o.watches {
		if s.revision == 0 {
			continue
		}
		if diff := cmp.Diff(tr.at(s.from, o.selects), s.initial); diff != "" {
			t.Errorf("watcher %d began at %d with what there was not (-want +got):\n%s", o.number, s.from, diff)
		}
		if diff := cmp.Diff(o.expected(tr, s.from, s.revision), s.events); diff != "" {
			t.Errorf("watcher %d from %d to %d (-want +got):\n%s", o.number, s.from, s.revision, diff)
		}
		events += len(s.events)
	}
	return events
}

// expected returns the events of the changes after one revision up to another.
func (o *watcher) expected(tr *truth, after, last int64) []string {
	var want []string
	tr.replay(func(before *corev1.ConfigMap, c change) {
		if c.revision <= after || c.revision > last {
			return
		}
		was, is := before != nil && o.selects(before), c.object != nil && o.selects(c.object)
		switch {
		case was && is:
			want = append(want, eventText(storev1.WatchEvent_TYPE_MODIFIED, c.object, c.revision))
		case is:
			want = append(want, eventText(storev1.WatchEvent_TYPE_ADDED, c.object, c.revision))
		case was:
			want = append(want, eventText(storev1.WatchEvent_TYPE_DELETED, before, c.revision))
		}
	})
	return want
}
