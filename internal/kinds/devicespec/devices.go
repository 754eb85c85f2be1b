package devicespec

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

// semanticVersion is the form of versions of semver.org 2.0.0.
var semanticVersion = sync.OnceValue(func() *regexp.Regexp {
	const number, pre, build = `(0|[1-9]\d*)`, `(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)`, `[0-9a-zA-Z-]+`
	return regexp.MustCompile(`^` + number + `\.` + number + `\.` + number +
		`(-` + pre + `(\.` + pre + `)*)?` + `(\+` + build + `(\.` + build + `)*)?$`)
})

func validateDevice(d *resourcev1.Device, at *field.Path) field.ErrorList {
	errs := ValidateDevice(d.Name, at.Child("name"))
	if n := len(d.Attributes) + len(d.Capacity); n > resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice {
		errs = append(errs, field.Invalid(at, n, fmt.Sprintf("the total number of attributes and capacities must not exceed %d",
			resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice)))
	}
	attributes, capacity := at.Child("attributes"), at.Child("capacity")
	shareable := d.AllowMultipleAllocations != nil && *d.AllowMultipleAllocations
	return rule.Join(errs,
		rule.EachKey(d.Attributes, attributes, func(name resourcev1.QualifiedName, a resourcev1.DeviceAttribute, at *field.Path) field.ErrorList {
			return rule.Join(qualifiedName(string(name), attributes), validateAttribute(&a, at))
		}),
		rule.EachKey(d.Capacity, capacity, func(name resourcev1.QualifiedName, c resourcev1.DeviceCapacity, at *field.Path) field.ErrorList {
			return rule.Join(qualifiedName(string(name), capacity), validateCapacity(&c, shareable, at.Child("requestPolicy")))
		}),
		list(d.Taints, resourcev1.DeviceTaintsMaxLength, at.Child("taints"), ValidateTaint),
		set(d.ConsumesCounters, resourcev1.ResourceSliceMaxDeviceCounterConsumptionsPerDevice, at.Child("consumesCounters"),
			func(c *resourcev1.DeviceCounterConsumption) string { return c.CounterSet },
			func(c *resourcev1.DeviceCounterConsumption, at *field.Path) field.ErrorList {
				return rule.Join(rule.Given(c.CounterSet, at.Child("counterSet"), validation.IsDNS1123Label),
					validateCounters(c.Counters, resourcev1.ResourceSliceMaxCountersPerDeviceCounterConsumption, at.Child("counters")))
			}),
		bindingConditions(d.BindingConditions, d.BindingFailureConditions, at),
	)
}

func validateCounters(counters map[string]resourcev1.Counter, most int, at *field.Path) field.ErrorList {
	if len(counters) == 0 {
		return field.ErrorList{field.Required(at, "")}
	}
	if errs := rule.AtMost(len(counters), most, at); len(errs) > 0 {
		return errs
	}
	return rule.EachKey(counters, at, func(name string, _ resourcev1.Counter, _ *field.Path) field.ErrorList { return label(name, at) })
}

func validateAttribute(a *resourcev1.DeviceAttribute, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if a.StringValue != nil {
		errs = append(errs, tooLong(len(*a.StringValue), resourcev1.DeviceAttributeMaxValueLength, at.Child("string"))...)
	}
	if a.VersionValue != nil {
		errs = append(errs, validateVersion(*a.VersionValue, at.Child("version"))...)
	}
	const all = "`int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`"
	switch set := rule.Members(a); len(set) {
	case 0:
		errs = append(errs, field.Invalid(at, "", "must specify one of: "+all))
	case 1:
	default:
		errs = append(errs, field.Invalid(at, "{"+strings.Join(set, ", ")+"}", "must specify exactly one of: "+all))
	}
	return errs
}

func validateVersion(version string, at *field.Path) field.ErrorList {
	errs := tooLong(len(version), resourcev1.DeviceAttributeMaxValueLength, at)
	if !semanticVersion().MatchString(version) {
		errs = append(errs, field.Invalid(at, version, "must be a string compatible with semver.org spec 2.0.0"))
	}
	return errs
}
