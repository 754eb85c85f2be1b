package kinds

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
)

// rbacKinds are the kinds of rbac.authorization.k8s.io/v1.
func rbacKinds() []*Kind {
	return []*Kind{
		object[rbacv1.ClusterRole, rbacv1.ClusterRoleList](Kind{
			Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles", Kind: "ClusterRole", Singular: "clusterrole",
			NameRule:       PathSegment,
			Columns:        roleColumns(),
			CreateOnUpdate: true,
			Strategy:       clusterRoleStrategy(),
		}),
		object[rbacv1.ClusterRoleBinding, rbacv1.ClusterRoleBindingList](Kind{
			Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings", Kind: "ClusterRoleBinding", Singular: "clusterrolebinding",
			NameRule:       PathSegment,
			Columns:        clusterRoleBindingColumns(),
			CreateOnUpdate: true,
			Strategy:       clusterRoleBindingStrategy(),
		}),
		object[rbacv1.Role, rbacv1.RoleList](Kind{
			Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles", Kind: "Role", Singular: "role",
			Namespaced:     true,
			NameRule:       PathSegment,
			Columns:        roleColumns(),
			CreateOnUpdate: true,
			Strategy:       roleStrategy(),
		}),
		object[rbacv1.RoleBinding, rbacv1.RoleBindingList](Kind{
			Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings", Kind: "RoleBinding", Singular: "rolebinding",
			Namespaced:     true,
			NameRule:       PathSegment,
			Columns:        roleBindingColumns(),
			CreateOnUpdate: true,
			Strategy:       roleBindingStrategy(),
		}),
	}
}

// PathSegment is a NameRule that allows every name, or beginning of one, that can
// stand in a URL's path: RBAC's objects have names such as "system:node".
func PathSegment(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}
