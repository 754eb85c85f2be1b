package rbac

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/kinds"
)

func TestMend(t *testing.T) {
	role := func(rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole { return clusterRole("r", rules...) }
	pods, nodes := can("get").on("", "pods"), can("get").on("", "nodes")
	kept := func(o kinds.Object) kinds.Object {
		o.SetAnnotations(map[string]string{rbacv1.AutoUpdateAnnotationKey: "false"})
		return o
	}
	labelled := role(pods)
	labelled.Labels[bootstrapLabel], labelled.Labels["mine"] = "changed", "yes"
	own := aggregating("r")
	own.AggregationRule.ClusterRoleSelectors[0] = metav1.LabelSelector{MatchLabels: map[string]string{"mine": "yes"}}
	both := own.DeepCopy()
	both.AggregationRule.ClusterRoleSelectors = append(both.AggregationRule.ClusterRoleSelectors, aggregating("r").AggregationRule.ClusterRoleSelectors...)
	for _, c := range []struct {
		name         string
		stored, seed kinds.Object
		want         kinds.Object // nil: left alone
	}{
		{"the same", role(pods), role(pods), nil},
		{"more than needed", role(pods, nodes), role(pods), nil},
		{"a rule was taken away", role(nodes), role(pods, nodes), role(nodes, pods)},
		{"covered by a wider rule", role(can("*").on("*", "*")), role(pods, nodes), nil},
		{"to be left alone", kept(role()), role(pods), nil},
		{"labels of one's own", labelled, role(pods), nil},
		{"a namespaced role", &rbacv1.Role{ObjectMeta: bootstrapMeta("a", "r")}, &rbacv1.Role{ObjectMeta: bootstrapMeta("a", "r"), Rules: []rbacv1.PolicyRule{pods}},
			&rbacv1.Role{ObjectMeta: bootstrapMeta("a", "r"), Rules: []rbacv1.PolicyRule{pods}}},
		{"an aggregation of one's own", own, aggregating("r"), both},
		{"a subject was taken away", bind("r", user("ann")), bind("r", group("g")), bind("r", user("ann"), group("g"))},
		{"more subjects", bind("r", user("ann"), group("g")), bind("r", group("g")), nil},
		{"a binding to another role", bindAs("r", "other"), bind("r", group("g")), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := c.stored.DeepCopyObject()
			got := Mend(c.stored, c.seed)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("mended (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, c.stored); diff != "" {
				t.Errorf("what is stored was changed:\n%s", diff)
			}
		})
	}
}
