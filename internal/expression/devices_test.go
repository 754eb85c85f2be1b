package expression

import (
	"strings"
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"
)

func testDevice() *resourcev1.Device {
	return &resourcev1.Device{
		Name: "gpu-0",
		Attributes: map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{
			"model": {StringValue: ptr.To("a100")}, "dra.example.com/index": {IntValue: ptr.To(int64(3))},
			"other.com/healthy": {BoolValue: ptr.To(true)}, "firmware": {VersionValue: ptr.To("1.10.0")},
		},
		Capacity:                 map[resourcev1.QualifiedName]resourcev1.DeviceCapacity{"memory": {Value: resource.MustParse("40Gi")}},
		AllowMultipleAllocations: ptr.To(true),
	}
}

func TestDeviceSelectors(t *testing.T) {
	device, err := NewDevice("dra.example.com", testDevice())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		source string
		match  bool
		err    string
	}{
		{`true`, true, ""},
		{`device.driver == "dra.example.com"`, true, ""},
		{`device.allowMultipleAllocations`, true, ""},
		{`device.attributes["dra.example.com"].model == "a100"`, true, ""},
		{`device.attributes["dra.example.com"].model == "h100"`, false, ""},
		{`device.attributes["dra.example.com"].index > 2`, true, ""},
		{`device.attributes["other.com"].healthy`, true, ""},
		{`device.attributes["dra.example.com"].firmware.isGreaterThan(semver("1.9.0"))`, true, ""},
		{`device.capacity["dra.example.com"].memory.compareTo(quantity("40Gi")) == 0`, true, ""},
		{`device.capacity["dra.example.com"].memory.isLessThan(quantity("40G"))`, false, ""},
		{`cel.bind(dra, device.attributes["dra.example.com"], dra.model == "a100" && dra.index == 3)`, true, ""},
		{`"model" in device.attributes["dra.example.com"]`, true, ""},
		{`"model" in device.attributes["unknown.com"]`, false, ""},
		{`has(device.attributes["unknown.com"].model)`, false, ""},
		{`device.attributes["dra.example.com"].?model.orValue("") == "a100"`, true, ""},
		{`device.attributes["dra.example.com"].absent == 1`, false, "no such key: absent"},
		{`device.attributes["dra.example.com"].model`, false, "the result is of type string, not bool"},
	} {
		t.Run(c.source, func(t *testing.T) {
			selector, err := CompileDeviceSelector(c.source)
			if err != nil {
				t.Fatal(err)
			}
			match, err := selector.Matches(t.Context(), device)
			if match != c.match || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v, %v; want %v, %q", match, err, c.match, c.err)
			}
			if selector.Cost() > resourcev1.CELSelectorExpressionMaxCost {
				t.Errorf("estimated to cost %d", selector.Cost())
			}
		})
	}
}

func TestWrongDeviceSelectors(t *testing.T) {
	for source, want := range map[string]string{
		`device.unknown`:                     "undefined field 'unknown'",
		`1 + 1`:                              "must evaluate to bool or the unknown type, not int",
		`device.driver.`:                     "Syntax error",
		`object.metadata.name == "a"`:        "undeclared reference to 'object'",
		`device.capacity["a"].memory == "1"`: "no matching overload",
	} {
		if _, err := CompileDeviceSelector(source); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", source, err, want)
		}
	}
}

// What loops over all attributes within loops over all attributes is refused by
// its estimate, before it is ever evaluated.
func TestCostsOfDeviceSelectors(t *testing.T) {
	loop := func(depth int) string {
		return strings.Repeat(`device.attributes["a.com"].all(x, `, depth) + `device.attributes["a.com"].k == "v"` + strings.Repeat(")", depth)
	}
	for depth, tooComplex := range map[int]bool{1: false, 2: false, 5: true} {
		selector, err := CompileDeviceSelector(loop(depth))
		if err != nil {
			t.Fatal(err)
		}
		if got := selector.Cost() > resourcev1.CELSelectorExpressionMaxCost; got != tooComplex {
			t.Errorf("%d loops cost up to %d", depth, selector.Cost())
		}
	}
	for _, source := range []string{
		`device.attributes["a.com"].name.matches("[a-z]+") && device.driver.startsWith("a")`,
		`isSemver(device.attributes["a.com"].name) && quantity(device.attributes["a.com"].size).isGreaterThan(quantity("1"))`,
		`url(device.attributes["a.com"].name).getHost() == "h" && device.attributes["a.com"].name.find("[0-9]+") == "1"`,
	} {
		selector, err := CompileDeviceSelector(source)
		if err != nil {
			t.Fatal(err)
		}
		if selector.Cost() > 1000 {
			t.Errorf("%s is estimated to cost %d", source, selector.Cost())
		}
	}
}

func TestDevicesWithBadVersions(t *testing.T) {
	d := &resourcev1.Device{Attributes: map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{"v": {VersionValue: ptr.To("x")}}}
	if _, err := NewDevice("a.com", d); err == nil {
		t.Error("a version that is none is shown to expressions")
	}
}
