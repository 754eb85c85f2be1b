package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
)

func past(rv, verb, object string, removed bool) *storev1.Revision {
	return &storev1.Revision{
		ResourceVersion: rv, Removed: removed, Object: &storev1.Object{Json: []byte(object)},
		Writer: &storev1.Writer{User: "jane", FieldManager: "kubectl", Verb: verb, Time: timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local))},
	}
}

func TestHistoryIsShownWithItsChanges(t *testing.T) {
	resp := &storev1.HistoryResponse{Revisions: []*storev1.Revision{
		past("1009", "delete", `{"a":2}`, true), past("8", "patch", `{"a":2}`, false), past("7", "create", `{"a":1}`, false),
		past("5", "update", `{"a":0}`, false),
	}}
	for _, tc := range []struct {
		name  string
		limit int
		want  string
	}{
		{"all that is kept", 9, `REVISION  WHEN                 WHO   MANAGER  WHAT
1009      2026-01-02 03:04:05  jane  kubectl  delete, which removed it
8         2026-01-02 03:04:05  jane  kubectl  patch
    ~ a: 1 → 2
7         2026-01-02 03:04:05  jane  kubectl  create
5         2026-01-02 03:04:05  jane  kubectl  update
    (what was before is not kept any more)
`},
		{"the newest two", 2, `REVISION  WHEN                 WHO   MANAGER  WHAT
1009      2026-01-02 03:04:05  jane  kubectl  delete, which removed it
8         2026-01-02 03:04:05  jane  kubectl  patch
    ~ a: 1 → 2
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			revisions, err := describeHistory(resp, tc.limit)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if err := writeHistory(&out, revisions); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, out.String()); diff != "" {
				t.Errorf("history (-want +got):\n%s", diff)
			}
		})
	}
}
