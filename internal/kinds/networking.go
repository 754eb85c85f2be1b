package kinds

import networkingv1 "k8s.io/api/networking/v1"

// networkingKinds are the kinds of networking.k8s.io/v1.
func networkingKinds() []*Kind {
	return []*Kind{
		object[networkingv1.Ingress, networkingv1.IngressList](Kind{
			Group: "networking.k8s.io", Version: "v1", Resource: "ingresses", Kind: "Ingress", Singular: "ingress",
			ShortNames:   []string{"ing"},
			Namespaced:   true,
			Subresources: []string{"status"},
			Columns:      ingressColumns(),
			Strategy:     ingressStrategy(),
		}),
		object[networkingv1.IngressClass, networkingv1.IngressClassList](Kind{
			Group: "networking.k8s.io", Version: "v1", Resource: "ingressclasses", Kind: "IngressClass", Singular: "ingressclass",
			Columns:  ingressClassColumns(),
			Strategy: ingressClassStrategy(),
		}),
		object[networkingv1.NetworkPolicy, networkingv1.NetworkPolicyList](Kind{
			Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies", Kind: "NetworkPolicy", Singular: "networkpolicy",
			ShortNames: []string{"netpol"},
			Namespaced: true,
			Columns:    networkPolicyColumns(),
			NamedOnce:  true,
			Strategy:   networkPolicyStrategy(),
		}),
		object[networkingv1.IPAddress, networkingv1.IPAddressList](Kind{
			Group: "networking.k8s.io", Version: "v1", Resource: "ipaddresses", Kind: "IPAddress", Singular: "ipaddress",
			ShortNames: []string{"ip"},
			NameRule:   isIPName,
			Columns:    ipAddressColumns(),
			Strategy:   ipAddressStrategy(),
		}),
		object[networkingv1.ServiceCIDR, networkingv1.ServiceCIDRList](Kind{
			Group: "networking.k8s.io", Version: "v1", Resource: "servicecidrs", Kind: "ServiceCIDR", Singular: "servicecidr",
			Subresources: []string{"status"},
			Columns:      serviceCIDRColumns(),
			NamedOnce:    true,
			Strategy:     serviceCIDRStrategy(),
		}),
	}
}
