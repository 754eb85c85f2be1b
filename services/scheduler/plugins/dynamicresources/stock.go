package dynamicresources

import (
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"

	"navarch.dev/navarch/services/scheduler/devices"
)

// Stock counts the devices that stand for some of the resources, as they are given
// away now; nil if none do.
func Stock(cluster Cluster, ledger *Ledger, names []corev1.ResourceName) *devices.Stock {
	standing := map[corev1.ResourceName]*resourcev1.DeviceClass{}
	for _, name := range names {
		if class := cluster.Resources()[name]; class != nil {
			standing[name] = class
		}
	}
	if len(standing) == 0 {
		return nil
	}
	return devices.NewStock(devices.NewInventory(cluster.Pools(), ledger.allocations(cluster)), standing, ledger)
}
