package kinds

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestWarnings checks what users are told of what is stored nevertheless.
func TestWarnings(t *testing.T) {
	service, ingress, secret := gvk("v1", "Service"), gvk("networking.k8s.io/v1", "Ingress"), gvk("v1", "Secret")
	for _, tt := range []struct {
		name string
		of   schema.GroupVersionKind
		text string
		want []string
	}{
		{"a plain service", service, "spec: {ports: [{port: 80}]}", nil},
		{"addresses from outside", service, "spec: {externalIPs: [192.0.2.1]}", []string{"spec.externalIPs is deprecated and may no longer be implemented in some clusters"}},
		{"a headless service", service, "spec: {clusterIP: None, externalIPs: [192.0.2.1], loadBalancerIP: 192.0.2.2, sessionAffinity: ClientIP}", []string{
			"spec.loadBalancerIP is ignored for headless services", "spec.externalIPs is ignored for headless services", "spec.SessionAffinity is ignored for headless services"}},
		{"a name", service, "spec: {type: ExternalName, externalName: a.test, externalIPs: [192.0.2.1]}", []string{`spec.externalIPs is ignored when spec.type is "ExternalName"`}},
		{"a name without effect", service, "spec: {externalName: a.test, trafficDistribution: PreferClose}", []string{
			`spec.externalName is ignored when spec.type is not "ExternalName"`, `spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"`}},
		{"an address that is read in two ways", service, "spec: {loadBalancerIP: 010.0.0.1}", []string{`spec.loadBalancerIP: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1"`}},
		{"a class as an annotation", ingress, "metadata: {annotations: {kubernetes.io/ingress.class: a}}", []string{`annotation "kubernetes.io/ingress.class" is deprecated, please use 'spec.ingressClassName' instead`}},
		{"a class in both places", ingress, "metadata: {annotations: {kubernetes.io/ingress.class: a}}\nspec: {ingressClassName: a}", nil},
		{"no certificate", secret, "{type: kubernetes.io/tls, data: {tls.crt: YQ==, tls.key: YQ==}}", []string{"tls: failed to find any PEM data in certificate input"}},
		{"a node", gvk("v1", "Node"), "spec: {externalID: a, configSource: {}, podCIDRs: [10.1.0.0/24, 'fd00:0::/64']}", []string{
			"spec.configSource: the feature is removed", "spec.externalID: this field is deprecated, and is unused by Kubernetes",
			`spec.podCIDRs[1]: IPv6 CIDR value "fd00:0::/64" should be in RFC 5952 canonical format ("fd00::/64")`}},
		{"a policy", gvk("networking.k8s.io/v1", "NetworkPolicy"), "spec: {ingress: [{from: [{}, {ipBlock: {cidr: 'FD00::/8', except: [fd00::/16]}}]}], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: ['FD00::/16']}}]}]}", []string{
			`spec.ingress[0].from[1].ipBlock.cidr: IPv6 CIDR value "FD00::/8" should be in RFC 5952 canonical format ("fd00::/8")`,
			`spec.egress[0].to[0].ipBlock.except[0]: IPv6 CIDR value "FD00::/16" should be in RFC 5952 canonical format ("fd00::/16")`}},
		{"a volume", gvk("v1", "PersistentVolume"), "metadata: {annotations: {volume.beta.kubernetes.io/storage-class: a, volume.beta.kubernetes.io/mount-options: b}}\nspec: {persistentVolumeReclaimPolicy: Recycle, cephfs: {}, storageos: {}, nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: beta.kubernetes.io/os, operator: Exists}]}]}}}", []string{
			`metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "storageClassName" attribute instead`,
			`metadata.annotations[volume.beta.kubernetes.io/mount-options]: deprecated since v1.31; use "mountOptions" attribute instead`,
			"spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
			`spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/os is deprecated since v1.14; use "kubernetes.io/os" instead`,
			"spec.cephfs: deprecated in v1.28, non-functional in v1.31+", "spec.storageOS: deprecated in v1.22, non-functional in v1.25+"}},
		{"a claim", gvk("v1", "PersistentVolumeClaim"), "metadata: {annotations: {volume.beta.kubernetes.io/storage-class: a}}\nspec: {resources: {requests: {storage: 1500m}, limits: {storage: 2}}}", []string{
			`metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "storageClassName" attribute instead`,
			`spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer`}},
		{"endpoints", gvk("v1", "Endpoints"), "subsets: [{addresses: [{ip: 010.0.0.1}], notReadyAddresses: [{ip: 192.0.2.1}, {ip: '::ffff:1.2.3.4'}]}]", []string{
			`subsets[0].addresses[0].ip: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1"`, `subsets[0].notReadyAddresses[1].ip: non-standard IP address "::ffff:1.2.3.4" is invalid: use "1.2.3.4"`}},
		{"endpoints that are names", gvk("discovery.k8s.io/v1", "EndpointSlice"), "addressType: FQDN\nendpoints: [{addresses: [a.test]}]", []string{"spec.addressType: FQDN endpoints are deprecated"}},
		{"a slice", gvk("discovery.k8s.io/v1", "EndpointSlice"), "addressType: IPv4\nendpoints: [{addresses: [010.0.0.1]}]", []string{
			`endpoints[0].addresses[0]: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1"`}},
		{"a controller's slice", gvk("discovery.k8s.io/v1", "EndpointSlice"), "metadata: {labels: {endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io}}\naddressType: IPv4\nendpoints: [{addresses: [010.0.0.1]}]", nil},
		{"revisions without end", gvk("apps/v1", "StatefulSet"), "spec: {revisionHistoryLimit: -1, template: {spec: {containers: [{name: c}]}}}", []string{
			"spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"}},
		{"another secret", secret, "{data: {tls.crt: YQ==}}", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kind, obj := readStored(t, tt.of, tt.text)
			if diff := cmp.Diff(tt.want, kind.Strategy.Warnings(t.Context(), obj)); diff != "" {
				t.Errorf("the warnings differ (-want +got):\n%s", diff)
			}
		})
	}
}
