package rbac

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
)

// userRoles are the roles that administrators hand to people: cluster-admin,
// admin, edit and view. The last three are made of the roles labelled to be
// part of them, so that others can add to them.
func userRoles() []*rbacv1.ClusterRole {
	return []*rbacv1.ClusterRole{
		clusterRole("cluster-admin", everything()...),
		aggregating("admin"),
		partOf(aggregating("edit"), "admin"),
		partOf(aggregating("view"), "edit"),
		partOf(clusterRole("system:aggregate-to-admin", adminRules()...), "admin"),
		partOf(clusterRole("system:aggregate-to-edit", editRules()...), "edit"),
		partOf(clusterRole("system:aggregate-to-view", viewRules()...), "view"),
	}
}

// adminRules: an administrator of a namespace also decides who may do what in
// it.
func adminRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		can("create").on("authorization.k8s.io", "localsubjectaccessreviews"),
		can(slices.Concat(readVerbs, writeVerbs)...).on("rbac.authorization.k8s.io", "roles", "rolebindings"),
	}
}

// editRules: an editor changes everything in a namespace but who may do what,
// and can act as its service accounts and read its secrets.
func editRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		read("", "pods/attach", "pods/proxy", "pods/exec", "pods/portforward", "secrets", "services/proxy"),
		can("impersonate").on("", "serviceaccounts"),
		write("", "pods", "pods/attach", "pods/proxy", "pods/exec", "pods/portforward"),
		can("create").on("", "pods/eviction"),
		write("", "configmaps", "events", "persistentvolumeclaims", "replicationcontrollers", "replicationcontrollers/scale",
			"secrets", "serviceaccounts", "services", "services/proxy"),
		can("create").on("", "serviceaccounts/token"),
		write("apps", "daemonsets", "deployments", "deployments/rollback", "deployments/scale",
			"replicasets", "replicasets/scale", "statefulsets", "statefulsets/scale"),
		write("autoscaling", "horizontalpodautoscalers"),
		write("batch", "jobs", "cronjobs"),
		write("policy", "poddisruptionbudgets"),
		write("networking.k8s.io", "networkpolicies", "ingresses"),
		write("resource.k8s.io", "resourceclaims", "resourceclaimtemplates"),
		can(slices.Concat(readVerbs, writeVerbs)...).on("coordination.k8s.io", "leases"),
	}
}

// viewRules: a viewer sees everything in a namespace that cannot be used to
// become somebody else. Secrets can.
func viewRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		read("", "configmaps", "endpoints", "persistentvolumeclaims", "persistentvolumeclaims/status", "pods",
			"replicationcontrollers", "replicationcontrollers/scale", "serviceaccounts", "services", "services/status"),
		read("", "bindings", "events", "limitranges", "namespaces/status", "pods/log", "pods/status",
			"replicationcontrollers/status", "resourcequotas", "resourcequotas/status"),
		read("", "namespaces"),
		read("discovery.k8s.io", "endpointslices"),
		read("events.k8s.io", "events"),
		read("apps", "controllerrevisions", "daemonsets", "daemonsets/status", "deployments", "deployments/scale", "deployments/status",
			"replicasets", "replicasets/scale", "replicasets/status", "statefulsets", "statefulsets/scale", "statefulsets/status"),
		read("autoscaling", "horizontalpodautoscalers", "horizontalpodautoscalers/status"),
		read("batch", "cronjobs", "cronjobs/status", "jobs", "jobs/status"),
		read("metrics.k8s.io", "nodes", "pods"),
		read("policy", "poddisruptionbudgets", "poddisruptionbudgets/status"),
		read("networking.k8s.io", "ingresses", "ingresses/status", "networkpolicies"),
		read("resource.k8s.io", "resourceclaims", "resourceclaims/status", "resourceclaimtemplates"),
	}
}
