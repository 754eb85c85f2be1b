package schedtest

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/expression"
	"navarch.dev/navarch/services/scheduler/devices"
)

// Stock returns that of a node which has devices of a class that stands for a
// resource, some of them given away. No other node has any.
func Stock(node string, resource corev1.ResourceName, all, taken int) *devices.Stock {
	slice := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: node}, Spec: resourcev1.ResourceSliceSpec{
		Driver: "d.com", NodeName: &node, Pool: resourcev1.ResourcePool{Name: node, Generation: 1, ResourceSliceCount: 1},
	}}
	given := &resourcev1.AllocationResult{}
	for n := range all {
		device := fmt.Sprint("d", n)
		slice.Spec.Devices = append(slice.Spec.Devices, resourcev1.Device{Name: device})
		if n < taken {
			given.Devices.Results = append(given.Devices.Results, resourcev1.DeviceRequestAllocationResult{Driver: "d.com", Pool: node, Device: device})
		}
	}
	inventory := devices.NewInventory(devices.NewPools([]*resourcev1.ResourceSlice{slice}, nil), []*resourcev1.AllocationResult{given})
	return devices.NewStock(inventory, map[corev1.ResourceName]*resourcev1.DeviceClass{resource: {}}, compiler{})
}

// compiler compiles without remembering.
type compiler struct{}

// Compile implements devices.Selectors.
func (compiler) Compile(source string) (*expression.DeviceSelector, error) {
	return expression.CompileDeviceSelector(source)
}
