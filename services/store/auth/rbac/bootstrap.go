package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
)

// bootstrapLabel marks what a cluster starts with.
const bootstrapLabel = "kubernetes.io/bootstrapping"

// The verbs that come together.
var (
	readVerbs  = []string{"get", "list", "watch"}
	writeVerbs = []string{"create", "delete", "deletecollection", "patch", "update"}
)

// Bootstrap returns the roles and bindings that every cluster starts with. The
// Store creates those that are missing and leaves the others as administrators
// changed them.
func Bootstrap() []kinds.Object {
	clusterRoles := append(userRoles(), systemRoles()...)
	var all []kinds.Object
	for _, r := range clusterRoles {
		r.Rules = Aggregate(r, clusterRoles)
		all = append(all, r)
	}
	for _, b := range clusterBindings() {
		all = append(all, b)
	}
	for _, r := range namespacedRoles() {
		all = append(all, r)
	}
	for _, b := range namespacedBindings() {
		all = append(all, b)
	}
	return all
}

// can begins a rule: can(verbs...).on(group, resources...).
func can(verbs ...string) verbSet { return verbs }

type verbSet []string

func (v verbSet) on(group string, resources ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: v, APIGroups: []string{group}, Resources: resources}
}

func (v verbSet) onPaths(paths ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: v, NonResourceURLs: paths}
}

func named(rule rbacv1.PolicyRule, names ...string) rbacv1.PolicyRule {
	rule.ResourceNames = names
	return rule
}

func read(group string, resources ...string) rbacv1.PolicyRule {
	return can(readVerbs...).on(group, resources...)
}

func write(group string, resources ...string) rbacv1.PolicyRule {
	return can(writeVerbs...).on(group, resources...)
}

// events are recorded by everybody who does something.
func events() rbacv1.PolicyRule {
	rule := can("create", "patch", "update").on("", "events")
	rule.APIGroups = append(rule.APIGroups, "events.k8s.io")
	return rule
}

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: bootstrapMeta("", name), Rules: rules}
}

// aggregating makes a role of all roles labelled to be part of it.
func aggregating(name string) *rbacv1.ClusterRole {
	r := clusterRole(name)
	r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
		{MatchLabels: map[string]string{aggregationLabel(name): "true"}},
	}}
	return r
}

// partOf labels a role to be part of another.
func partOf(role *rbacv1.ClusterRole, whole string) *rbacv1.ClusterRole {
	role.Labels[aggregationLabel(whole)] = "true"
	return role
}

func aggregationLabel(whole string) string {
	return "rbac.authorization.k8s.io/aggregate-to-" + whole
}

func bootstrapMeta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name,
		Labels:      map[string]string{bootstrapLabel: "rbac-defaults"},
		Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"},
	}
}

func bind(role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return bindAs(role, role, subjects...)
}

func bindAs(name, role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: bootstrapMeta("", name),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   subjects,
	}
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}
}

func group(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: name}
}

func clusterBindings() []*rbacv1.ClusterRoleBinding {
	authenticated, unauthenticated := group(identity.GroupAuthenticated), group(identity.GroupUnauthenticated)
	return []*rbacv1.ClusterRoleBinding{
		bind("cluster-admin", group(identity.GroupMasters)),
		bind("system:basic-user", authenticated),
		bind("system:discovery", authenticated),
		bind("system:public-info-viewer", authenticated, unauthenticated),
		bind("system:monitoring", group("system:monitoring")),
		bind("system:service-account-issuer-discovery", group("system:serviceaccounts")),
		bind("system:cluster-trust-bundle-discovery", group("system:serviceaccounts")),
		bind("system:kube-scheduler", user(identity.Scheduler)),
		bindAs("system:volume-scheduler", "system:volume-scheduler", user(identity.Scheduler)),
		bind("system:kube-controller-manager", user(identity.Controller)),
		bind("system:node-proxier", user(identity.Proxy)),
		bind("system:navarch:gateway", group(identity.GroupGateways)),
		bind("system:controller:horizontal-pod-autoscaler",
			rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: metav1.NamespaceSystem, Name: "horizontal-pod-autoscaler"}),
		// Nodes renew their certificates without anybody looking.
		bind("system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", group(identity.GroupNodes)),
		bind("system:certificates.k8s.io:certificatesigningrequests:selfnodeserver", group(identity.GroupNodes)),
		// Agents are allowed what they need by the Node authorizer, which knows
		// their pods; the role stays unbound, as in Kubernetes.
		bind("system:node"),
	}
}

// namespacedRoles let system components elect leaders and find their
// configuration.
func namespacedRoles() []*rbacv1.Role {
	role := func(namespace, name string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
		return &rbacv1.Role{ObjectMeta: bootstrapMeta(namespace, name), Rules: rules}
	}
	return []*rbacv1.Role{
		role(metav1.NamespaceSystem, "extension-apiserver-authentication-reader",
			named(read("", "configmaps"), "extension-apiserver-authentication")),
		role(metav1.NamespaceSystem, "system::leader-locking", can("get", "list", "watch", "create", "update", "patch", "delete").on("coordination.k8s.io", "leases")),
	}
}

func namespacedBindings() []*rbacv1.RoleBinding {
	return []*rbacv1.RoleBinding{{
		ObjectMeta: bootstrapMeta(metav1.NamespaceSystem, "system::leader-locking"),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "system::leader-locking"},
		Subjects:   []rbacv1.Subject{user(identity.Scheduler), user(identity.Controller)},
	}, {
		ObjectMeta: bootstrapMeta(metav1.NamespaceSystem, "system::extension-apiserver-authentication-reader"),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "extension-apiserver-authentication-reader"},
		Subjects:   []rbacv1.Subject{user(identity.Scheduler), user(identity.Controller)},
	}}
}
