package kinds

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
)

func TestServiceCIDRs(t *testing.T) {
	of := gvk("networking.k8s.io/v1", "ServiceCIDR")
	testCreate(t, of, []bad{
		{"one range", "spec: {cidrs: [10.0.0.0/24]}", nil},
		{"one of each version", "spec: {cidrs: ['2001:db8::/64', 10.0.0.0/24]}", nil},
		{"none", "spec: {}", []string{"spec.cidrs: Required value: at least one CIDR required"}},
		{"three", "spec: {cidrs: [10.0.0.0/24, 10.1.0.0/24, 'fd00::/64']}",
			[]string{`spec.cidrs: Invalid value: ["10.0.0.0/24","10.1.0.0/24","fd00::/64"]: may only hold up to 2 values`}},
		{"two of one version", "spec: {cidrs: [10.0.0.0/24, 10.1.0.0/24]}", []string{
			`spec.cidrs: Invalid value: ["10.0.0.0/24","10.1.0.0/24"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64`}},
		{"no ranges", "spec: {cidrs: [10.0.0.1/24, a]}", []string{
			`spec.cidrs[0]: Invalid value: "10.0.0.1/24": must not have bits set beyond the prefix length`,
			`spec.cidrs[1]: Invalid value: "a": must be a valid CIDR value,`}},
	})
	testUpdate(t, of, false, []change{
		{"a second version joins", "spec: {cidrs: [10.0.0.0/24]}", "spec: {cidrs: [10.0.0.0/24, 'fd00::/64']}", nil},
		{"another of its version joins", "spec: {cidrs: [10.0.0.0/24]}", "spec: {cidrs: [10.0.0.0/24, 10.1.0.0/24]}", []string{
			`spec.cidrs: Invalid value: ["10.0.0.0/24","10.1.0.0/24"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64`}},
		{"another range", "spec: {cidrs: [10.0.0.0/24]}", "spec: {cidrs: [10.0.0.0/25]}",
			[]string{`spec.cidrs[0]: Invalid value: "10.0.0.0/25": field is immutable`}},
		{"it joins first", "spec: {cidrs: [10.0.0.0/24]}", "spec: {cidrs: ['fd00::/64', 10.0.0.0/24]}",
			[]string{`spec.cidrs[0]: Invalid value: "fd00::/64": field is immutable`}},
		{"one leaves", "spec: {cidrs: [10.0.0.0/24, 'fd00::/64']}", "spec: {cidrs: [10.0.0.0/24]}",
			[]string{`spec.cidrs: Invalid value: ["10.0.0.0/24"]: field is immutable`}},
	})
}

func TestIPAddresses(t *testing.T) {
	of := gvk("networking.k8s.io/v1", "IPAddress")
	testCreate(t, of, []bad{
		{"a Service's", "spec: {parentRef: {resource: services, namespace: a, name: b}}", nil},
		{"nobody's", "spec: {}", []string{"spec.parentRef: Required value"}},
		{"an empty reference", "spec: {parentRef: {group: a_b}}", []string{
			`spec.parentRef.group: Invalid value: "a_b": ` + subdomain1123,
			"spec.parentRef.resource: Required value", "spec.parentRef.name: Required value"}},
		{"paths", "spec: {parentRef: {resource: a/b, namespace: c/d, name: ..}}", []string{
			`spec.parentRef.resource: Invalid value: "a/b": may not contain '/'`,
			`spec.parentRef.namespace: Invalid value: "c/d": may not contain '/'`,
			`spec.parentRef.name: Invalid value: "..": may not be '..'`}},
	})
	testUpdate(t, of, false, []change{
		{"another parent", "spec: {parentRef: {resource: services, name: a}}", "spec: {parentRef: {resource: services, name: b}}",
			[]string{`spec.parentRef: Invalid value: null: field is immutable`}},
	})
	for name, sound := range map[string]bool{"10.0.0.1": true, "fd00::1": true, "10.0.0.01": false, "FD00::1": false, "::ffff:10.0.0.1": false, "a": false} {
		if messages := isIPName(name, false); (len(messages) == 0) != sound {
			t.Errorf("%s: %q", name, messages)
		}
	}
}

func TestParentColumn(t *testing.T) {
	tests := []struct {
		ref  *networkingv1.ParentReference
		want string
	}{
		{nil, "<none>"},
		{&networkingv1.ParentReference{Resource: "services", Namespace: "a", Name: "b"}, "services/a/b"},
		{&networkingv1.ParentReference{Group: "Example.com", Resource: "gateways", Name: "b"}, "gateways.example.com/b"},
	}
	for _, test := range tests {
		a := &networkingv1.IPAddress{Spec: networkingv1.IPAddressSpec{ParentRef: test.ref}}
		if got := ipAddressColumns()[1].Value(a); got != test.want {
			t.Errorf("%+v: %v", test.ref, got)
		}
	}
}
