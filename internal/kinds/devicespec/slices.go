package devicespec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
	"navarch.dev/navarch/internal/kinds/rule"
)

// DefaultSlice notes when the taints of devices were added.
func DefaultSlice(s *resourcev1.ResourceSliceSpec) {
	for i := range s.Devices {
		for j := range s.Devices[i].Taints {
			DefaultTaint(&s.Devices[i].Taints[j])
		}
	}
}

// ValidateSlice returns what is wrong with what a driver publishes.
func ValidateSlice(s *resourcev1.ResourceSliceSpec, at *field.Path) field.ErrorList {
	errs := rule.Join(
		ValidateDriver(s.Driver, at.Child("driver")),
		validatePool(&s.Pool, at.Child("pool")),
		validateSliceNodes(s, at),
	)
	if s.SharedCounters != nil && s.Devices != nil {
		errs = append(errs, field.Invalid(at, "", "only one of `sharedCounters` or `devices` is allowed"))
	}
	perDevice := s.PerDeviceNodeSelection != nil && *s.PerDeviceNodeSelection
	return rule.Join(errs,
		set(s.Devices, mostDevices(s), at.Child("devices"), func(d *resourcev1.Device) string { return d.Name },
			func(d *resourcev1.Device, at *field.Path) field.ErrorList {
				return rule.Join(validateDevice(d, at), validateDeviceNodes(d, perDevice, at))
			}),
		set(s.SharedCounters, resourcev1.ResourceSliceMaxCounterSets, at.Child("sharedCounters"),
			func(c *resourcev1.CounterSet) string { return c.Name },
			func(c *resourcev1.CounterSet, at *field.Path) field.ErrorList {
				return rule.Join(rule.Given(c.Name, at.Child("name"), validation.IsDNS1123Label),
					validateCounters(c.Counters, resourcev1.ResourceSliceMaxCountersPerCounterSet, at.Child("counters")))
			}))
}

// ValidateSliceUpdate returns what a change of a slice may not change.
func ValidateSliceUpdate(s, old *resourcev1.ResourceSliceSpec, at *field.Path) field.ErrorList {
	return rule.Join(
		rule.Immutable(s.Pool.Name, old.Pool.Name, at.Child("pool", "name")),
		rule.Immutable(s.Driver, old.Driver, at.Child("driver")),
		rule.Immutable(s.NodeName, old.NodeName, at.Child("nodeName")))
}

// mostDevices: slices whose devices say much of themselves hold fewer.
func mostDevices(s *resourcev1.ResourceSliceSpec) int {
	for i := range s.Devices {
		if len(s.Devices[i].Taints) > 0 || len(s.Devices[i].ConsumesCounters) > 0 {
			return resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
		}
	}
	return resourcev1.ResourceSliceMaxDevices
}

func validatePool(p *resourcev1.ResourcePool, at *field.Path) field.ErrorList {
	errs := ValidatePool(p.Name, at.Child("name"))
	if p.ResourceSliceCount <= 0 {
		errs = append(errs, field.Invalid(at.Child("resourceSliceCount"), p.ResourceSliceCount, "must be greater than zero"))
	}
	if p.Generation < 0 {
		errs = append(errs, field.Invalid(at.Child("generation"), p.Generation, "must be greater than or equal to zero"))
	}
	return errs
}

// validateSliceNodes: it is said in exactly one way which nodes have the devices.
func validateSliceNodes(s *resourcev1.ResourceSliceSpec, at *field.Path) field.ErrorList {
	const demand = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	ways := reach{nodeName: s.NodeName, selector: s.NodeSelector, allNodes: s.AllNodes, perDevice: s.PerDeviceNodeSelection}
	errs, said := ways.validate(at, "must be either unset or set to a non-empty string")
	if s.NodeSelector != nil && len(s.NodeSelector.NodeSelectorTerms) != 1 {
		errs = append(errs, field.Invalid(at.Child("nodeSelector", "nodeSelectorTerms"), s.NodeSelector.NodeSelectorTerms, "must have exactly one node selector term"))
	}
	return append(errs, exactlyOne(said, at, demand, demand+", but multiple fields are set")...)
}

// validateDeviceNodes is validateSliceNodes for a device, which says it itself
// where its slice leaves it to the devices.
func validateDeviceNodes(d *resourcev1.Device, perDevice bool, at *field.Path) field.ErrorList {
	if !perDevice {
		if d.NodeName == nil && d.NodeSelector == nil && d.AllNodes == nil {
			return nil
		}
		return field.ErrorList{field.Invalid(at, nil,
			"`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec")}
	}
	const demand = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
	errs, said := reach{nodeName: d.NodeName, selector: d.NodeSelector, allNodes: d.AllNodes}.validate(at, "must not be empty")
	return append(errs, exactlyOne(said, at, demand, demand)...)
}

// reach are the ways in which nodes are chosen.
type reach struct {
	nodeName            *string
	selector            *corev1.NodeSelector
	allNodes, perDevice *bool
}

// validate also returns the ways that are used, as they are shown to users.
func (r reach) validate(at *field.Path, empty string) (errs field.ErrorList, said []string) {
	if r.nodeName != nil {
		if *r.nodeName == "" {
			errs = append(errs, field.Invalid(at.Child("nodeName"), *r.nodeName, empty))
		} else {
			said = append(said, "`nodeName`")
			errs = append(errs, rule.Form(*r.nodeName, at.Child("nodeName"), validation.IsDNS1123Subdomain)...)
		}
	}
	if r.selector != nil {
		said = append(said, "`nodeSelector`")
		errs = append(errs, podspec.ValidateNodeSelector(r.selector, at.Child("nodeSelector"))...)
	}
	for _, flag := range []struct {
		name  string
		value *bool
	}{{"allNodes", r.allNodes}, {"perDeviceNodeSelection", r.perDevice}} {
		switch {
		case flag.value == nil:
		case *flag.value:
			said = append(said, "`"+flag.name+"`")
		default:
			errs = append(errs, field.Invalid(at.Child(flag.name), false, "must be either unset or set to true"))
		}
	}
	return errs, said
}

func exactlyOne(said []string, at *field.Path, none, several string) field.ErrorList {
	switch len(said) {
	case 0:
		return field.ErrorList{field.Required(at, none)}
	case 1:
		return nil
	}
	return field.ErrorList{field.Invalid(at, fmt.Sprintf("{%s}", strings.Join(said, ", ")), several)}
}
