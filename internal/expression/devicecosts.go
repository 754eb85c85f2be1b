package expression

import resourcev1 "k8s.io/api/resource/v1"

// deviceSizes are Sizes of what a device can hold at most.
func deviceSizes(path []string) (uint64, bool) {
	if len(path) < 2 || path[0] != "device" {
		return 0, false
	}
	switch part, depth := path[1], len(path)-2; {
	case part == "driver" && depth == 0:
		return resourcev1.DriverNameMaxLength, true
	case part == "allowMultipleAllocations" && depth == 0:
		return 1, true
	case part != "attributes" && part != "capacity":
		return 0, false
	case path[len(path)-1] == "@keys" && depth == 1:
		return resourcev1.DeviceMaxDomainLength, true
	case path[len(path)-1] == "@keys" && depth == 2:
		return resourcev1.DeviceMaxIDLength, true
	case depth < 2: // the domains, and what is in one
		return resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice, true
	case part == "attributes" && depth == 2:
		return resourcev1.DeviceAttributeMaxValueLength, true
	}
	return 0, false
}
