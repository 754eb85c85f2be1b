package kinds

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	registrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

func TestAPIServices(t *testing.T) {
	const priorities = "groupPriorityMinimum: 100, versionPriority: 10"
	spec := func(more string) string {
		return "{metadata: {name: v1.example.com}, spec: {group: example.com, version: v1, " + priorities + ", " + more + "}}"
	}
	testCreate(t, gvk("apiregistration.k8s.io/v1", "APIService"), []bad{
		{"local", spec(""), nil},
		{"of a Service", spec("service: {namespace: a, name: b}, caBundle: YQ=="), nil},
		{"the core group", "{metadata: {name: v1.}, spec: {version: v1, " + priorities + "}}", nil},
		{"nothing", "{metadata: {name: v1.example.com}, spec: {}}", []string{
			"metadata.name: Invalid value: \"v1.example.com\": must be `spec.version+\".\"+spec.group`: \".\"",
			"spec.group: Required value: only v1 may have an empty group and it better be legacy kube",
			`spec.version: Invalid value: "": a DNS-1035 label`,
			"spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000",
			"spec.versionPriority: Invalid value: 0: must be positive and less than 1000"}},
		{"a name", "{metadata: {name: v2.example.com}, spec: {group: example.com, version: v1, " + priorities + "}}", []string{
			"metadata.name: Invalid value: \"v2.example.com\": must be `spec.version+\".\"+spec.group`: \"v1.example.com\""}},
		{"names", "{metadata: {name: V1.Example}, spec: {group: Example, version: V1, " + priorities + "}}", []string{
			`spec.group: Invalid value: "Example": a lowercase RFC 1123 subdomain`, `spec.version: Invalid value: "V1": a DNS-1035 label`}},
		{"priorities", "{metadata: {name: v1.example.com}, spec: {group: example.com, version: v1, groupPriorityMinimum: 20001, versionPriority: 1001}}", []string{
			"spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000",
			"spec.versionPriority: Invalid value: 1001: must be positive and less than 1000"}},
		{"local with trust", spec("caBundle: YQ==, insecureSkipTLSVerify: true"), []string{
			`spec.caBundle: Invalid value: "1 bytes": local APIServices may not have a caBundle`,
			"spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify"}},
		{"a Service", spec("service: {port: 65536}, caBundle: YQ==, insecureSkipTLSVerify: true"), []string{
			"spec.service.namespace: Required value", "spec.service.name: Required value",
			"spec.service.port: Invalid value: 65536: port is not valid: must be between 1 and 65535, inclusive",
			"spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"}},
	})
	testUpdate(t, gvk("apiregistration.k8s.io/v1", "APIService"), true, []change{
		{"a status", spec(""), "{status: {conditions: [{type: Available, status: Maybe}]}}", []string{
			`status.conditions[0].status: Unsupported value: "Maybe": supported values: "True", "False", "Unknown"`}},
	})
}

func TestAPIServicesAreDescribed(t *testing.T) {
	elsewhere := &registrationv1.ServiceReference{Namespace: "a", Name: "b"}
	type condition = registrationv1.APIServiceCondition
	for _, tc := range []struct {
		service           *registrationv1.ServiceReference
		conditions        []condition
		served, available string
	}{
		{nil, []condition{LocalAPIService()}, "Local", "True"},
		{elsewhere, nil, "a/b", "Unknown"},
		{elsewhere, []condition{{Type: "Available", Status: "True", Reason: "Passed"}}, "a/b", "True"},
		{elsewhere, []condition{{Type: "Available", Status: "False", Reason: "ServiceNotFound"}}, "a/b", "False (ServiceNotFound)"},
		{elsewhere, []condition{{Type: "Other", Status: "True"}, {Type: "Available", Status: "False"}}, "a/b", "False"},
	} {
		a := &registrationv1.APIService{Spec: registrationv1.APIServiceSpec{Service: tc.service}, Status: registrationv1.APIServiceStatus{Conditions: tc.conditions}}
		if got := servedBy(a) + " " + availability(a); got != tc.served+" "+tc.available {
			t.Errorf("%v is shown as %q, not %q", a, got, tc.served+" "+tc.available)
		}
	}
}

func TestAPIServicesAtCreation(t *testing.T) {
	_, obj := read(t, gvk("apiregistration.k8s.io/v1", "APIService"), "spec: {service: {namespace: a, name: b}}")
	a := obj.(*registrationv1.APIService)
	if *a.Spec.Service.Port != 443 {
		t.Errorf("the default port is %d", *a.Spec.Service.Port)
	}
	a.Spec.Service = nil
	if apiServiceStrategy().PrepareForCreate(a); len(a.Status.Conditions) != 1 || a.Status.Conditions[0].Reason != "Local" {
		t.Errorf("the status of a local one is %v", a.Status)
	}
}

func TestEveryGroupHasAPriority(t *testing.T) {
	for _, k := range Default().All() {
		if _, ok := BuiltinPriority(k.GVK().GroupVersion()); ok == (k.Group == registrationv1.GroupName) {
			t.Errorf("%s: a priority: %v", k.APIVersion(), ok)
		}
	}
	if p, _ := BuiltinPriority(schema.GroupVersion{Group: "autoscaling", Version: "v2"}); p != (Priority{17500, 30}) {
		t.Errorf("autoscaling/v2 has the priority %v", p)
	}
}
