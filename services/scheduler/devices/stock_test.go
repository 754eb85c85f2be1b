package devices

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// TestStock: n1 has three devices, of which c is small, and shares net with all
// others; one of its devices and a share of net are given away.
func TestStock(t *testing.T) {
	pools := NewPools([]*resourcev1.ResourceSlice{
		slice(t, "s0", `{nodeName: n1, devices: [{name: a, attributes: {size: {string: large}}}, {name: b, attributes: {size: {string: large}}}, {name: c, attributes: {size: {string: small}}}]}`),
		slice(t, "s1", `{pool: {name: n2, generation: 1, resourceSliceCount: 1}, nodeName: n2, devices: [{name: a, attributes: {size: {string: large}}}]}`),
		slice(t, "s2", `{pool: {name: net, generation: 1, resourceSliceCount: 1}, allNodes: true, devices: [{name: x, allowMultipleAllocations: true, attributes: {size: {string: none}}}]}`),
	}, nil)
	share := &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{
		{Driver: "d.com", Pool: "net", Device: "x", ShareID: ptr.To[types.UID]("1")},
	}}}
	standing := map[corev1.ResourceName]*resourcev1.DeviceClass{}
	for _, name := range []string{"any", "large", "wrong", "failing"} {
		class, ok := classes(name)
		if !ok {
			class = &resourcev1.DeviceClass{Spec: resourcev1.DeviceClassSpec{Selectors: []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{
				Expression: map[string]string{"wrong": "no expression", "failing": `device.attributes["d.com"].absent == 1`}[name],
			}}}}}
		}
		standing[corev1.ResourceName("example.com/"+name)] = class
	}
	stock := NewStock(NewInventory(pools, append(taken("n1/a"), share)), standing, compiler{})
	for _, tt := range []struct {
		node, name string
		all, taken int64
	}{
		{"n1", "any", 4, 2}, {"n1", "large", 2, 1}, {"n2", "any", 2, 1}, {"n2", "large", 1, 0}, {"n3", "large", 0, 0},
		{"n1", "wrong", 0, 0}, {"n1", "failing", 0, 0}, {"n1", "unknown", 0, 0},
	} {
		all, used := stock.On(t.Context(), nodeOf(tt.node), corev1.ResourceName("example.com/"+tt.name))
		if all != tt.all || used != tt.taken {
			t.Errorf("%s on %s: %d, of which %d are given away; want %d and %d", tt.name, tt.node, all, used, tt.all, tt.taken)
		}
	}
	if all, _ := (*Stock)(nil).On(t.Context(), nodeOf("n1"), "example.com/any"); all != 0 {
		t.Errorf("no stock has %d", all)
	}
}
