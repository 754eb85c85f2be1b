package store_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/backend/memory"
	"navarch.dev/navarch/services/store/storetest"
)

// watched receives n events of a watch of ConfigMaps: "ADDED a=0" and the like.
func watched(t testing.TB, c *client.Client, req *storev1.WatchRequest, n int) ([]string, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req.Resource, req.Namespace = configMaps(), "default"
	stream, err := c.Store().Watch(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for len(got) < n {
		resp, err := stream.Recv()
		if err != nil {
			return got, apistatus.FromGRPC(err)
		}
		for _, e := range resp.GetEvents().GetEvents() {
			got = append(got, shown(t, e))
		}
	}
	return got, nil
}

func shown(t testing.TB, e *storev1.WatchEvent) string {
	t.Helper()
	var cm corev1.ConfigMap
	if err := kinds.Decode(e.GetObject().GetObject(), &cm); err != nil {
		t.Fatal(err)
	}
	if cm.ResourceVersion != e.GetResourceVersion() {
		t.Errorf("an event of %s holds an object of %s", e.GetResourceVersion(), cm.ResourceVersion)
	}
	kind := strings.TrimPrefix(e.GetType().String(), "TYPE_")
	switch {
	case e.GetInitialEventsEnd():
		return kind + " end"
	case e.GetType() == storev1.WatchEvent_TYPE_BOOKMARK:
		return kind
	}
	return fmt.Sprintf("%s %s=%s", kind, cm.Name, cm.Data["i"])
}

// Where a watch begins: with the present objects, with changes alone, or after
// a version.
func TestWatchesBegin(t *testing.T) {
	for _, tc := range []struct {
		name string
		// after is the write, of a, b and a again, that the watch begins after.
		after int
		req   *storev1.WatchRequest
		want  []string
	}{
		{"newest", 0, &storev1.WatchRequest{}, []string{"ADDED a=2", "ADDED b=1"}},
		{"any", 0, &storev1.WatchRequest{ResourceVersion: "0"}, []string{"ADDED a=2", "ADDED b=1"}},
		{"initial events", 0, &storev1.WatchRequest{SendInitialEvents: true, AllowBookmarks: true}, []string{"ADDED a=2", "ADDED b=1", "BOOKMARK end"}},
		{"initial events of a version", 1, &storev1.WatchRequest{SendInitialEvents: true, AllowBookmarks: true}, []string{"ADDED a=2", "ADDED b=1", "BOOKMARK end"}},
		{"initial events without bookmarks", 0, &storev1.WatchRequest{SendInitialEvents: true}, []string{"ADDED a=2", "ADDED b=1"}},
		{"after a version", 1, &storev1.WatchRequest{AllowBookmarks: true}, []string{"ADDED b=1", "MODIFIED a=2"}},
		{"newest, changes alone", 0, &storev1.WatchRequest{OmitInitialEvents: true}, nil},
		{"any, changes alone", 0, &storev1.WatchRequest{OmitInitialEvents: true, ResourceVersion: "0"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c := storetest.New(t).Client(storetest.Admin())
			at := revisions(t, c)
			// "Any" may be older than these; not once they have been read.
			if _, err := list(t, c, &storev1.ListRequest{}); err != nil {
				t.Fatal(err)
			}
			if tc.after > 0 {
				tc.req.ResourceVersion = at[tc.after-1]
			}
			tc.req.Resource, tc.req.Namespace = configMaps(), "default"
			stream, err := c.Store().Watch(ctx, tc.req)
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := stream.Recv(); err != nil || resp.GetStarted() == nil {
				t.Fatalf("began with %v, %v", resp, err)
			}
			create(t, c, configMap("last", nil)) // what every watch sees in the end
			want := append(tc.want, "ADDED last=")
			var got []string
			for len(got) < len(want) {
				resp, err := stream.Recv()
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range resp.GetEvents().GetEvents() {
					got = append(got, shown(t, e))
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWatchesThatCannotBegin(t *testing.T) {
	b := memory.New()
	t.Cleanup(func() { _ = b.Close() })
	c := storetest.New(t, storetest.WithBackend(b)).Client(storetest.Admin())
	at := revisions(t, c)
	late := storetest.New(t, storetest.WithBackend(b)).Client(storetest.Admin())
	if _, err := watched(t, late, &storev1.WatchRequest{ResourceVersion: at[0]}, 1); !apierrors.IsResourceExpired(err) || !strings.Contains(err.Error(), "too old resource version: "+at[0]+" (") {
		t.Errorf("a version before the Store's time: %v", err)
	}
	if _, err := watched(t, c, &storev1.WatchRequest{ResourceVersion: "x"}, 1); !apierrors.IsInvalid(err) {
		t.Errorf("a version that is no number: %v", err)
	}
}

// An object that ceases to match a selector is deleted for its watcher: the
// event holds the last state that matched, with the version of the change.
func TestSelectorsTurnChangesIntoComingAndGoing(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	from := ""
	for i, color := range []string{"green", "red", "red", "green", "red", ""} {
		cm := configMap("a", map[string]string{"i": fmt.Sprint(i)})
		cm.Labels = map[string]string{"color": color}
		var err error
		switch {
		case i == 0:
			err = c.Create(ctx, cm)
			from = cm.ResourceVersion
		case color == "":
			err = c.Delete(ctx, cm, client.DeleteOptions{})
		default:
			err = c.Update(ctx, cm)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for selector, want := range map[string][]string{
		"color=red":   {"ADDED a=1", "MODIFIED a=2", "DELETED a=2", "ADDED a=4", "DELETED a=4"},
		"color=green": {"DELETED a=0", "ADDED a=3", "DELETED a=3"},
		"":            {"MODIFIED a=1", "MODIFIED a=2", "MODIFIED a=3", "MODIFIED a=4", "DELETED a=4"},
	} {
		got, err := watched(t, c, &storev1.WatchRequest{ResourceVersion: from, LabelSelector: selector}, len(want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", selector, diff)
		}
	}
}

// onlyNamed allows reading the object "mine" alone.
type onlyNamed struct{}

func (onlyNamed) Authorize(_ context.Context, a access.Attributes) (access.Decision, error) {
	return access.Decision{Allowed: a.User.InGroup(identity.GroupMasters) || a.Name == "mine" && a.Verb != "deletecollection"}, nil
}

// Whoever may read one object can list and watch it by its name.
func TestListAndWatchOfOneNameAreOfThatObject(t *testing.T) {
	s := storetest.New(t, storetest.WithControl(func(access.Reader) (access.Control, error) {
		return access.Control{Authorizer: onlyNamed{}}, nil
	}))
	create(t, s.Client(storetest.Admin()), configMap("mine", nil), configMap("other", nil))
	c := s.Client(identity.Identity{Name: "somebody", Groups: []string{identity.GroupAuthenticated}})
	for fields, allowed := range map[string]bool{"metadata.name=mine": true, "metadata.name=other": false, "metadata.name!=mine": false, "": false} {
		_, err := list(t, c, &storev1.ListRequest{FieldSelector: fields})
		if apierrors.IsForbidden(err) == allowed {
			t.Errorf("list of %q: %v", fields, err)
		}
		_, err = watched(t, c, &storev1.WatchRequest{FieldSelector: fields}, 1)
		if apierrors.IsForbidden(err) == allowed {
			t.Errorf("watch of %q: %v", fields, err)
		}
		_, err = c.Store().DeleteCollection(t.Context(), &storev1.DeleteCollectionRequest{Resource: configMaps(), Namespace: "default", FieldSelector: fields})
		if !apierrors.IsForbidden(apistatus.FromGRPC(err)) {
			t.Errorf("deletion of %q: %v", fields, err)
		}
	}
}
