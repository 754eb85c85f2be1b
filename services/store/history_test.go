package store_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/storetest"
)

// past reads a ConfigMap's history: each line who did what, and what the data
// was then.
func past(t *testing.T, c *client.Client, name string, limit int32) (lines []string, complete bool) {
	t.Helper()
	resp, err := c.Store().History(t.Context(), &storev1.HistoryRequest{
		Resource: &storev1.Resource{Version: "v1", Resource: "configmaps"}, Namespace: "default", Name: name, Limit: limit,
	})
	if apierrors.IsNotFound(apistatus.FromGRPC(err)) {
		return nil, false
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range resp.GetRevisions() {
		var cm corev1.ConfigMap
		if err := kinds.Decode(r.GetObject().GetObject(), &cm); err != nil {
			t.Fatal(err)
		}
		if cm.ResourceVersion != r.GetResourceVersion() || r.GetWriter() != nil && r.GetWriter().GetTime() == nil {
			t.Errorf("revision %s of %s, written %v", r.GetResourceVersion(), cm.ResourceVersion, r.GetWriter())
		}
		line := fmt.Sprintf("%s %s %s: %v", r.GetWriter().GetUser(), r.GetWriter().GetFieldManager(), r.GetWriter().GetVerb(), cm.Data)
		if r.GetRemoved() {
			line += " removed"
		}
		lines = append(lines, line)
	}
	return lines, resp.GetComplete()
}

func TestHistoryTellsWhoDidWhat(t *testing.T) {
	ctx := t.Context()
	s := storetest.New(t)
	c := s.Client(storetest.Admin())
	cm := configMap("cm", map[string]string{"a": "1"})
	create(t, c, cm)
	if err := reread(t, c, cm); err != nil { // now the Store watches ConfigMaps
		t.Fatal(err)
	}
	for _, value := range []string{"2", "2", "3"} {
		cm.Data["a"] = value
		if err := c.Update(ctx, cm); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Delete(ctx, cm, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gone := []string{
		"admin  delete: map[a:3] removed",
		"admin storetest update: map[a:3]",
		"admin storetest update: map[a:2]",
		"admin storetest create: map[a:1]",
	}
	lines, complete := past(t, c, "cm", 0)
	if diff := cmp.Diff(gone, lines); diff != "" || !complete {
		t.Errorf("of what is gone: complete %t (-want +got):\n%s", complete, diff)
	}
	create(t, c, configMap("cm", nil), configMap("cm2", nil))
	again := append([]string{"admin storetest create: map[]"}, gone...)
	if lines, _ := past(t, c, "cm", 0); cmp.Diff(again, lines) != "" {
		t.Errorf("of what is there again (-want +got):\n%s", cmp.Diff(again, lines))
	}
	if lines, complete := past(t, c, "cm", 2); len(lines) != 2 || complete {
		t.Errorf("the newest two: %q, complete %t", lines, complete)
	}
	if lines, _ := past(t, c, "never", 0); lines != nil {
		t.Errorf("of what never was: %q", lines)
	}
}

func TestHistoryEndsWhereRevisionsAreDropped(t *testing.T) {
	ctx := t.Context()
	s := storetest.New(t)
	c := s.Client(storetest.Admin())
	cm := configMap("cm", map[string]string{"a": "1"})
	create(t, c, cm)
	for _, value := range []string{"2", "3"} {
		cm.Data["a"] = value
		if err := c.Update(ctx, cm); err != nil {
			t.Fatal(err)
		}
	}
	revision, err := s.Backend.Revision(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Backend.Compact(ctx, revision-1); err != nil {
		t.Fatal(err)
	}
	lines, complete := past(t, c, "cm", 0)
	if len(lines) != 2 || complete {
		t.Errorf("after a compaction: %q, complete %t", lines, complete)
	}
}
