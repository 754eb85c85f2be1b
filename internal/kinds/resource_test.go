package kinds

import (
	"fmt"
	"strings"
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
)

// claimOf is a claim with one request.
func claimOf(request string) string { return "spec: {devices: {requests: [" + request + "]}}" }

func exactly(more string) string {
	return claimOf("{name: r, exactly: {deviceClassName: c" + more + "}}")
}

func TestResourceClaims(t *testing.T) {
	const requests = "spec.devices.requests"
	const reference = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
	cases := []bad{
		{"nothing", "spec: {}", nil},
		{"one device", exactly(""), nil},
		{"everything", "spec: {devices: {requests: [{name: a, exactly: {deviceClassName: c, allocationMode: All, adminAccess: true, " +
			"selectors: [{cel: {expression: 'device.driver == \"d.com\"'}}], tolerations: [{key: k, operator: Exists, effect: NoExecute}]}}, " +
			"{name: b, firstAvailable: [{name: x, deviceClassName: c, count: 2, capacity: {requests: {memory: 1Gi}}}, {name: y, deviceClassName: d}]}], " +
			"constraints: [{requests: [a, b/x], matchAttribute: d.com/numa}, {distinctAttribute: d.com/id}], " +
			"config: [{requests: [b], opaque: {driver: d.com, parameters: {a: 1}}}]}}", nil},
		{"no kind of request", claimOf("{name: r}"), []string{requests + "[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"}},
		{"both kinds of request", claimOf("{name: r, exactly: {deviceClassName: c}, firstAvailable: [{name: s, deviceClassName: c}]}"),
			[]string{requests + "[0]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"}},
		{"names", claimOf("{name: A, exactly: {deviceClassName: C}}, {name: a, exactly: {deviceClassName: ''}}, {name: a, exactly: {deviceClassName: c}}"), []string{
			requests + `[0].name: Invalid value: "A": ` + label1123, requests + `[0].exactly.deviceClassName: Invalid value: "C": ` + subdomain1123,
			requests + "[1].exactly.deviceClassName: Required value", requests + `[2]: Duplicate value: "a"`}},
		{"counts", claimOf("{name: a, exactly: {deviceClassName: c, allocationMode: All, count: 1}}, {name: b, exactly: {deviceClassName: c, count: -1}}, {name: d, exactly: {deviceClassName: c, allocationMode: Some}}"), []string{
			requests + "[0].exactly.count: Invalid value: 1: must not be specified when allocationMode is 'All'",
			requests + "[1].exactly.count: Invalid value: -1: must be greater than zero",
			requests + `[2].exactly.allocationMode: Unsupported value: "Some": supported values: "All", "ExactCount"`}},
		{"selectors", exactly(", selectors: [{}, {cel: {expression: 'device.x'}}, {cel: {expression: '1'}}]"), []string{
			requests + "[0].exactly.selectors[0].cel: Required value",
			requests + `[0].exactly.selectors[1].cel.expression: Invalid value: "device.x": compilation failed: ERROR: <input>:1:7: undefined field 'x'`,
			requests + `[0].exactly.selectors[2].cel.expression: Invalid value: "1": must evaluate to bool or the unknown type, not int`}},
		{"a costly selector", exactly(", selectors: [{cel: {expression: '" + nested(5) + "'}}]"),
			[]string{requests + "[0].exactly.selectors[0].cel.expression: Forbidden: too complex, exceeds cost limit"}},
		{"a long selector", exactly(", selectors: [{cel: {expression: '" + strings.Repeat("x", resourcev1.CELSelectorExpressionMaxLength+1) + "'}}]"),
			[]string{requests + "[0].exactly.selectors[0].cel.expression: Too long: may not be more than 10240 bytes"}},
		{"tolerations", exactly(", tolerations: [{operator: Exists, value: v}, {operator: Near, effect: PreferNoSchedule}, {key: '-', value: '-'}]"), []string{
			requests + "[0].exactly.tolerations[0].value: Invalid value: \"v\": must be empty for operator `Exists`",
			requests + `[0].exactly.tolerations[1].operator: Unsupported value: "Near": supported values: "Equal", "Exists"`,
			requests + `[0].exactly.tolerations[1].effect: Unsupported value: "PreferNoSchedule": supported values: "NoExecute", "NoSchedule", "None"`,
			requests + `[0].exactly.tolerations[2].key: Invalid value: "-": name part`,
			requests + `[0].exactly.tolerations[2].value: Invalid value: "-": a valid label`}},
		{"subrequests", claimOf("{name: r, firstAvailable: [{name: s}, {name: s, deviceClassName: c}]}"), []string{
			requests + "[0].firstAvailable[0].deviceClassName: Required value", requests + `[0].firstAvailable[1]: Duplicate value: "s"`}},
		{"too many", claimOf(strings.Repeat("{name: A},", 33)), []string{requests + ": Too many: 33: must have at most 32 items"}},
		{"constraints", strings.TrimSuffix(exactly(""), "}}") + ", constraints: [{}, {requests: [r, r, q, r/s, a/b/c], matchAttribute: a}, {distinctAttribute: 'D.com/1'}]}}", []string{
			`spec.devices.constraints[0]: Required value: exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`,
			`spec.devices.constraints[1].requests[1]: Duplicate value: "r"`, `spec.devices.constraints[1].requests[2]: Invalid value: "q": ` + reference,
			`spec.devices.constraints[1].requests[3]: Invalid value: "r/s": ` + reference, `spec.devices.constraints[1].requests[4]: Invalid value: "a/b/c": ` + reference,
			`spec.devices.constraints[1].matchAttribute: Invalid value: "a": a fully qualified name must be a domain and a name separated by a slash`,
			`spec.devices.constraints[2].distinctAttribute: Invalid value: "1": a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'`}},
		{"configuration", strings.TrimSuffix(exactly(""), "}}") + ", config: [{}, {requests: [q], opaque: {driver: '', parameters: [1]}}, {opaque: {driver: d}}]}}", []string{
			"spec.devices.config[0].opaque: Required value", `spec.devices.config[1].requests[0]: Invalid value: "q": ` + reference,
			"spec.devices.config[1].opaque.driver: Required value", `spec.devices.config[1].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object`,
			"spec.devices.config[2].opaque.parameters: Required value"}},
	}
	testCreate(t, gvk("resource.k8s.io/v1", "ResourceClaim"), cases)
	testCreate(t, gvk("resource.k8s.io/v1", "ResourceClaimTemplate"), []bad{
		{"a claim", "spec: {metadata: {labels: {a: b}}, " + exactly("") + "}", nil},
		{"a name", "spec: {metadata: {name: x, labels: {'-': b}}, spec: {devices: {requests: [{name: r}]}}}", []string{
			"spec.metadata.name: Forbidden: cannot be set", `spec.metadata.labels: Invalid value: "-": name part`,
			"spec.spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"}},
	})
	testUpdate(t, gvk("resource.k8s.io/v1", "ResourceClaim"), false, []change{
		{"labels", exactly(""), "metadata: {labels: {a: b}}\n" + exactly(""), nil},
		{"the spec", exactly(""), exactly(", count: 2"), []string{immutableSpec}},
	})
}

// immutableSpec is what is said of another spec.
const immutableSpec = "spec: Invalid value: null: field is immutable"

// nested is an expression of loops in loops.
func nested(depth int) string {
	return strings.Repeat(`device.attributes["a"].all(x, `, depth) + "true" + strings.Repeat(")", depth)
}

func TestResourceClaimStatus(t *testing.T) {
	status := func(s string) string { return exactly("") + "\nstatus: " + s }
	const pod = "{resource: pods, name: p, uid: u}"
	const result = "{request: r, driver: d.com, pool: p, device: a}"
	allocation := func(results string) string { return "allocation: {devices: {results: [" + results + "]}}" }
	const results = "status.allocation.devices.results"
	testUpdate(t, gvk("resource.k8s.io/v1", "ResourceClaim"), true, []change{
		{"allocated and reserved", exactly(""), status("{" + allocation(result) + ", reservedFor: [" + pod + "]}"), nil},
		{"reserved only", exactly(""), status("{reservedFor: [" + pod + "]}"), []string{"status.reservedFor: Forbidden: may not be specified when `allocated` is not set"}},
		{"another allocation", status("{" + allocation(result) + "}"), status("{" + allocation(result+", "+strings.Replace(result, "a}", "b}", 1)) + "}"),
			[]string{"status.allocation: Invalid value: null: field cannot be modified once set"}},
		{"deallocated", status("{" + allocation(result) + "}"), status("{}"), nil},
		{"consumers", exactly(""), status("{" + allocation(result) + ", reservedFor: [{}, " + pod + ", " + pod + "]}"), []string{
			"status.reservedFor[0].resource: Required value", "status.reservedFor[0].name: Required value", "status.reservedFor[0].uid: Required value",
			`status.reservedFor[2]: Duplicate value: "u"`}},
		{"results", exactly(""), status("{" + allocation("{request: q, driver: '', pool: 'a//b', device: A, shareID: x}") + "}"), []string{
			results + `[0].request: Invalid value: "q": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'`,
			results + "[0].driver: Required value", results + `[0].pool: Invalid value: "": ` + subdomain1123,
			results + `[0].device: Invalid value: "A": ` + label1123, results + `[0].shareID: Invalid value: "x": error validating uid: invalid UUID length: 1`}},
		{"binding conditions", exactly(""), status("{" + allocation("{request: r, driver: d, pool: p, device: a, bindingConditions: [a, b, a], bindingFailureConditions: [b]}") + "}"), []string{
			results + `[0].bindingConditions[2]: Duplicate value: "a"`,
			results + `[0].bindingFailureConditions[0]: Invalid value: "b": bindingFailureConditions must not overlap with bindingConditions`}},
		{"devices", status("{" + allocation(result) + "}"), status("{" + allocation(result) + ", devices: [{driver: d.com, pool: p, device: a, data: {a: 1}, networkData: {ips: [10.0.0.1/24]}}]}"), nil},
		{"a device of others", status("{" + allocation(result) + "}"), status("{" + allocation(result) + ", devices: [{driver: d.com, pool: p, device: b, data: [1], networkData: {ips: [10.0.0.1]}}]}"), []string{
			`status.devices[0]: Invalid value: "d.com/p/b": must be an allocated device in the claim`,
			`status.devices[0].data: Invalid value: "<value omitted>": must be a valid JSON object`,
			`status.devices[0].networkData.ips[0]: Invalid value: "10.0.0.1": must be a valid address in CIDR form,`}},
		{"a deleted claim", "metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}\n" + status("{"+allocation(result)+"}"),
			"metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}\n" + status("{"+allocation(result)+", reservedFor: ["+pod+"]}"),
			[]string{"status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"}},
	})
}

// What drivers say of devices goes with the devices.
func TestDeallocationForgetsDevices(t *testing.T) {
	const before = "{allocation: {devices: {results: [{request: r, driver: d.com, pool: p, device: a}]}}, devices: [{driver: d.com, pool: p, device: a, conditions: []}]}"
	kind, old := readStored(t, gvk("resource.k8s.io/v1", "ResourceClaim"), exactly("")+"\nstatus: "+before)
	now := old.DeepCopyObject().(*resourcev1.ResourceClaim)
	now.Status.Allocation = nil
	kind.Strategy.PrepareForStatusUpdate(now, old)
	if now.Status.Devices != nil {
		t.Errorf("the status still tells of %v", now.Status.Devices)
	}
}

const attributeForms = "`int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`"

func TestResourceSlices(t *testing.T) {
	slice := func(more string) string {
		return "spec: {driver: d.com, pool: {name: p, generation: 1, resourceSliceCount: 1}, nodeName: n" + more + "}"
	}
	device := func(more string) string { return slice(", devices: [{name: a" + more + "}]") }
	const at = "spec.devices[0]"
	many := func(n int, more string) string {
		var out []string
		for i := range n {
			out = append(out, fmt.Sprintf("{name: d%d%s}", i, more))
		}
		return slice(", devices: [" + strings.Join(out, ", ") + "]")
	}
	const ways = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	policy := func(p string) string {
		return device(", allowMultipleAllocations: true, capacity: {memory: {value: 10, requestPolicy: " + p + "}}")
	}
	const where = at + ".capacity[memory].requestPolicy"
	testCreate(t, gvk("resource.k8s.io/v1", "ResourceSlice"), []bad{
		{"a device", device(", attributes: {model: {string: m}, v.com/i: {int: 0}, ok: {bool: false}, v: {version: 1.2.3-a+b}}, capacity: {memory: {value: 1Gi}}"), nil},
		{"counters", slice(", sharedCounters: [{name: c, counters: {x: {value: 1}}}]"), nil},
		{"nothing", "spec: {driver: '', pool: {name: '', generation: -1}}", []string{
			"spec.driver: Required value", "spec.pool.name: Required value", "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
			"spec.pool.generation: Invalid value: -1: must be greater than or equal to zero", "spec: Required value: " + ways}},
		{"nodes", strings.Replace(slice(", allNodes: false, nodeSelector: {nodeSelectorTerms: [{}, {}]}, perDeviceNodeSelection: true"), "nodeName: n", "nodeName: ''", 1), []string{
			`spec.nodeName: Invalid value: "": must be either unset or set to a non-empty string`, "spec.allNodes: Invalid value: false: must be either unset or set to true",
			"spec.nodeSelector.nodeSelectorTerms: Invalid value: [{},{}]: must have exactly one node selector term",
			"spec: Invalid value: \"{`nodeSelector`, `perDeviceNodeSelection`}\": " + ways + ", but multiple fields are set"}},
		{"devices and counters", slice(", devices: [{name: a}], sharedCounters: [{name: c}]"), []string{
			"spec: Invalid value: \"\": only one of `sharedCounters` or `devices` is allowed", "spec.sharedCounters[0].counters: Required value"}},
		{"names", device("}, {name: a}, {name: A, attributes: {'1': {int: 1}, 'a/': {int: 1}, '/b': {int: 1}, a/b/c: {int: 1}}"), []string{
			`spec.devices[1]: Duplicate value: "a"`, `spec.devices[2].name: Invalid value: "A": ` + label1123,
			`spec.devices[2].attributes: Invalid value: "1": ` + cIdentifier, `spec.devices[2].attributes: Invalid value: "": the name must not be empty`,
			`spec.devices[2].attributes: Invalid value: "": the domain must not be empty`, `spec.devices[2].attributes: Invalid value: "b/c": ` + cIdentifier}},
		{"attributes", device(", attributes: {a: {}, b: {int: 1, bool: true}, v: {version: v1}, s: {string: " + strings.Repeat("x", 65) + "}}"), []string{
			at + `.attributes[a]: Invalid value: "": must specify one of: ` + attributeForms, at + `.attributes[b]: Invalid value: "{int, bool}": must specify exactly one of: ` + attributeForms,
			at + `.attributes[v].version: Invalid value: "v1": must be a string compatible with semver.org spec 2.0.0`, at + ".attributes[s].string: Too long: may not be more than 64 bytes"}},
		{"lists are not there yet", device(", attributes: {a: {ints: [1]}}"), []string{at + `.attributes[a]: Invalid value: "": must specify one of: ` + attributeForms}},
		{"many devices", many(128, ""), nil},
		{"too many", many(129, ""), []string{"spec.devices: Too many: 129: must have at most 128 items"}},
		{"too many with taints", many(65, ", taints: [{key: k, effect: None}]"), []string{"spec.devices: Too many: 65: must have at most 64 items"}},
		{"taints", device(", taints: [{key: '', effect: ''}, {key: k, value: '-', effect: Now}]"), []string{
			at + `.taints[0].key: Invalid value: "": name part must be non-empty`, at + `.taints[0].key: Invalid value: "": name part`, at + ".taints[0].effect: Required value",
			at + `.taints[1].value: Invalid value: "-": a valid label`, at + `.taints[1].effect: Unsupported value: "Now": supported values: "NoExecute", "NoSchedule", "None"`}},
		{"consumption", device(", consumesCounters: [{counterSet: ''}, {counterSet: c, counters: {X: {value: 1}}}]"), []string{
			at + ".consumesCounters[0].counterSet: Required value", at + ".consumesCounters[0].counters: Required value",
			at + `.consumesCounters[1].counters: Invalid value: "X": ` + label1123}},
		{"a device's nodes", device(", nodeName: n"), []string{
			at + ": Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"}},
		{"each device's nodes", strings.Replace(device(", nodeName: m}, {name: b"), "nodeName: n", "perDeviceNodeSelection: true", 1), []string{
			"spec.devices[1]: Required value: exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"}},
		{"a policy of what is not shared", device(", capacity: {memory: {value: 1, requestPolicy: {default: 1}}}"), []string{where + ": Forbidden: allowMultipleAllocations must be true"}},
		{"steps", policy("{default: 4, validRange: {min: 2, max: 10, step: 2}}"), nil},
		{"fractions", policy("{default: 500m, validRange: {min: 100m, step: 100m}}"), nil},
		{"amounts", policy("{default: 2, validValues: [1, 2, 10]}"), nil},
		{"bad steps", policy("{default: 3, validRange: {min: 2, max: 12, step: 2}}"), []string{
			where + `.validRange.max: Invalid value: "12": max is larger than capacity value: 10`,
			where + `.validRange.step: Invalid value: "3": value is not a multiple of a given step (2) from (2)`}},
		{"no steps", policy("{default: 3, validRange: {min: 2, step: 0}}"), []string{where + `.validRange.step: Invalid value: "0": must be greater than zero`}},
		{"too fine", policy("{default: 1, validRange: {min: 100u}}"), []string{where + `.validRange.min: Invalid value: "100u": value cannot be represented as a milli value`}},
		{"too large", policy("{default: 0, validRange: {min: 0, step: 10E}}"), []string{
			where + `.validRange.step: Invalid value: "10E": one step 10E is larger than capacity value: 10`,
			where + `.validRange.step: Invalid value: "10E": must not be larger than 9223372036854775807`}},
		{"bad amounts", policy("{default: 3, validValues: [2, 1, 1, 11]}"), []string{
			where + `.validValues[1]: Invalid value: "1": values must be sorted in ascending order`, where + `.validValues[2]: Duplicate value: "1"`,
			where + `.validValues[3]: Invalid value: "11": option is larger than capacity value: 10`,
			where + `.validValues: Invalid value: "3": default value is not valid according to the requestPolicy`}},
		{"two policies", policy("{default: 1, validValues: [1], validRange: {min: 1}}"), []string{
			where + `: Forbidden: exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`}},
		{"no default", policy("{validRange: {min: 1}}"), []string{where + ".default: Required value: required when validRange is defined"}},
	})
	testUpdate(t, gvk("resource.k8s.io/v1", "ResourceSlice"), false, []change{
		{"another generation", slice(""), strings.Replace(slice(""), "generation: 1", "generation: 2", 1), nil},
		{"what names it", slice(""), "spec: {driver: e.com, pool: {name: q, generation: 1, resourceSliceCount: 1}, nodeName: m}", []string{
			`spec.pool.name: Invalid value: "q": field is immutable`, `spec.driver: Invalid value: "e.com": field is immutable`, `spec.nodeName: Invalid value: "m": field is immutable`}},
	})
}

const cIdentifier = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'"

func TestDeviceClassesAndTaintRules(t *testing.T) {
	testCreate(t, gvk("resource.k8s.io/v1", "DeviceClass"), []bad{
		{"sound", "spec: {selectors: [{cel: {expression: 'true'}}], config: [{opaque: {driver: d, parameters: {}}}], extendedResourceName: example.com/gpu}", nil},
		{"unsound", "spec: {selectors: [{}], config: [{}], extendedResourceName: cpu}", []string{
			"spec.selectors[0].cel: Required value", "spec.config[0].opaque: Required value",
			`spec.extendedResourceName: Invalid value: "cpu": a name must be a domain-prefixed path, such as 'example.com/my-prop'`}},
	})
	testCreate(t, gvk("resource.k8s.io/v1", "DeviceTaintRule"), []bad{
		{"sound", "spec: {deviceSelector: {driver: d.com, pool: a/b, device: x}, taint: {key: a.com/k, value: v, effect: NoExecute}}", nil},
		{"unsound", "spec: {deviceSelector: {driver: '', pool: '', device: X}, taint: {key: k}}", []string{
			"spec.deviceSelector.driver: Required value", "spec.deviceSelector.pool: Required value", `spec.deviceSelector.device: Invalid value: "X": ` + label1123,
			"spec.taint.effect: Required value"}},
	})
}

// The time of a taint is when its effect began.
func TestTaintTimes(t *testing.T) {
	rule := func(effect string) string {
		return "spec: {taint: {key: k, effect: " + effect + ", timeAdded: '2026-01-01T00:00:00Z'}}"
	}
	for effect, moves := range map[string]bool{"NoSchedule": false, "NoExecute": true} {
		kind, old := readStored(t, gvk("resource.k8s.io/v1", "DeviceTaintRule"), rule("NoSchedule"))
		_, now := readStored(t, gvk("resource.k8s.io/v1", "DeviceTaintRule"), rule(effect))
		kind.Strategy.PrepareForUpdate(now, old)
		was, is := old.(*resourcev1.DeviceTaintRule).Spec.Taint.TimeAdded, now.(*resourcev1.DeviceTaintRule).Spec.Taint.TimeAdded
		if is.Equal(was) == moves {
			t.Errorf("with the effect %s the time is %v", effect, is)
		}
	}
}

func TestClaimColumns(t *testing.T) {
	for status, want := range map[string]string{
		"{}":               "pending",
		"{allocation: {}}": "allocated",
		"{allocation: {}, reservedFor: [{resource: pods, name: p, uid: u}]}": "allocated,reserved",
	} {
		_, obj := readStored(t, gvk("resource.k8s.io/v1", "ResourceClaim"), exactly("")+"\nstatus: "+status)
		if got := claimState(obj.(*resourcev1.ResourceClaim)); got != want {
			t.Errorf("the state is %q, want %q", got, want)
		}
	}
}
