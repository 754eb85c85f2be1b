package kinds

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// withVolume is a pod with one volume.
func withVolume(source string) string { return withSpec("volumes: [{name: v, " + source + "}]") }

func TestPodVolumes(t *testing.T) {
	const at = "spec.volumes[0]."
	testCreate(t, gvk("v1", "Pod"), []bad{
		{"two sources", withVolume("emptyDir: {}, hostPath: {path: /a}"), []string{"spec.volumes[0].emptyDir: Forbidden: may not specify more than 1 volume type"}},
		{"names", withSpec("volumes: [{name: ''}, {name: A}, {name: v}, {name: v}]"), []string{
			"spec.volumes[0].name: Required value", `spec.volumes[1].name: Invalid value: "A": ` + label1123, `spec.volumes[3].name: Duplicate value: "v"`}},
		{"host paths", withSpec("volumes: [{name: a, hostPath: {path: ''}}, {name: b, hostPath: {path: /a/../b, type: A}}]"), []string{
			"spec.volumes[0].hostPath.path: Required value", `spec.volumes[1].hostPath.path: Invalid value: "/a/../b": must not contain '..'`,
			`spec.volumes[1].hostPath.type: Unsupported value: "A": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"`}},
		{"a size", withVolume("emptyDir: {sizeLimit: -1}"), []string{at + "emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity"}},
		{"files", withVolume("configMap: {defaultMode: 512, items: [{key: '', path: ''}, {key: a, path: /a, mode: -1}, {key: a, path: ..a}]}"), []string{
			at + "configMap.name: Required value", at + "configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
			at + "configMap.items[0].key: Required value", at + "configMap.items[0].path: Required value",
			at + `configMap.items[1].path: Invalid value: "/a": must be a relative path`,
			at + "configMap.items[1].mode: Invalid value: -1: must be a number between 0 and 0777 (octal), both inclusive",
			at + `configMap.items[2].path: Invalid value: "..a": must not start with '..'`}},
		{"fields", withVolume("downwardAPI: {items: [{path: a}, {path: b, fieldRef: {fieldPath: spec.nodeName}}, {path: c, resourceFieldRef: {resource: limits.cpu}}]}"), []string{
			at + "downwardAPI: Required value: one of fieldRef and resourceFieldRef is required",
			at + `downwardAPI.fieldRef.fieldPath: Unsupported value: "spec.nodeName": supported values: "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"`,
			at + "downwardAPI.resourceFieldRef.containerName: Required value"}},
		{"projections", "spec: {serviceAccountName: s, containers: [{name: c, image: i}], volumes: [{name: v, projected: {sources: [{secret: {name: a, items: [{key: k, path: p}]}, configMap: {name: b, items: [{key: k, path: p}]}}, {serviceAccountToken: {path: '', expirationSeconds: 1}}, {clusterTrustBundle: {path: t}}]}}]}", []string{
			at + `projected: Invalid value: "b": conflicting duplicate paths`, at + "projected.sources[0]: Forbidden: may not specify more than 1 volume type",
			at + "projected.path: Required value", at + "projected.sources[1].serviceAccountToken.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
			at + "projected.sources[2].clusterTrustBundle: Required value: either name or signerName must be specified"}},
		{"trust bundles", withVolume("projected: {sources: [{clusterTrustBundle: {name: 'a.com:b:c', path: a}}, {clusterTrustBundle: {signerName: a.com/b, labelSelector: {}, path: b}}, {clusterTrustBundle: {name: 'a.com:b:C', signerName: a.com/b, path: c}}, {clusterTrustBundle: {name: 'a.com:b:C', labelSelector: {}, path: c}}, {clusterTrustBundle: {signerName: a, path: ''}}]}"), []string{
			at + `projected.sources[2].clusterTrustBundle: Invalid value: {"name":"a.com:b:C","signerName":"a.com/b","path":"c"}: only one of name and signerName may be used`,
			at + `projected: Invalid value: "c": conflicting duplicate paths`,
			at + `projected.sources[3].clusterTrustBundle.name: Invalid value: "a.com:b:C": not a valid clustertrustbundlename: a lowercase RFC 1123 subdomain`,
			at + "projected.sources[3].clusterTrustBundle.labelSelector: Invalid value: {}: labelSelector must be unset if name is specified",
			at + `projected.sources[4].clusterTrustBundle.signerName: Invalid value: "a": must be a fully qualified domain and path of the form 'example.com/signer-name'`,
			at + "projected.sources[4].clusterTrustBundle.path: Required value"}},
		{"certificates", withVolume("projected: {sources: [{podCertificate: {signerName: a.com/b, keyType: ED25519, credentialBundlePath: a, maxExpirationSeconds: 7862400, userAnnotations: {a.com/x: z}}}, {podCertificate: {signerName: kubernetes.io/b, keyType: RSA2048, keyPath: a, maxExpirationSeconds: 86401, userAnnotations: {x: z}}}, {podCertificate: {signerName: a.com/b, keyType: RSA3072, maxExpirationSeconds: 3599}}]}"), []string{
			at + `projected.sources[1].podCertificate.userAnnotations: Invalid value: "x": must be a domain-prefixed key (such as "acme.io/foo")`,
			at + `projected.sources[1].podCertificate.keyType: Unsupported value: "RSA2048": supported values: "RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"`,
			at + "projected.sources[1].podCertificate.maxExpirationSeconds: Invalid value: 86401: if provided, maxExpirationSeconds must be <= 86400",
			at + `projected: Invalid value: "a": conflicting duplicate paths`,
			at + "projected.sources[2].podCertificate.maxExpirationSeconds: Invalid value: 3599: if provided, maxExpirationSeconds must be >= 3600",
			at + "projected.sources[2].podCertificate: Required value: specify at least one of credentialBundlePath, keyPath, and certificateChainPath"}},
		{"a token for nobody", withVolume("projected: {sources: [{serviceAccountToken: {path: t}}]}"),
			[]string{at + "projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set"}},
		{"a claim made for it", withSpec("volumes: [{name: v, ephemeral: {volumeClaimTemplate: {metadata: {name: x}, spec: {}}}}, {name: w, persistentVolumeClaim: {claimName: p-v}}]"), []string{
			at + "ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set",
			at + "ephemeral.volumeClaimTemplate.spec.accessModes: Required value: at least 1 access mode is required",
			at + "ephemeral.volumeClaimTemplate.spec.resources[storage]: Required value",
			"spec.volumes[1].persistentVolumeClaim.claimName: Invalid value: \"p-v\": must not reference a PVC that gets created for an ephemeral volume"}},
		{"other sources", withSpec("volumes: [{name: a, nfs: {server: '', path: b}}, {name: c, csi: {driver: ''}}, {name: d, persistentVolumeClaim: {claimName: ''}}, {name: e, image: {pullPolicy: A}}, {name: f, iscsi: {targetPortal: '', iqn: a, lun: 256}}]"), []string{
			"spec.volumes[0].nfs.server: Required value", `spec.volumes[0].nfs.path: Invalid value: "b": must be an absolute path`,
			"spec.volumes[1].csi.driver: Required value",
			"spec.volumes[2].persistentVolumeClaim.claimName: Required value", "spec.volumes[3].image.reference: Required value",
			`spec.volumes[3].image.pullPolicy: Unsupported value: "A": supported values: "Always", "IfNotPresent", "Never"`,
			"spec.volumes[4].iscsi.targetPortal: Required value", `spec.volumes[4].iscsi.iqn: Invalid value: "a": must be valid format starting with iqn, eui, or naa`,
			"spec.volumes[4].iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive"}},
		{"mounts", "spec: {volumes: [{name: v}], containers: [{name: c, image: i, volumeMounts: [{name: w, mountPath: /a}, {name: v, mountPath: /b}, {name: v, mountPath: /b, subPath: /c, subPathExpr: ../d}, {name: v, mountPath: /e, mountPropagation: Bidirectional, recursiveReadOnly: Enabled}], volumeDevices: [{name: v, devicePath: /f}]}]}", []string{
			`spec.containers[0].volumeMounts[0].name: Not found: "w"`,
			`spec.containers[0].volumeMounts[1].name: Invalid value: "v": must not already exist in volumeDevices`,
			`spec.containers[0].volumeMounts[2].name: Invalid value: "v": must not already exist in volumeDevices`,
			`spec.containers[0].volumeMounts[3].name: Invalid value: "v": must not already exist in volumeDevices`,
			`spec.containers[0].volumeMounts[2].mountPath: Invalid value: "/b": must be unique`,
			`spec.containers[0].volumeMounts[2].subPathExpr: Invalid value: "../d": subPathExpr and subPath are mutually exclusive`,
			`spec.containers[0].volumeMounts.subPath: Invalid value: "/c": must be a relative path`,
			`spec.containers[0].volumeMounts.subPathExpr: Invalid value: "../d": must not contain '..'`,
			"spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
			"spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
			"spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified",
			`spec.containers[0].volumeDevices[0].name: Invalid value: "v": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode`,
			`spec.containers[0].volumeDevices[0].name: Invalid value: "v": must not already exist in volumeMounts`}},
	})
}

func TestVolumesAndClaims(t *testing.T) {
	testCreate(t, gvk("v1", "PersistentVolume"), []bad{
		{"nothing", "spec: {persistentVolumeReclaimPolicy: A, volumeMode: B, storageClassName: C}", []string{
			"spec.accessModes: Required value", "spec.capacity: Required value", `spec.capacity: Unsupported value: null: supported values: "storage"`,
			`spec.persistentVolumeReclaimPolicy: Unsupported value: "A": supported values: "Delete", "Recycle", "Retain"`,
			"spec: Required value: must specify a volume type", `spec.volumeMode: Unsupported value: "B": supported values: "Block", "Filesystem"`,
			`spec.storageClassName: Invalid value: "C": ` + subdomain1123}},
		{"modes", "spec: {accessModes: [A, ReadWriteOncePod, ReadWriteOnce], capacity: {storage: 0}, local: {path: /a}, nodeAffinity: {}}", []string{
			`spec.accessModes: Unsupported value: "A": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"`,
			"spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes", `spec.capacity[storage]: Invalid value: "0": must be greater than zero`,
			"spec.nodeAffinity.required: Required value: must specify required node constraints"}},
		{"a local one", "spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1}, local: {path: ../a}}", []string{
			`spec.local.path: Invalid value: "../a": must not contain '..'`, "spec.nodeAffinity: Required value: Local volume requires node affinity"}},
		{"the host's root", "spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1}, persistentVolumeReclaimPolicy: Recycle, hostPath: {path: /}}",
			[]string{"spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"}},
	})
	testUpdate(t, gvk("v1", "PersistentVolume"), false, []change{
		{"another place", "spec: {hostPath: {path: /a}}", "spec: {volumeMode: Block, hostPath: {path: /b}}", []string{
			"spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation", `volumeMode: Invalid value: "Block": field is immutable`}},
	})
	testCreate(t, gvk("v1", "PersistentVolumeClaim"), []bad{
		{"nothing", "spec: {}", []string{"spec.accessModes: Required value: at least 1 access mode is required", "spec.resources[storage]: Required value"}},
		{"sources", "spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: -1}}, dataSource: {kind: A, name: a}, dataSourceRef: {kind: B, name: ''}}", []string{
			`spec.resources[storage]: Invalid value: "-1": must be greater than zero`,
			`spec.dataSource: Invalid value: "A": must be 'PersistentVolumeClaim' when referencing the default apiGroup`,
			`spec.dataSourceRef: Invalid value: "B": must be 'PersistentVolumeClaim' when referencing the default apiGroup`, "spec.dataSourceRef.name: Required value",
			`spec: Invalid value: "spec.dataSource": must match dataSourceRef`}},
	})
	const bound = "status: {phase: Bound, capacity: {storage: 2Gi}}\nspec: {accessModes: [ReadWriteOnce], volumeName: v, resources: {requests: {storage: "
	const applied = "status: {currentVolumeAttributesClassName: gold, "
	const fixed = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
	testUpdate(t, gvk("v1", "PersistentVolumeClaim"), false, []change{
		{"growing", bound + "2Gi}}}", bound + "3Gi}}}", nil},
		{"shrinking", bound + "2Gi}}}", bound + "1Gi}}}", []string{"spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"}},
		{"binding", "spec: {resources: {requests: {storage: 1}}}", "spec: {volumeName: v, resources: {requests: {storage: 1}}}", nil},
		{"another class", bound + "2Gi}}}", bound + "2Gi}}, volumeAttributesClassName: gold}", nil},
		{"a class before there is a volume", "spec: {resources: {requests: {storage: 1}}}", "spec: {volumeAttributesClassName: gold, resources: {requests: {storage: 1}}}", []string{fixed}},
		{"no class any more", bound + "2Gi}}, volumeAttributesClassName: gold}", bound + "2Gi}}}", nil},
		{"no class of one that has it", applied + bound[len("status: {"):] + "2Gi}}, volumeAttributesClassName: gold}", bound + "2Gi}}}", []string{
			"spec.volumeAttributesClassName: Forbidden: update to nil is forbidden when status.currentVolumeAttributesClassName is not nil"}},
		{"an empty class of one that has it", applied + bound[len("status: {"):] + "2Gi}}, volumeAttributesClassName: gold}", bound + "2Gi}}, volumeAttributesClassName: ''}", []string{
			"spec.volumeAttributesClassName: Forbidden: update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil"}},
		{"growing unbound", "spec: {resources: {requests: {storage: 1}}}", "spec: {resources: {requests: {storage: 2}}}", []string{fixed}},
		{"other modes", bound + "2Gi}}}", "status: {phase: Bound}\nspec: {accessModes: [ReadWriteMany], volumeName: v, resources: {requests: {storage: 2Gi}}}", []string{fixed}},
	})
	testUpdate(t, gvk("v1", "PersistentVolumeClaim"), true, []change{
		{"sizes", "{}", "status: {capacity: {storage: -1}, allocatedResources: {storage: -1, cpu: 1, a.test/x: 1}, allocatedResourceStatuses: {storage: NodeResizePending, cpu: X, '-': NodeResizePending}}", []string{
			"status.capacity[storage]: Invalid value: -1: must be a valid resource quantity", "status.allocatedResources[storage]: Invalid value: -1: must be a valid resource quantity",
			`status.allocatedResources: Unsupported value: "cpu": supported values: "storage"`, `status.allocatedResourceStatuses: Unsupported value: "cpu": supported values: "storage"`,
			`status.allocatedResourceStatuses: Invalid value: "-": name part`,
			`status.allocatedResourceStatuses: Unsupported value: "cpu": supported values: "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending"`}},
	})
	testCreate(t, gvk("storage.k8s.io/v1", "StorageClass"), []bad{
		{"a term that asks for nothing", "{provisioner: a, allowedTopologies: [{}]}", []string{`allowedTopologies[0].matchLabelExpressions: Duplicate value: ""`}},
		{"words", "{reclaimPolicy: A, volumeBindingMode: B, allowedTopologies: [{matchLabelExpressions: [{key: a}, {key: a, values: [b, b]}]}]}", []string{
			"provisioner: Required value", `reclaimPolicy: Unsupported value: "A": supported values: "Delete", "Retain"`,
			`volumeBindingMode: Unsupported value: "B": supported values: "Immediate", "WaitForFirstConsumer"`,
			"allowedTopologies[0].matchLabelExpressions[0].values: Required value", `allowedTopologies[0].matchLabelExpressions[1].key: Duplicate value: "a"`,
			`allowedTopologies[0].matchLabelExpressions[1].values[1]: Duplicate value: "b"`}},
	})
	testUpdate(t, gvk("storage.k8s.io/v1", "StorageClass"), false, []change{
		{"all of it", "{provisioner: a, parameters: {a: b}}", "{provisioner: b, parameters: {a: c}, reclaimPolicy: Retain, volumeBindingMode: WaitForFirstConsumer}", []string{
			`provisioner: Invalid value: null: field is immutable`, `parameters: Invalid value: null: field is immutable`,
			`reclaimPolicy: Invalid value: null: field is immutable`, `volumeBindingMode: Invalid value: null: field is immutable`}},
	})
	testCreate(t, gvk("storage.k8s.io/v1", "CSIDriver"), []bad{
		{"words", "metadata: {name: d}\nspec: {fsGroupPolicy: A, volumeLifecycleModes: [B], tokenRequests: [{audience: a, expirationSeconds: 1}, {audience: a}]}", []string{
			`spec.fsGroupPolicy: Unsupported value: "A": supported values: "File", "None", "ReadWriteOnceWithFSType"`,
			`spec.volumeLifecycleModes: Unsupported value: "B": supported values: "Persistent", "Ephemeral"`,
			"spec.tokenRequests[0].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes", `spec.tokenRequests[1].audience: Duplicate value: "a"`}},
		{"a long name", "metadata: {name: " + strings.Repeat("a", 64) + "}", nil},
		{"seconds and tokens", "spec: {nodeAllocatableUpdatePeriodSeconds: 9, serviceAccountTokenInSecrets: true}", []string{
			"spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds",
			"spec.serviceAccountTokenInSecrets: Invalid value: true: serviceAccountTokenInSecrets is set but no tokenRequests are specified"}},
	})
	testCreate(t, gvk("storage.k8s.io/v1", "CSINode"), []bad{
		{"drivers", "spec: {drivers: [{name: a, nodeID: '', topologyKeys: ['']}, {name: a, nodeID: n}]}", []string{
			"spec.drivers[0].nodeID: Required value", "spec.drivers[0]: Required value", `spec.drivers[0]: Invalid value: "": name part must be non-empty`,
			`spec.drivers[0]: Invalid value: "": name part`, `spec.drivers[1].name: Duplicate value: "a"`}},
		{"a name", "spec: {drivers: [{name: a, nodeID: " + strings.Repeat("x", 257) + "}]}", []string{
			`spec.drivers[0].nodeID: Invalid value: "` + strings.Repeat("x", 257) + `": must be 256 characters or less`}},
	})
	testUpdate(t, gvk("storage.k8s.io/v1", "CSINode"), false, []change{
		{"another name", "spec: {drivers: [{name: a, nodeID: x}]}", "spec: {drivers: [{name: a, nodeID: z, allocatable: {count: 1}}]}", []string{
			`spec.drivers: Invalid value: {"name":"a","nodeID":"z","topologyKeys":null,"allocatable":{"count":1}}: field is immutable`}},
		{"another number", "spec: {drivers: [{name: a, nodeID: x}]}", "spec: {drivers: [{name: a, nodeID: x, allocatable: {count: 1}}, {name: b, nodeID: z}]}", nil},
	})
}

func TestVolumeAttachments(t *testing.T) {
	of := gvk("storage.k8s.io/v1", "VolumeAttachment")
	const attached = "spec: {attacher: d.example.com, nodeName: n, source: "
	testCreate(t, of, []bad{
		{"no attacher's name", "spec: {attacher: A_b, nodeName: n, source: {persistentVolumeName: v}}", []string{`spec.attacher: Invalid value: "A_b": ` + subdomain1123}},
		{"nothing", "spec: {}", []string{"spec.attacher: Required value", `spec.nodeName: Invalid value: "": ` + subdomain1123,
			"spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"}},
		{"both", attached + "{persistentVolumeName: V, inlineVolumeSpec: {}}}", []string{`spec.source.persistentVolumeName: Invalid value: "V": ` + subdomain1123,
			"spec.source: Forbidden: must specify exactly one of inlineVolumeSpec and persistentVolumeName"}},
		{"no name", attached + "{persistentVolumeName: ''}}", []string{`spec.source.persistentVolumeName: Invalid value: "": ` + subdomain1123,
			"spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName"}},
		{"a driver's own", attached + "{inlineVolumeSpec: {accessModes: [ReadWriteOnce], csi: {driver: d, volumeHandle: v}}}}", nil},
		{"a volume with a life of its own", attached + "{inlineVolumeSpec: {capacity: {storage: 1}, claimRef: {}, storageClassName: s, volumeMode: Block, persistentVolumeReclaimPolicy: Delete, nodeAffinity: {}, hostPath: {path: /a}}}}", []string{
			"spec.source.inlineVolumeSpec.accessModes: Required value", "spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes",
			"spec.source.inlineVolumeSpec.claimRef: Forbidden: may not be specified in the context of inline volumes", "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
			"spec.source.inlineVolumeSpec.nodeAffinity: Forbidden: may not be specified in the context of inline volumes",
			"spec.source.inlineVolumeSpec.persistentVolumeReclaimPolicy: Forbidden: may only be Retain in the context of inline volumes",
			"spec.source.inlineVolumeSpec.storageClassName: Forbidden: may not be specified in the context of inline volumes",
			"spec.source.inlineVolumeSpec.volumeMode: Forbidden: may not specify volumeMode other than Filesystem in the context of inline volumes"}},
	})
	testUpdate(t, of, true, []change{
		{"words", "{}", "status: {attached: false, attachError: {message: " + strings.Repeat("x", 1025) + "}, detachError: {errorCode: -1}, attachmentMetadata: {a: " + strings.Repeat("x", 1<<18) + "}}", []string{
			"status.attachError.message: Too long: may not be more than 1024 bytes", "status.attachmentMetadata: Too long: may not be more than 262144 bytes",
			"status.detachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive"}},
	})
}

// TestTokenWarnings: a driver's author is told of tokens that others can read, once.
func TestTokenWarnings(t *testing.T) {
	of := gvk("storage.k8s.io/v1", "CSIDriver")
	kind, none := readStored(t, of, "{}")
	_, asking := readStored(t, of, "spec: {tokenRequests: [{audience: a}]}")
	_, careful := readStored(t, of, "spec: {serviceAccountTokenInSecrets: true, tokenRequests: [{audience: a}]}")
	for _, tt := range []struct {
		name     string
		obj, old Object
		want     int
	}{
		{"new, without tokens", none, nil, 0}, {"new, with tokens", asking, nil, 1}, {"new, with tokens in secrets", careful, nil, 0},
		{"asking now", asking, none, 1}, {"asking as ever", asking, asking, 0}, {"asking no more", none, asking, 0},
	} {
		var said []string
		if tt.old == nil {
			said = kind.Strategy.Warnings(t.Context(), tt.obj)
		} else {
			said = kind.Strategy.UpdateWarnings(tt.obj, tt.old)
		}
		if len(said) != tt.want {
			t.Errorf("%s: %q", tt.name, said)
		}
	}
}

func TestStorageCapacities(t *testing.T) {
	of := gvk("storage.k8s.io/v1", "CSIStorageCapacity")
	testCreate(t, of, []bad{
		{"good", "{storageClassName: fast, nodeTopology: {}, capacity: 1Gi, maximumVolumeSize: 1Mi}", nil},
		{"no class", "{capacity: -1}", []string{`storageClassName: Invalid value: "": ` + subdomain1123, `capacity: Invalid value: "-1": must be greater than or equal to 0`}},
		{"topology", "{storageClassName: fast, nodeTopology: {matchLabels: {'': x}, matchExpressions: [{key: k, operator: Is}]}}", []string{
			"nodeTopology.matchLabels: Invalid value: \"\": name part must be non-empty", `nodeTopology.matchLabels: Invalid value: "": name part`,
			`nodeTopology.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator`}},
	})
	testUpdate(t, of, false, []change{
		{"capacity", "{storageClassName: fast, capacity: 1Gi}", "{storageClassName: fast, capacity: 2Gi}", nil},
		{"class and topology", "{storageClassName: fast, nodeTopology: {}}", "{storageClassName: slow}", []string{
			`storageClassName: Invalid value: "slow": field is immutable`, "nodeTopology: Invalid value: null: field is immutable"}},
	})
}

// TestOldNodeLabels: what was renamed, and used in what is about nodes.
func TestOldNodeLabels(t *testing.T) {
	for _, tt := range []struct {
		kind, text string
		want       []string
	}{
		{"CSIStorageCapacity", "{storageClassName: fast, nodeTopology: {matchLabels: {beta.kubernetes.io/os: linux, zone: a}, matchExpressions: [{key: failure-domain.beta.kubernetes.io/zone, operator: Exists}]}}", []string{
			`nodeTopology.matchExpressions[0].key: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
			`nodeTopology.matchLabels.beta.kubernetes.io/os: deprecated since v1.14; use "kubernetes.io/os" instead`}},
		{"StorageClass", "{provisioner: p, allowedTopologies: [{matchLabelExpressions: [{key: zone, values: [a]}, {key: node-role.kubernetes.io/master, values: [a]}]}]}", []string{
			`allowedTopologies[0].matchLabelExpressions[1].key: use "node-role.kubernetes.io/control-plane" instead`}},
	} {
		kind, obj := read(t, gvk("storage.k8s.io/v1", tt.kind), tt.text)
		if diff := cmp.Diff(tt.want, kind.Strategy.Warnings(t.Context(), obj)); diff != "" {
			t.Errorf("%s: %s", tt.kind, diff)
		}
	}
}
