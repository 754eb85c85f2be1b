package kinds

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// TestPrepare: what becomes of an object that is made or changed, beside defaults.
func TestPrepare(t *testing.T) {
	claim, lease, driver, node := gvk("v1", "PersistentVolumeClaim"), gvk("coordination.k8s.io/v1", "Lease"), gvk("storage.k8s.io/v1", "CSIDriver"), gvk("storage.k8s.io/v1", "CSINode")
	slice := gvk("discovery.k8s.io/v1", "EndpointSlice")
	const own, snapshot, other = "{kind: PersistentVolumeClaim, name: a}", "{apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: a}", "{apiGroup: x.example.com, kind: X, name: a}"
	service := gvk("v1", "Service")
	const addresses = "clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ipFamilies: [IPv4], ipFamilyPolicy: PreferDualStack"
	const serviceDefaults = ", type: ClusterIP, sessionAffinity: None, internalTrafficPolicy: Cluster"
	const mode = "volumeMode: Filesystem, resources: {}, "
	for _, tt := range []struct {
		name      string
		of        schema.GroupVersionKind
		old, text string // old is empty for a new object
		want      string
	}{
		{"a volume's phase", gvk("v1", "PersistentVolume"), "", "metadata: {creationTimestamp: '2026-01-02T03:04:05Z'}\nstatus: {phase: Bound}",
			"metadata: {creationTimestamp: '2026-01-02T03:04:05Z'}\nspec: {persistentVolumeReclaimPolicy: Retain, volumeMode: Filesystem}\nstatus: {phase: Pending, lastPhaseTransitionTime: '2026-01-02T03:04:05Z'}"},
		{"a claim's source by its older name", claim, "", "spec: {dataSource: " + own + "}", "spec: {" + mode + "dataSource: " + own + ", dataSourceRef: " + own + "}\nstatus: {phase: Pending}"},
		{"a claim's source by its newer name", claim, "", "spec: {dataSourceRef: " + other + "}", "spec: {" + mode + "dataSource: " + other + ", dataSourceRef: " + other + "}\nstatus: {phase: Pending}"},
		{"a snapshot", claim, "", "spec: {dataSource: " + snapshot + "}", "spec: {" + mode + "dataSource: " + snapshot + ", dataSourceRef: " + snapshot + "}\nstatus: {phase: Pending}"},
		{"what the older name cannot say", claim, "", "spec: {dataSource: " + other + "}", "spec: {" + mode + "}\nstatus: {phase: Pending}"},
		{"what the newer name has said", claim, "spec: {dataSourceRef: " + other + "}", "spec: {dataSource: " + other + "}", "spec: {" + mode + "dataSource: " + other + ", dataSourceRef: " + other + "}\nstatus: {phase: Pending}"},
		{"a source elsewhere", claim, "", "spec: {dataSourceRef: {kind: PersistentVolumeClaim, name: a, namespace: b}}", "spec: {" + mode + "}\nstatus: {phase: Pending}"},
		{"an election", lease, "", "spec: {holderIdentity: a, strategy: OldestEmulationVersion, preferredHolder: b}", "spec: {holderIdentity: a}"},
		{"an election that goes on", lease, "spec: {strategy: a.b/c}", "spec: {strategy: a.b/d, preferredHolder: b}", "spec: {strategy: a.b/d}"},
		{"a driver", driver, "", "metadata: {generation: 1}", "spec: {attachRequired: true, podInfoOnMount: false, storageCapacity: false, fsGroupPolicy: ReadWriteOnceWithFSType, requiresRepublish: false, seLinuxMount: false, preventPodSchedulingIfMissing: false, volumeLifecycleModes: [Persistent]}"},
		{"storage's health", node, "", "spec: {drivers: [{name: a, nodeID: b, topologyKeys: []}]}\nstatus: {storageHealth: [{name: a}]}", "spec: {drivers: [{name: a, nodeID: b, topologyKeys: null}]}"},
		{"the topology of an endpoint", slice, "", "endpoints: [{addresses: [a], deprecatedTopology: {kubernetes.io/hostname: n}}]\nports: []", "endpoints: [{addresses: [a], conditions: {}}]"},
		{"the node of an older endpoint", slice, "endpoints: [{addresses: [a], deprecatedTopology: {kubernetes.io/hostname: n}}]",
			"endpoints: [{addresses: [b], deprecatedTopology: {kubernetes.io/hostname: n}}]", "endpoints: [{addresses: [b], conditions: {}, nodeName: n}]"},
		{"older endpoints as they were", slice, "endpoints: [{addresses: [a], deprecatedTopology: {x: y}}]", "endpoints: [{addresses: [a], deprecatedTopology: {x: y}}]",
			"endpoints: [{addresses: [a], conditions: {}, deprecatedTopology: {x: y}}]"},
		{"a role without rules", gvk("rbac.authorization.k8s.io/v1", "Role"), "", "rules: []", "rules: null"},
		{"no drivers", node, "", "spec: {drivers: []}", "spec: {drivers: null}"},
		{"a node's configuration", gvk("v1", "Node"), "", "spec: {configSource: {}, unschedulable: true}\nstatus: {config: {}}", "spec: {unschedulable: true}"},
		{"a node's configuration later on", gvk("v1", "Node"), "spec: {}", "spec: {configSource: {}}", "{}"},
		{"a service that says nothing of its addresses", service, "spec: {" + addresses + "}", "spec: {}", "spec: {" + addresses + serviceDefaults + "}\nstatus: {loadBalancer: {}}"},
		{"a service by its first address", service, "spec: {" + addresses + "}", "spec: {clusterIP: 10.0.0.1}", "spec: {" + addresses + serviceDefaults + "}\nstatus: {loadBalancer: {}}"},
		{"a service by its addresses", service, "spec: {" + addresses + "}", "spec: {clusterIPs: [10.0.0.1]}", "spec: {" + addresses + serviceDefaults + "}\nstatus: {loadBalancer: {}}"},
		{"a service that asks for another address", service, "spec: {" + addresses + "}", "spec: {clusterIP: 10.0.0.2, clusterIPs: [10.0.0.1]}",
			"spec: {clusterIP: 10.0.0.2, clusterIPs: [10.0.0.2], ipFamilies: [IPv4], ipFamilyPolicy: PreferDualStack" + serviceDefaults + "}\nstatus: {loadBalancer: {}}"},
		{"a service that gets its first address", service, "spec: {type: ExternalName, externalName: a.b}", "spec: {clusterIP: 10.0.0.1}",
			"spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ipFamilies: [IPv4], ipFamilyPolicy: SingleStack" + serviceDefaults + "}\nstatus: {loadBalancer: {}}"},
		{"a service of a single version from now on", service, "spec: {clusterIP: None, clusterIPs: [None], ipFamilies: [IPv4, IPv6], ipFamilyPolicy: RequireDualStack}",
			"spec: {clusterIP: None, ipFamilyPolicy: SingleStack}",
			"spec: {clusterIP: None, clusterIPs: [None], ipFamilies: [IPv4], ipFamilyPolicy: SingleStack" + serviceDefaults + "}\nstatus: {loadBalancer: {}}"},
		{"a headless service of no pods", service, "", "spec: {clusterIP: None}",
			"spec: {clusterIP: None, clusterIPs: [None], ipFamilies: [IPv4, IPv6], ipFamilyPolicy: RequireDualStack" + serviceDefaults + "}\nstatus: {loadBalancer: {}}"},
		{"a headless service of pods", service, "", "spec: {clusterIP: None, selector: {a: b}}",
			"spec: {clusterIP: None, clusterIPs: [None], ipFamilies: [IPv4], ipFamilyPolicy: SingleStack, selector: {a: b}" + serviceDefaults + "}\nstatus: {loadBalancer: {}}"},
		{"a service that becomes a name", service, "spec: {" + addresses + "}", "spec: {type: ExternalName, externalName: a.b, " + addresses + "}",
			"spec: {type: ExternalName, externalName: a.b, sessionAffinity: None}\nstatus: {loadBalancer: {}}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kind, obj := parse(t, tt.of, tt.text)
			if tt.old == "" {
				run1(kind.Strategy.PrepareForCreate, obj)
				kind.DropDisabled(obj, nil)
			} else {
				_, old := parse(t, tt.of, tt.old)
				kind.Strategy.PrepareForUpdate(obj, old)
				kind.DropDisabled(obj, old)
			}
			run1(kind.Strategy.Default, obj)
			run1(kind.Strategy.Canonicalize, obj)
			want := kind.New()
			if err := yaml.UnmarshalStrict([]byte(tt.want), want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, obj); diff != "" {
				t.Errorf("the objects differ (-want +got):\n%s", diff)
			}
		})
	}
}
