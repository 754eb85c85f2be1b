package kinds

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	registrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// LocalAPIService is the condition of an API that the cluster serves itself.
func LocalAPIService() registrationv1.APIServiceCondition {
	return registrationv1.APIServiceCondition{
		Type: registrationv1.Available, Status: registrationv1.ConditionTrue, LastTransitionTime: metav1.Now(),
		Reason: "Local", Message: "Local APIServices are always available",
	}
}

// Priority is where clients find a version of an API: groups with a higher one
// first, and in a group versions with a higher one.
type Priority struct{ Group, Version int32 }

// CustomPriority is that of custom resources' groups and versions.
var CustomPriority = Priority{Group: 1000, Version: 100}

// groupPriorities are those of Kubernetes' own groups.
var groupPriorities = map[string]int32{
	"": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600,
	"autoscaling": 17500, "batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100,
	"rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800, "apiextensions.k8s.io": 16700, "admissionregistration.k8s.io": 16700,
	"scheduling.k8s.io": 16600, "coordination.k8s.io": 16500, "node.k8s.io": 16300, "discovery.k8s.io": 16200, "resource.k8s.io": 16200,
	"flowcontrol.apiserver.k8s.io": 16100, "storagemigration.k8s.io": 15800,
}

// versionPriorities are those that are not generalPriority.
var versionPriorities = map[schema.GroupVersion]int32{
	{Version: "v1"}:                                        1,
	{Group: "autoscaling", Version: "v2"}:                  30,
	{Group: "resource.k8s.io", Version: "v1"}:              21,
	{Group: "flowcontrol.apiserver.k8s.io", Version: "v1"}: 21,
}

// generalPriority is the version priority of what is generally available.
const generalPriority = 15

// GroupPriority returns a group's priority, that of custom resources for a group
// that is not Kubernetes' own.
func GroupPriority(group string) int32 {
	if p, ok := groupPriorities[group]; ok {
		return p
	}
	switch group {
	case registrationv1.GroupName:
		return firstPriority
	case metricsGroup:
		return metricsPriority
	}
	return CustomPriority.Group
}

const (
	// firstPriority is that of the API by which others are registered.
	firstPriority = 20_001
	// The gateway's own figures of usage give way to everything else of the name,
	// as those of metrics-server do.
	metricsGroup    = "metrics.k8s.io"
	metricsPriority = 100
)

// BuiltinPriority returns the priority of one of Kubernetes' own versions; false
// for others, and for apiregistration.k8s.io, which is always first.
func BuiltinPriority(gv schema.GroupVersion) (Priority, bool) {
	group, ok := groupPriorities[gv.Group]
	if !ok {
		return Priority{}, false
	}
	if version, ok := versionPriorities[gv]; ok {
		return Priority{group, version}, true
	}
	return Priority{group, generalPriority}, true
}
