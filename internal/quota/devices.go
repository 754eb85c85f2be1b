package quota

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// isOfDevices says whether a resource counts the devices of a class.
func isOfDevices(name corev1.ResourceName) bool {
	return strings.HasSuffix(string(name), corev1.ResourceClaimsPerClass)
}

// addDevices counts what a claim can be given at most of each class: of
// alternatives the one that has the most, of all devices as many as an
// allocation can hold.
func addDevices(used corev1.ResourceList, c *resourcev1.ResourceClaim) {
	for i := range c.Spec.Devices.Requests {
		request := &c.Spec.Devices.Requests[i]
		most := map[string]int64{}
		for _, sub := range request.FirstAvailable {
			most[sub.DeviceClassName] = max(most[sub.DeviceClassName], mostDevices(sub.AllocationMode, sub.Count))
		}
		if e := request.Exactly; e != nil {
			most[e.DeviceClassName] = mostDevices(e.AllocationMode, e.Count)
		}
		for class, n := range most {
			Add(used, corev1.ResourceList{corev1.ResourceName(class + corev1.ResourceClaimsPerClass): *resource.NewQuantity(n, resource.DecimalSI)})
		}
	}
}

func mostDevices(mode resourcev1.DeviceAllocationMode, count int64) int64 {
	switch mode {
	case resourcev1.DeviceAllocationModeExactCount:
		return count
	case resourcev1.DeviceAllocationModeAll:
		return resourcev1.AllocationResultsMaxSize
	}
	return 0
}
