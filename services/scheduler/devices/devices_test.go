package devices

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/internal/expression"
)

// compiler compiles without remembering.
type compiler struct{}

func (compiler) Compile(source string) (*expression.DeviceSelector, error) {
	return expression.CompileDeviceSelector(source)
}

func slice(t *testing.T, name, spec string) *resourcev1.ResourceSlice {
	t.Helper()
	s := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourcev1.ResourceSliceSpec{
		Driver: "d.com", Pool: resourcev1.ResourcePool{Name: "n1", Generation: 1, ResourceSliceCount: 1}}}
	if err := yaml.UnmarshalStrict([]byte(spec), &s.Spec); err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	return s
}

func claimOf(t *testing.T, name, devices string) *resourcev1.ResourceClaim {
	t.Helper()
	c := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	if err := yaml.UnmarshalStrict([]byte(devices), &c.Spec.Devices); err != nil {
		t.Fatalf("%s: %v", devices, err)
	}
	for i := range c.Spec.Devices.Requests {
		if e := c.Spec.Devices.Requests[i].Exactly; e != nil && e.AllocationMode == "" && e.Count == 0 {
			e.Count = 1
		}
		for j := range c.Spec.Devices.Requests[i].FirstAvailable {
			if s := &c.Spec.Devices.Requests[i].FirstAvailable[j]; s.Count == 0 {
				s.Count = 1
			}
		}
	}
	return c
}

// classes are any, of all devices of d.com, with a configuration, and large.
func classes(name string) (*resourcev1.DeviceClass, bool) {
	specs := map[string]string{
		"any":   `{selectors: [{cel: {expression: 'device.driver == "d.com"'}}], config: [{opaque: {driver: d.com, parameters: {from: class}}}]}`,
		"large": `{selectors: [{cel: {expression: 'device.attributes["d.com"].size == "large"'}}]}`,
	}
	c := &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name}}
	return c, specs[name] != "" && yaml.UnmarshalStrict([]byte(specs[name]), &c.Spec) == nil
}

func nodeOf(name string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"zone": "a", "kubernetes.io/hostname": name}}}
}

// picked is what an allocation has, as "request=pool/device".
func picked(all []*resourcev1.AllocationResult) string {
	var out []string
	for _, a := range all {
		var one []string
		for _, r := range a.Devices.Results {
			one = append(one, r.Request+"="+r.Pool+"/"+r.Device)
		}
		out = append(out, strings.Join(one, " "))
	}
	return strings.Join(out, "; ")
}

func taken(names ...string) []*resourcev1.AllocationResult {
	a := &resourcev1.AllocationResult{}
	for _, name := range names {
		pool, device, _ := strings.Cut(name, "/")
		a.Devices.Results = append(a.Devices.Results, resourcev1.DeviceRequestAllocationResult{Request: "r", Driver: "d.com", Pool: pool, Device: device})
	}
	return []*resourcev1.AllocationResult{a}
}

// a and b are large and on one NUMA node, c is small and on the other.
const abc = "nodeName: n1, devices: [{name: a, attributes: {size: {string: large}, numa: {int: 0}, id: {string: x}}}, " +
	"{name: b, attributes: {size: {string: large}, numa: {int: 0}, id: {string: y}}}, {name: c, attributes: {size: {string: small}, numa: {int: 1}, id: {string: x}}}]"

func TestAllocate(t *testing.T) {
	const one = "requests: [{name: r, exactly: {deviceClassName: any}}]"
	request := func(more string) string {
		return "requests: [{name: r, exactly: {deviceClassName: any, " + more + "}}]"
	}
	for _, c := range []struct {
		name   string
		slices []string
		taken  []string
		claims []string
		// want is what was picked, or begins with "!" and is the error.
		want string
	}{
		{"the first", []string{abc}, nil, []string{one}, "r=n1/a"},
		{"the first that is free", []string{abc}, []string{"n1/a"}, []string{one}, "r=n1/b"},
		{"none is free", []string{abc}, []string{"n1/a", "n1/b", "n1/c"}, []string{one}, "!cannot allocate all claims"},
		{"nothing is asked for", []string{abc}, nil, []string{"requests: []"}, ""},
		{"by a selector", []string{abc}, nil, []string{request(`selectors: [{cel: {expression: 'device.attributes["d.com"].size == "small"'}}]`)}, "r=n1/c"},
		{"by a class", []string{abc}, nil, []string{"requests: [{name: r, exactly: {deviceClassName: large, count: 2}}]"}, "r=n1/a r=n1/b"},
		{"more than there are", []string{abc}, nil, []string{"requests: [{name: r, exactly: {deviceClassName: large, count: 3}}]"}, "!cannot allocate all claims"},
		{"a selector that fails", []string{abc}, nil, []string{request(`selectors: [{cel: {expression: 'device.attributes["d.com"].absent == 1'}}]`)},
			"!claim c0, request r: selector #0: CEL runtime error: no such key: absent"},
		{"two claims", []string{abc}, nil, []string{one, one}, "r=n1/a; r=n1/b"},
		{"two requests", []string{abc}, nil, []string{"requests: [{name: r, exactly: {deviceClassName: any}}, {name: s, exactly: {deviceClassName: large}}]"}, "r=n1/a s=n1/b"},
		{"a first pick in the way", []string{abc}, []string{"n1/b"}, []string{"requests: [{name: r, exactly: {deviceClassName: any}}, {name: s, exactly: {deviceClassName: large}}]"}, "r=n1/c s=n1/a"},
		{"all", []string{abc}, nil, []string{request("allocationMode: All")}, "r=n1/a r=n1/b r=n1/c"},
		{"all, one is taken", []string{abc}, []string{"n1/b"}, []string{request("allocationMode: All")}, "!cannot allocate all claims"},
		{"all of none", nil, nil, []string{request("allocationMode: All")}, "!cannot allocate all claims"},
		{"an incomplete pool", []string{"pool: {name: n1, generation: 1, resourceSliceCount: 2}, " + abc}, nil, []string{one}, "!cannot allocate all claims"},
		{"all of an incomplete pool", []string{"pool: {name: n1, generation: 1, resourceSliceCount: 2}, " + abc}, nil, []string{request("allocationMode: All")},
			"!claim c0, request r: asks for all devices, but resource pool d.com/n1 is currently being updated"},
		{"an older generation", []string{abc, "pool: {name: n1, generation: 2, resourceSliceCount: 1}, nodeName: n1, devices: [{name: new}]"}, nil, []string{one}, "r=n1/new"},
		{"a pool of two slices", []string{"pool: {name: n1, generation: 1, resourceSliceCount: 2}, " + abc, "pool: {name: n1, generation: 1, resourceSliceCount: 2}, nodeName: n1, devices: [{name: d}]"},
			[]string{"n1/a", "n1/b", "n1/c"}, []string{one}, "r=n1/d"},
		{"two devices of one name", []string{"pool: {name: n1, generation: 1, resourceSliceCount: 2}, " + abc, "pool: {name: n1, generation: 1, resourceSliceCount: 2}, nodeName: n1, devices: [{name: a}]"},
			nil, []string{one}, "!cannot allocate all claims"},
		{"another node's", []string{"nodeName: n2, devices: [{name: a}]"}, nil, []string{one}, "!cannot allocate all claims"},
		{"every node's", []string{"pool: {name: net, generation: 1, resourceSliceCount: 1}, allNodes: true, devices: [{name: a}]"}, nil, []string{one}, "r=net/a"},
		{"a zone's", []string{"pool: {name: net, generation: 1, resourceSliceCount: 1}, nodeSelector: {nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [a]}]}]}, devices: [{name: a}]"}, nil, []string{one}, "r=net/a"},
		{"another zone's", []string{"pool: {name: net, generation: 1, resourceSliceCount: 1}, nodeSelector: {nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [b]}]}]}, devices: [{name: a}]"}, nil, []string{one}, "!cannot allocate all claims"},
		{"nodes by device", []string{"pool: {name: net, generation: 1, resourceSliceCount: 1}, perDeviceNodeSelection: true, devices: [{name: a, nodeName: n2}, {name: b, nodeName: n1}]"}, nil, []string{one}, "r=net/b"},
		{"the same attribute", []string{abc}, []string{"n1/a"}, []string{request("count: 2") + "\nconstraints: [{matchAttribute: d.com/numa}]"}, "!cannot allocate all claims"},
		{"the same attribute, of later ones", []string{strings.Replace(abc, "numa: {int: 0}", "numa: {int: 2}", 1)}, nil, []string{request("count: 2") + "\nconstraints: [{matchAttribute: d.com/id}]"}, "r=n1/a r=n1/c"},
		{"an attribute that is not there", []string{abc}, nil, []string{one + "\nconstraints: [{matchAttribute: d.com/absent}]"}, "!cannot allocate all claims"},
		{"different attributes", []string{abc}, nil, []string{request("count: 2") + "\nconstraints: [{distinctAttribute: d.com/numa}]"}, "r=n1/a r=n1/c"},
		{"a constraint of others", []string{abc}, nil, []string{"requests: [{name: r, exactly: {deviceClassName: any}}, {name: s, exactly: {deviceClassName: any}}]\nconstraints: [{requests: [s], matchAttribute: d.com/numa}]"}, "r=n1/a s=n1/b"},
		{"the preferred", []string{abc}, nil, []string{"requests: [{name: r, firstAvailable: [{name: big, deviceClassName: large, count: 2}, {name: small, deviceClassName: any}]}]"}, "r/big=n1/a r/big=n1/b"},
		{"the second best", []string{abc}, []string{"n1/a"}, []string{"requests: [{name: r, firstAvailable: [{name: big, deviceClassName: large, count: 2}, {name: small, deviceClassName: any}]}]"}, "r/small=n1/b"},
		{"the second best for the other's sake", []string{abc}, nil, []string{"requests: [{name: r, firstAvailable: [{name: big, deviceClassName: large, count: 2}, {name: any, deviceClassName: any}]}, {name: s, exactly: {deviceClassName: large}}]"}, "r/any=n1/a s=n1/b"},
		{"what others use", []string{abc}, []string{"n1/a", "n1/b", "n1/c"}, []string{request("adminAccess: true, allocationMode: All")}, "r=n1/a r=n1/b r=n1/c"},
		{"a taint", []string{"nodeName: n1, devices: [{name: a, taints: [{key: k, effect: NoSchedule}]}, {name: b, taints: [{key: k, effect: None}]}]"}, nil, []string{one}, "r=n1/b"},
		{"a tolerated taint", []string{"nodeName: n1, devices: [{name: a, taints: [{key: k, effect: NoSchedule}]}]"}, nil, []string{request("tolerations: [{key: k, operator: Exists}]")}, "r=n1/a"},
		{"a rule's taint", []string{"nodeName: n1, devices: [{name: ruled}, {name: b}]"}, nil, []string{one}, "r=n1/b"},
		{"counters for one", []string{"pool: {name: n1, generation: 1, resourceSliceCount: 2}, nodeName: n1, devices: [{name: whole, consumesCounters: [{counterSet: s, counters: {m: {value: 10}}}]}, {name: half, consumesCounters: [{counterSet: s, counters: {m: {value: 5}}}]}]",
			"pool: {name: n1, generation: 1, resourceSliceCount: 2}, nodeName: n1, sharedCounters: [{name: s, counters: {m: {value: 10}}}]"}, nil, []string{request("count: 2")}, "!cannot allocate all claims"},
		{"counters that others use", []string{"pool: {name: n1, generation: 1, resourceSliceCount: 2}, nodeName: n1, devices: [{name: whole, consumesCounters: [{counterSet: s, counters: {m: {value: 10}}}]}, {name: half, consumesCounters: [{counterSet: s, counters: {m: {value: 5}}}]}, {name: other, consumesCounters: [{counterSet: s, counters: {m: {value: 5}}}]}]",
			"pool: {name: n1, generation: 1, resourceSliceCount: 2}, nodeName: n1, sharedCounters: [{name: s, counters: {m: {value: 10}}}]"}, []string{"n1/half"}, []string{one}, "r=n1/other"},
		{"shares", []string{"nodeName: n1, devices: [{name: a, allowMultipleAllocations: true, capacity: {m: {value: 10}}}]"}, nil, []string{request("count: 2, capacity: {requests: {m: 5}}")}, "r=n1/a r=n1/a"},
		{"too large shares", []string{"nodeName: n1, devices: [{name: a, allowMultipleAllocations: true, capacity: {m: {value: 10}}}]"}, nil, []string{request("count: 2, capacity: {requests: {m: 6}}")}, "!cannot allocate all claims"},
		{"a capacity", []string{"nodeName: n1, devices: [{name: a, capacity: {m: {value: 10}}}, {name: b, capacity: {m: {value: 20}}}]"}, nil, []string{request("capacity: {requests: {d.com/m: 11}}")}, "r=n1/b"},
		{"a capacity that is not there", []string{"nodeName: n1, devices: [{name: a}]"}, nil, []string{request("capacity: {requests: {m: 1}}")}, "!cannot allocate all claims"},
		{"devices that are bound late", []string{"nodeName: n1, devices: [{name: a, bindingConditions: [x], bindingFailureConditions: [y]}]"}, nil, []string{one}, "r=n1/a"},
		{"devices that are ready at once first", []string{"pool: {name: early, generation: 1, resourceSliceCount: 1}, nodeName: n1, devices: [{name: a, bindingConditions: [x], bindingFailureConditions: [y]}, {name: b}]",
			"pool: {name: late, generation: 1, resourceSliceCount: 1}, allNodes: true, devices: [{name: c}]"}, nil, []string{one, one}, "r=late/c; r=early/a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var published []*resourcev1.ResourceSlice
			for i, s := range c.slices {
				published = append(published, slice(t, fmt.Sprintf("s%d", i), "{"+s+"}"))
			}
			rule := &resourcev1.DeviceTaintRule{Spec: resourcev1.DeviceTaintRuleSpec{DeviceSelector: &resourcev1.DeviceTaintSelector{Device: new(string)},
				Taint: resourcev1.DeviceTaint{Key: "r", Effect: resourcev1.DeviceTaintEffectNoExecute}}}
			*rule.Spec.DeviceSelector.Device = "ruled"
			var claims []*resourcev1.ResourceClaim
			for i, text := range c.claims {
				claims = append(claims, claimOf(t, fmt.Sprintf("c%d", i), text))
			}
			request, err := NewRequest(claims, classes, compiler{})
			if err != nil {
				t.Fatal(err)
			}
			inventory := NewInventory(NewPools(published, []*resourcev1.DeviceTaintRule{rule}), taken(c.taken...))
			for range 2 { // the inventory stays as it is
				got, err := inventory.Allocate(t.Context(), request, nodeOf("n1"))
				said := picked(got)
				if err != nil {
					said = "!" + err.Error()
				}
				if said != c.want {
					t.Errorf("got  %s\nwant %s", said, c.want)
				}
			}
		})
	}
}

func TestWrongRequests(t *testing.T) {
	for text, want := range map[string]string{
		"requests: [{name: r, exactly: {deviceClassName: none}}]":                                              "request r: device class none does not exist",
		"requests: [{name: r, firstAvailable: [{name: s, deviceClassName: none}]}]":                            "request r/s: device class none does not exist",
		"requests: [{name: r, exactly: {deviceClassName: any, selectors: [{cel: {expression: 'device.x'}}]}}]": "claim c, request r: selector #0: CEL compile error",
	} {
		if _, err := NewRequest([]*resourcev1.ResourceClaim{claimOf(t, "c", text)}, classes, compiler{}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// What is written to a claim says where it can be used, what its devices are
// configured with, and how much of them it has.
func TestAllocations(t *testing.T) {
	published := []*resourcev1.ResourceSlice{
		slice(t, "a", "{pool: {name: net, generation: 1, resourceSliceCount: 1}, nodeSelector: {nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [a]}]}]}, devices: [{name: a, attributes: {size: {string: small}}}]}"),
		slice(t, "b", "{pool: {name: shared, generation: 1, resourceSliceCount: 1}, nodeName: n1, devices: [{name: b, allowMultipleAllocations: true, attributes: {size: {string: large}}, capacity: {m: {value: 100, requestPolicy: {default: 10, validRange: {min: 10, step: 10}}}}}]}"),
	}
	first := claimOf(t, "first", "{requests: [{name: r, exactly: {deviceClassName: any, selectors: [{cel: {expression: '!device.allowMultipleAllocations'}}]}}], "+
		"config: [{requests: [r], opaque: {driver: d.com, parameters: {from: claim}}}, {requests: [other], opaque: {driver: d.com, parameters: {from: other}}}]}")
	second := claimOf(t, "second", "{requests: [{name: r, exactly: {deviceClassName: large, capacity: {requests: {m: 15}}}}]}")
	request, err := NewRequest([]*resourcev1.ResourceClaim{first, second}, classes, compiler{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := NewInventory(NewPools(published, nil), nil).Allocate(t.Context(), request, nodeOf("n1"))
	if err != nil {
		t.Fatal(err)
	}
	if zone := got[0].NodeSelector.NodeSelectorTerms[0].MatchExpressions; len(zone) != 1 || zone[0].Key != "zone" {
		t.Errorf("the first can be used on %v", got[0].NodeSelector)
	}
	if name := got[1].NodeSelector.NodeSelectorTerms[0].MatchFields; len(name) != 1 || name[0].Values[0] != "n1" {
		t.Errorf("the second can be used on %v", got[1].NodeSelector)
	}
	var config []string
	for _, c := range got[0].Devices.Config {
		config = append(config, string(c.Source)+string(c.Opaque.Parameters.Raw))
	}
	if want := []string{`FromClass{"from":"class"}`, `FromClaim{"from":"claim"}`}; !slices.Equal(config, want) {
		t.Errorf("the configuration is %v, want %v", config, want)
	}
	r := got[1].Devices.Results[0]
	if q := r.ConsumedCapacity["m"]; r.ShareID == nil || q.String() != "20" {
		t.Errorf("the second has %v of the device", r.ConsumedCapacity)
	}
	// What is left is what the next can have.
	inventory := NewInventory(NewPools(published, nil), []*resourcev1.AllocationResult{got[1], got[1], got[1], got[1]})
	request, err = NewRequest([]*resourcev1.ResourceClaim{second}, classes, compiler{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inventory.Allocate(t.Context(), request, nodeOf("n1")); err != nil {
		t.Errorf("of 100 are left 20: %v", err)
	}
	inventory = NewInventory(NewPools(published, nil), []*resourcev1.AllocationResult{got[1], got[1], got[1], got[1], got[1]})
	if _, err := inventory.Allocate(t.Context(), request, nodeOf("n1")); !errors.Is(err, ErrNone) {
		t.Errorf("of 100 nothing is left: %v", err)
	}
}

// Devices that are bound to the node, and by conditions.
func TestAllocationsThatBind(t *testing.T) {
	published := slice(t, "s", "{pool: {name: net, generation: 1, resourceSliceCount: 1}, allNodes: true, devices: [{name: a, bindsToNode: true, bindingConditions: [attached], bindingFailureConditions: [broken]}]}")
	request := mustRequest(t, "{requests: [{name: r, exactly: {deviceClassName: any}}]}")
	got, err := NewInventory(NewPools([]*resourcev1.ResourceSlice{published}, nil), nil).Allocate(t.Context(), request, nodeOf("n1"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(OnlyOn("n1"), got[0].NodeSelector); diff != "" {
		t.Error(diff)
	}
	r := got[0].Devices.Results[0]
	if !slices.Equal(r.BindingConditions, []string{"attached"}) || !slices.Equal(r.BindingFailureConditions, []string{"broken"}) {
		t.Errorf("%+v", r)
	}
}

// A search that takes too long ends with its context.
func TestSearchEnds(t *testing.T) {
	var devices []string
	for i := range 30 {
		devices = append(devices, fmt.Sprintf("{name: d%d, attributes: {x: {int: %d}, y: {int: %d}}}", i, i%15, i/15))
	}
	s := slice(t, "s", "{nodeName: n1, devices: ["+strings.Join(devices, ", ")+"]}")
	claim := claimOf(t, "c", "{requests: [{name: r, exactly: {deviceClassName: any, count: 16}}], constraints: [{distinctAttribute: d.com/x}]}")
	request, err := NewRequest([]*resourcev1.ResourceClaim{claim}, classes, compiler{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	inventory := NewInventory(NewPools([]*resourcev1.ResourceSlice{s}, nil), nil)
	if _, err := inventory.Allocate(ctx, mustRequest(t, "{requests: [{name: r, exactly: {deviceClassName: any}}]}"), nodeOf("n1")); err != nil {
		t.Fatal(err) // expressions are evaluated
	}
	cancel()
	if _, err := inventory.Allocate(ctx, request, nodeOf("n1")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func mustRequest(t *testing.T, devices string) *Request {
	t.Helper()
	r, err := NewRequest([]*resourcev1.ResourceClaim{claimOf(t, "c", devices)}, classes, compiler{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}
