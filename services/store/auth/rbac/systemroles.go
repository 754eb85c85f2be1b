package rbac

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
)

// systemRoles are the roles of the cluster's own parts and what everybody may
// do.
func systemRoles() []*rbacv1.ClusterRole {
	return slices.Concat(everybodysRoles(), componentRoles(), []*rbacv1.ClusterRole{
		clusterRole("system:node", NodeRules()...),
		clusterRole("system:kube-controller-manager", controllerRules()...),
		clusterRole("system:kube-scheduler", schedulerRules()...),
	})
}

func everybodysRoles() []*rbacv1.ClusterRole {
	return []*rbacv1.ClusterRole{
		clusterRole("system:basic-user",
			can("create").on("authorization.k8s.io", "selfsubjectaccessreviews", "selfsubjectrulesreviews"),
			can("create").on("authentication.k8s.io", "selfsubjectreviews")),
		clusterRole("system:discovery",
			can("get").onPaths("/healthz", "/livez", "/readyz", "/version", "/version/",
				"/openapi", "/openapi/*", "/api", "/api/*", "/apis", "/apis/*")),
		clusterRole("system:public-info-viewer",
			can("get").onPaths("/healthz", "/healthz/*", "/livez", "/livez/*", "/readyz", "/readyz/*", "/version", "/version/")),
		clusterRole("system:monitoring",
			can("get").onPaths("/healthz", "/healthz/*", "/livez", "/livez/*", "/readyz", "/readyz/*", "/metrics", "/metrics/slis")),
		clusterRole("system:service-account-issuer-discovery",
			can("get").onPaths("/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/")),
		clusterRole("system:cluster-trust-bundle-discovery", read("certificates.k8s.io", "clustertrustbundles")),
	}
}

func componentRoles() []*rbacv1.ClusterRole {
	return []*rbacv1.ClusterRole{
		clusterRole("system:navarch:gateway",
			can("create").on("authorization.k8s.io", "subjectaccessreviews"),
			can("create").on("authentication.k8s.io", "tokenreviews"),
			can("get", "list").on("", "nodes", "pods"), // whose usage it serves
			read("apiextensions.k8s.io", "customresourcedefinitions"),
			// For requests that it passes on.
			read("apiregistration.k8s.io", "apiservices"), can("get").on("", "services/proxy"),
			can("get").onPaths("*")),
		clusterRole("system:node-proxier",
			read("", "nodes", "services", "endpoints", "namespaces"),
			read("discovery.k8s.io", "endpointslices"),
			read("networking.k8s.io", "ingresses", "ingressclasses", "networkpolicies", "servicecidrs"),
			can("update", "patch").on("networking.k8s.io", "ingresses/status"),
			can("list", "watch").on("", "pods"),
			events()),
		clusterRole("system:kube-dns", can("list", "watch").on("", "endpoints", "services")),
		// Servers of metrics ask whether the autoscaler may see them.
		clusterRole("system:controller:horizontal-pod-autoscaler",
			can("list", "watch").on("metrics.k8s.io", "pods"), read("custom.metrics.k8s.io", "*"), read("external.metrics.k8s.io", "*")),
		clusterRole("system:node-bootstrapper",
			can("create", "get", "list", "watch").on("certificates.k8s.io", "certificatesigningrequests")),
		clusterRole("system:node-problem-detector",
			can("get").on("", "nodes"), can("patch").on("", "nodes/status"), events()),
		clusterRole("system:persistent-volume-provisioner",
			can("create", "delete", "get", "list", "watch").on("", "persistentvolumes"),
			can("get", "list", "update", "watch").on("", "persistentvolumeclaims"),
			read("storage.k8s.io", "storageclasses"),
			can("watch").on("", "events"), events()),
		clusterRole("system:volume-scheduler",
			can("get", "list", "patch", "update", "watch").on("", "persistentvolumes", "persistentvolumeclaims"),
			read("storage.k8s.io", "storageclasses")),
		clusterRole("system:auth-delegator",
			can("create").on("authentication.k8s.io", "tokenreviews"),
			can("create").on("authorization.k8s.io", "subjectaccessreviews")),
		clusterRole("system:kubelet-api-admin",
			read("", "nodes"), can("proxy").on("", "nodes"),
			can("*").on("", "nodes/proxy", "nodes/metrics", "nodes/stats", "nodes/log", "nodes/pods", "nodes/healthz", "nodes/configz")),
		clusterRole("system:certificates.k8s.io:certificatesigningrequests:nodeclient", can("create").on("certificates.k8s.io", "certificatesigningrequests/nodeclient")),
		clusterRole("system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", can("create").on("certificates.k8s.io", "certificatesigningrequests/selfnodeclient")),
		clusterRole("system:certificates.k8s.io:certificatesigningrequests:selfnodeserver", can("create").on("certificates.k8s.io", "certificatesigningrequests/selfnodeserver")),
		clusterRole("system:certificates.k8s.io:legacy-unknown-approver", approves("kubernetes.io/legacy-unknown")),
		clusterRole("system:certificates.k8s.io:kube-apiserver-client-kubelet-approver", approves("kubernetes.io/kube-apiserver-client-kubelet")),
		clusterRole("system:certificates.k8s.io:kubelet-serving-approver", approves("kubernetes.io/kubelet-serving")),
		clusterRole("system:certificates.k8s.io:kube-apiserver-client-approver", approves("kubernetes.io/kube-apiserver-client")),
	}
}

// approves lets approve the requests to signers.
func approves(names ...string) rbacv1.PolicyRule {
	return named(can("approve").on("certificates.k8s.io", "signers"), names...)
}

// schedulerRules: the scheduler sees what placement depends on, binds pods and
// makes room for them.
func schedulerRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		events(),
		can("create", "get", "list", "watch", "update", "patch").on("coordination.k8s.io", "leases"),
		read("", "nodes", "namespaces", "services", "replicationcontrollers", "persistentvolumes", "persistentvolumeclaims"),
		can("delete", "get", "list", "watch").on("", "pods"),
		can("create").on("", "bindings", "pods/binding"),
		can("patch", "update").on("", "pods/status"),
		read("apps", "replicasets", "statefulsets"),
		read("policy", "poddisruptionbudgets"),
		read("scheduling.k8s.io", "priorityclasses"),
		read("resource.k8s.io", "deviceclasses", "resourceslices", "devicetaintrules"),
		can("get", "list", "watch", "update", "patch").on("resource.k8s.io", "resourceclaims", "resourceclaims/status"),
		can("create", "delete").on("resource.k8s.io", "resourceclaims"),
		can("update", "patch").on("resource.k8s.io", "resourceclaims/binding"),
		read("storage.k8s.io", "csidrivers", "csinodes", "csistoragecapacities", "storageclasses", "volumeattachments"),
		can("create").on("authentication.k8s.io", "tokenreviews"),
		can("create").on("authorization.k8s.io", "subjectaccessreviews"),
	}
}

// controllerRules: all controllers act under one identity. The garbage
// collector and the namespace controller see and delete objects of every kind;
// each controller writes the kinds that it is responsible for.
func controllerRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		can("get", "list", "watch", "delete", "deletecollection", "patch", "update").on("*", "*"),
		can("create").on("", "configmaps", "endpoints", "events", "persistentvolumeclaims", "persistentvolumes", "pods",
			"pods/binding", "pods/eviction", "replicationcontrollers", "secrets", "serviceaccounts", "serviceaccounts/token", "namespaces", "nodes"),
		can("create").on("apps", "controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"),
		can("create").on("batch", "jobs", "cronjobs"),
		can("create").on("autoscaling", "horizontalpodautoscalers"),
		can("create").on("policy", "poddisruptionbudgets"),
		can("create").on("discovery.k8s.io", "endpointslices"),
		can("create").on("networking.k8s.io", "ipaddresses", "servicecidrs"),
		can("create").on("coordination.k8s.io", "leases"),
		can("create").on("events.k8s.io", "events"),
		can("create").on("storage.k8s.io", "volumeattachments", "csistoragecapacities"),
		can("create").on("resource.k8s.io", "resourceclaims"),
		can("create").on("certificates.k8s.io", "certificatesigningrequests", "clustertrustbundles"),
		can("create").on("apiregistration.k8s.io", "apiservices"),
		can("create").on("authentication.k8s.io", "tokenreviews"),
		can("create").on("authorization.k8s.io", "subjectaccessreviews"),
		can("approve", "sign").on("certificates.k8s.io", "signers"),
		named(can("attest").on("certificates.k8s.io", "signers"), "kubernetes.io/kube-apiserver-serving"),
		// Aggregated roles get rules that the controllers do not have themselves.
		can("escalate").on("rbac.authorization.k8s.io", "clusterroles"),
		can("get").onPaths("*"),
	}
}

// NodeRules are what every agent may do beyond what depends on its pods.
func NodeRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		can("create").on("authentication.k8s.io", "tokenreviews"),
		can("create").on("authorization.k8s.io", "subjectaccessreviews", "localsubjectaccessreviews"),
		read("", "services", "nodes", "namespaces"),
		read("discovery.k8s.io", "endpointslices"),
		can("create").on("", "nodes"),
		events(),
		can("create", "get", "list", "watch").on("certificates.k8s.io", "certificatesigningrequests", "podcertificaterequests"),
		read("certificates.k8s.io", "clustertrustbundles"),
		read("storage.k8s.io", "csidrivers", "storageclasses"),
		read("node.k8s.io", "runtimeclasses"),
		read("scheduling.k8s.io", "priorityclasses"),
	}
}
