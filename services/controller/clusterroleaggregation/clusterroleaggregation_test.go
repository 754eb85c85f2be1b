package clusterroleaggregation_test

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/controller/clusterroleaggregation"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/store/auth"
	"navarch.dev/navarch/services/store/storetest"
)

func TestRolesAreWrittenTogether(t *testing.T) {
	c := controllertest.New(t, storetest.WithControl(auth.New(auth.DefaultConfig())), storetest.WithSeed(auth.Bootstrap()...))
	c.Start(c.Controller(clusterroleaggregation.New(c.Deps)))
	part := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "widgets", Labels: map[string]string{"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
		Rules:      []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{"example.com"}, Resources: []string{"widgets"}}},
	}
	c.Apply(part)
	shows := func(name string) func([]*rbacv1.ClusterRole) bool {
		return func(all []*rbacv1.ClusterRole) bool {
			for _, role := range all {
				for _, rule := range role.Rules {
					if role.Name == name && rule.Resources != nil && rule.Resources[0] == "widgets" {
						return true
					}
				}
			}
			return false
		}
	}
	// view is part of edit, and edit of admin.
	for _, name := range []string{"view", "edit", "admin"} {
		controllertest.Await(c, name+" with the rule", shows(name))
	}
	c.Remove(part, "")
	for _, name := range []string{"view", "edit", "admin"} {
		controllertest.Await(c, name+" without the rule", func(all []*rbacv1.ClusterRole) bool { return !shows(name)(all) })
	}
}
