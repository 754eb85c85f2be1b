package kinds

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestColumnTypes: what columns are declared to be, and cells are, where these differ
// or are not strings.
func TestColumnTypes(t *testing.T) {
	for _, tt := range []struct {
		of           schema.GroupVersionKind
		text, column string
		want         string // type, format, cell
	}{
		{gvk("apps/v1", "Deployment"), "status: {updatedReplicas: 2}", "Up-to-date", "string  2 int64"},
		{gvk("v1", "ConfigMap"), "data: {a: b}", "Data", "string  1 int64"},
		{gvk("apps/v1", "ControllerRevision"), "revision: 3", "Revision", "string  3 int64"},
		{gvk("autoscaling/v2", "HorizontalPodAutoscaler"), "spec: {maxReplicas: 4}", "MaxPods", "string  4 int64"},
		{gvk("v1", "Event"), "count: 5", "Count", "string  5 int64"},
		{gvk("batch/v1", "CronJob"), "spec: {suspend: true}", "Suspend", "boolean  True string"},
		{gvk("storage.k8s.io/v1", "StorageClass"), "metadata: {name: a}", "Name", "string name a string"},
		{gvk("storage.k8s.io/v1", "StorageClass"), "allowVolumeExpansion: true", "AllowVolumeExpansion", "string  true bool"},
		{gvk("storage.k8s.io/v1", "VolumeAttachment"), "spec: {attacher: a}", "Attacher", "string name a string"},
		{gvk("storage.k8s.io/v1", "VolumeAttachment"), "status: {attached: true}", "Attached", "boolean  true bool"},
		{gvk("flowcontrol.apiserver.k8s.io/v1", "FlowSchema"), "spec: {matchingPrecedence: 6}", "MatchingPrecedence", "string  6 int64"},
		{gvk("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration"), "spec: {limited: {limitResponse: {queuing: {queues: 7}}}}", "Queues", "string  7 int64"},
		{gvk("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration"), "spec: {limited: {}}", "Queues", "string  <none> string"},
		{gvk("storage.k8s.io/v1", "CSIStorageCapacity"), "metadata: {creationTimestamp: '2026-01-02T03:04:05Z'}", "Created At", "date  2026-01-02T03:04:05Z string"},
	} {
		kind, obj := parse(t, tt.of, tt.text)
		got := "none"
		for _, c := range kind.Columns {
			if c.Name == tt.column {
				cell := c.Value(obj)
				got = fmt.Sprintf("%s %s %v %T", c.Type, c.Format, cell, cell)
			}
		}
		if got != tt.want {
			t.Errorf("%s of a %s: %q, want %q", tt.column, tt.of.Kind, got, tt.want)
		}
	}
}
