package kinds

import nodev1 "k8s.io/api/node/v1"

// nodeKinds are the kinds of node.k8s.io/v1.
func nodeKinds() []*Kind {
	return []*Kind{
		object[nodev1.RuntimeClass, nodev1.RuntimeClassList](Kind{
			Group: "node.k8s.io", Version: "v1", Resource: "runtimeclasses", Kind: "RuntimeClass", Singular: "runtimeclass",
			Columns:        runtimeClassColumns(),
			CreateOnUpdate: true,
			Strategy:       runtimeClassStrategy(),
		}),
	}
}
