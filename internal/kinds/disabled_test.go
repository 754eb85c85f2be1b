package kinds

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// TestDisabledFields: what is dropped of what is written.
func TestDisabledFields(t *testing.T) {
	pod, job := gvk("v1", "Pod"), gvk("batch/v1", "Job")
	slice, claim := gvk("resource.k8s.io/v1", "ResourceSlice"), gvk("resource.k8s.io/v1", "ResourceClaim")
	for _, tt := range []struct {
		name            string
		of              schema.GroupVersionKind
		old, text, want string // old is empty for a new object
	}{
		{"a group of pods", pod, "", "spec: {nodeName: n, schedulingGroup: {podGroupName: g}}", "spec: {nodeName: n}"},
		{"a group of pods that is used", pod, "spec: {schedulingGroup: {podGroupName: g}}", "spec: {schedulingGroup: {podGroupName: h}}", "spec: {schedulingGroup: {podGroupName: h}}"},
		{"who answers evictions", pod, "", "spec: {evictionResponders: [{name: a}]}", "spec: {}"},
		{"the mode of an empty directory", pod, "", "spec: {volumes: [{name: v, emptyDir: {medium: Memory, mode: 448}}]}", "spec: {volumes: [{name: v, emptyDir: {medium: Memory}}]}"},
		{"options of mounts", pod, "", "spec: {containers: [{name: c, volumeMounts: [{name: v, mountPath: /v, bindMountOptions: [noexec]}]}], ephemeralContainers: [{name: d, volumeMounts: [{name: v, bindMountOptions: [noexec]}]}]}",
			"spec: {containers: [{name: c, volumeMounts: [{name: v, mountPath: /v}]}], ephemeralContainers: [{name: d, volumeMounts: [{name: v}]}]}"},
		{"how probes speak", pod, "", "spec: {initContainers: [{name: c, livenessProbe: {grpc: {port: 1, mode: TLS}}, readinessProbe: {httpGet: {port: 2, protocol: H2C}}, lifecycle: {preStop: {httpGet: {port: 3, protocol: H2C}}}}]}",
			"spec: {initContainers: [{name: c, livenessProbe: {grpc: {port: 1}}, readinessProbe: {httpGet: {port: 2}}, lifecycle: {preStop: {httpGet: {port: 3}}}}]}"},
		{"owners of files", pod, "", "spec: {volumes: [{name: a, secret: {defaultUser: 1, items: [{key: k, path: p, user: 2}]}}, {name: b, projected: {defaultUser: 3, sources: [{serviceAccountToken: {path: t, user: 4}}, {downwardAPI: {items: [{path: d, user: 5}]}}]}}]}",
			"spec: {volumes: [{name: a, secret: {items: [{key: k, path: p}]}}, {name: b, projected: {sources: [{serviceAccountToken: {path: t}}, {downwardAPI: {items: [{path: d}]}}]}}]}"},
		{"owners of files in a pod that has some", pod, "spec: {volumes: [{name: a, configMap: {defaultUser: 1}}]}", "spec: {volumes: [{name: a, secret: {defaultUser: 1}}]}", "spec: {volumes: [{name: a, secret: {defaultUser: 1}}]}"},
		{"stop signals are heeded", pod, "", "spec: {containers: [{name: c, lifecycle: {stopSignal: SIGUSR1}}]}", "spec: {containers: [{name: c, lifecycle: {stopSignal: SIGUSR1}}]}"},
		{"what a pod's status says of volumes", pod, "", "status: {phase: Running, volumeHealth: [{name: v}], containerStatuses: [{name: c, volumeMounts: [{name: v, mountPath: /v, volumeStatus: {image: {imageRef: i}}}]}]}",
			"status: {phase: Running, containerStatuses: [{name: c, volumeMounts: [{name: v, mountPath: /v}]}]}"},
		{"a template", gvk("v1", "PodTemplate"), "", "template: {spec: {schedulingGroup: {podGroupName: g}}}", "template: {spec: {}}"},
		{"a controller's template", gvk("v1", "ReplicationController"), "", "spec: {template: {spec: {schedulingGroup: {podGroupName: g}}}}", "spec: {template: {spec: {}}}"},
		{"a Deployment", gvk("apps/v1", "Deployment"), "spec: {replicas: 1}", "spec: {template: {spec: {schedulingGroup: {podGroupName: g}}}}", "spec: {template: {spec: {}}}"},
		{"a Job", job, "", "spec: {completions: 1, scheduling: {schedulingPolicy: {basic: {}}}, template: {spec: {schedulingGroup: {podGroupName: g}}}}", "spec: {completions: 1}"},
		{"a Job that is scheduled so", job, "spec: {scheduling: {schedulingPolicy: {basic: {}}}}", "spec: {scheduling: {schedulingPolicy: {gang: {minCount: 1}}}}", "spec: {scheduling: {schedulingPolicy: {gang: {minCount: 1}}}}"},
		{"a CronJob", gvk("batch/v1", "CronJob"), "", "spec: {jobTemplate: {spec: {scheduling: {schedulingPolicy: {basic: {}}}}}}", "spec: {jobTemplate: {spec: {}}}"},
		{"a node", gvk("v1", "Node"), "spec: {}", "spec: {podPreemptionPolicy: {disableResizePreemption: [a]}, configSource: {}}\nstatus: {config: {}}", "{}"},
		{"a node's configuration alone is used", gvk("v1", "Node"), "spec: {configSource: {}}", "spec: {configSource: {}}\nstatus: {config: {}}", "spec: {configSource: {}}"},
		{"a claim's health", gvk("v1", "PersistentVolumeClaim"), "spec: {}", "status: {phase: Bound, healthStatus: {}}", "status: {phase: Bound}"},
		{"attributes that are lists", slice, "", "spec: {devices: [{name: d, attributes: {a: {int: 1}, b: {ints: [1]}, c: {strings: [x], versions: [y], bools: [true]}}}]}", "spec: {devices: [{name: d, attributes: {a: {int: 1}, b: {}, c: {}}}]}"},
		{"groups of devices", slice, "", "spec: {partitionTypeAttribute: a, skipNodeOperations: [b], devices: [{name: d, nodeAllocatableResources: {cpu: {}}, consumesCounters: [{counterSet: c, compatibilityGroups: [g]}]}]}",
			"spec: {devices: [{name: d, consumesCounters: [{counterSet: c}]}]}"},
		{"derived attributes", claim, "", "spec: {devices: {requests: [{name: a, exactly: {derivedAttributes: [{name: x}]}}, {name: b, firstAvailable: [{name: c, derivedAttributes: [{name: x}]}]}]}}",
			"spec: {devices: {requests: [{name: a, exactly: {}}, {name: b, firstAvailable: [{name: c}]}]}}"},
		{"derived attributes of a template", gvk("resource.k8s.io/v1", "ResourceClaimTemplate"), "", "spec: {spec: {devices: {requests: [{name: a, exactly: {derivedAttributes: [{name: x}]}}]}}}",
			"spec: {spec: {devices: {requests: [{name: a, exactly: {}}]}}}"},
		{"operations that are not for nodes", claim, "spec: {}", "status: {allocation: {devices: {results: [{device: d, skipNodeOperations: [a]}]}}}", "status: {allocation: {devices: {results: [{device: d}]}}}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kind, obj := parse(t, tt.of, tt.text)
			if tt.old == "" {
				kind.DropDisabled(obj, nil)
			} else {
				_, old := parse(t, tt.of, tt.old)
				kind.DropDisabled(obj, old)
			}
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
