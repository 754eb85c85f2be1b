package plugins

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation/field"
	configv1 "k8s.io/kube-scheduler/config/v1"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/services/scheduler/framework"
)

// arranged is what runs at a point after a configuration of plugins, as
// "Name:weight Name:weight".
func arranged(t *testing.T, config string, at framework.Point) (plugins, errs string) {
	t.Helper()
	custom := &configv1.Plugins{}
	if err := yaml.UnmarshalStrict([]byte(config), custom); err != nil {
		t.Fatal(err)
	}
	a, wrong := Arrange(field.NewPath("plugins"), custom)
	var out []string
	for _, e := range a[at] {
		out = append(out, fmt.Sprintf("%s:%d", e.Name, e.Weight))
	}
	if err := wrong.ToAggregate(); err != nil {
		errs = err.Error()
	}
	return strings.Join(out, " "), errs
}

// defaultScore are the plugins that score where nothing is said.
const defaultScore = "TaintToleration:3 NodeAffinity:2 NodeResourcesFit:1 VolumeBinding:1 PodTopologySpread:2 InterPodAffinity:2 DynamicResources:2 NodeResourcesBalancedAllocation:1 ImageLocality:1"

func TestArrange(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config string
		at     framework.Point
		want   string
	}{
		{"default", "{}", framework.ScorePoint, defaultScore},
		{"another weight at the point comes first", "score: {enabled: [{name: ImageLocality, weight: 9}]}", framework.ScorePoint,
			"ImageLocality:9 " + strings.TrimSuffix(defaultScore, " ImageLocality:1")},
		{"another weight wherever keeps the place", "multiPoint: {enabled: [{name: NodeAffinity, weight: 9}]}", framework.ScorePoint,
			strings.Replace(defaultScore, "NodeAffinity:2", "NodeAffinity:9", 1)},
		{"the point's weight wins", "{multiPoint: {enabled: [{name: NodeAffinity, weight: 9}]}, score: {enabled: [{name: NodeAffinity, weight: 8}]}}", framework.ScorePoint,
			"NodeAffinity:8 " + strings.Replace(defaultScore, "NodeAffinity:2 ", "", 1)},
		{"no weight is 1", "multiPoint: {enabled: [{name: TaintToleration}]}", framework.ScorePoint, strings.Replace(defaultScore, "TaintToleration:3", "TaintToleration:1", 1)},
		{"disabled wherever", "multiPoint: {disabled: [{name: ImageLocality}]}", framework.ScorePoint, strings.TrimSuffix(defaultScore, " ImageLocality:1")},
		{"all disabled but one", "multiPoint: {disabled: [{name: '*'}], enabled: [{name: NodeResourcesFit}]}", framework.ScorePoint, "NodeResourcesFit:1"},
		{"disabled and enabled again goes last", "multiPoint: {disabled: [{name: NodeAffinity}], enabled: [{name: NodeAffinity, weight: 4}]}", framework.ScorePoint,
			strings.Replace(defaultScore, "NodeAffinity:2 ", "", 1) + " NodeAffinity:4"},
		{"disabled at the point", "score: {disabled: [{name: ImageLocality}]}", framework.ScorePoint, strings.TrimSuffix(defaultScore, " ImageLocality:1")},
		{"all disabled at the point", "score: {disabled: [{name: '*'}]}", framework.ScorePoint, ""},
		{"all disabled at the point but one", "score: {disabled: [{name: '*'}], enabled: [{name: ImageLocality, weight: 2}]}", framework.ScorePoint, "ImageLocality:2"},
		{"disabled at another point", "score: {disabled: [{name: '*'}]}", framework.QueueSortPoint, "PrioritySort:1"},
		{"enabled at the point alone", "{multiPoint: {disabled: [{name: NodeName}]}, preFilter: {enabled: [{name: NodeName}]}}", framework.FilterPoint,
			"NodeUnschedulable:1 TaintToleration:3 NodeAffinity:2 NodePorts:1 NodeResourcesFit:1 VolumeRestrictions:1 NodeVolumeLimits:1 VolumeBinding:1 VolumeZone:1 PodTopologySpread:2 InterPodAffinity:2 DynamicResources:2"},
		{"one that is not here", "multiPoint: {disabled: [{name: GangScheduling}]}", framework.ScorePoint, defaultScore},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, errs := arranged(t, tt.config, tt.at)
			if diff := cmp.Diff(tt.want, got); diff != "" || errs != "" {
				t.Errorf("%s%s", diff, errs)
			}
		})
	}
}

func TestArrangeRefuses(t *testing.T) {
	for _, tt := range []struct{ name, config, want string }{
		{"unknown", "filter: {enabled: [{name: NodeName}, {name: Nodename}]}", `plugins.filter.enabled[1].name: Unsupported value: "Nodename": supported values: "DefaultBinder", `},
		{"unknown and disabled", "multiPoint: {disabled: [{name: Nodename}]}", `plugins.multiPoint.disabled[0].name: Unsupported value: "Nodename": supported values: "*", `},
		{"no name", "multiPoint: {enabled: [{weight: 1}]}", `plugins.multiPoint.enabled[0].name: Required value`},
		{"twice", "score: {enabled: [{name: ImageLocality}, {name: ImageLocality}]}", `plugins.score.enabled[1].name: Duplicate value: "ImageLocality"`},
		{"no part in it", "score: {enabled: [{name: NodeName}]}", `plugins.score.enabled[0].name: Invalid value: "NodeName": the plugin takes no part in score`},
		{"weight", "score: {enabled: [{name: ImageLocality, weight: -1}]}", `plugins.score.enabled[0].weight: Invalid value: -1: must be greater than 0`},
		{"a point of others", "postBind: {enabled: [{name: DefaultBinder}]}", `plugins.postBind.enabled[0].name: Invalid value: "DefaultBinder": there is no plugin that takes part in postBind`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, errs := arranged(t, tt.config, framework.ScorePoint); !strings.Contains(errs, tt.want) {
				t.Errorf("%q", errs)
			}
		})
	}
}
