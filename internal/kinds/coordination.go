package kinds

import coordinationv1 "k8s.io/api/coordination/v1"

// coordinationKinds are the kinds of coordination.k8s.io/v1.
func coordinationKinds() []*Kind {
	return []*Kind{
		object[coordinationv1.Lease, coordinationv1.LeaseList](Kind{
			Group: "coordination.k8s.io", Version: "v1", Resource: "leases", Kind: "Lease", Singular: "lease",
			Namespaced:     true,
			Columns:        leaseColumns(),
			CreateOnUpdate: true,
			NamedOnce:      true,
			Strategy:       leaseStrategy(),
		}),
	}
}
