package kinds

import discoveryv1 "k8s.io/api/discovery/v1"

// discoveryKinds are the kinds of discovery.k8s.io/v1.
func discoveryKinds() []*Kind {
	return []*Kind{
		object[discoveryv1.EndpointSlice, discoveryv1.EndpointSliceList](Kind{
			Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices", Kind: "EndpointSlice", Singular: "endpointslice",
			Namespaced: true,
			Columns:    endpointSliceColumns(),
			Strategy:   endpointSliceStrategy(),
		}),
	}
}
