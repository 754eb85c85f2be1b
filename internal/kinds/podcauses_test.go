package kinds

import "testing"

// inPod is a pod with one container that has more fields.
func inContainer(fields string) string {
	return "metadata: {name: p}\nspec: {containers: [{name: c, image: i, " + fields + "}]}"
}

// withSpec is a pod with more fields in its spec.
func withSpec(fields string) string {
	return "metadata: {name: p}\nspec: {containers: [{name: c, image: i}], " + fields + "}"
}

const (
	label1123     = "a lowercase RFC 1123 label"
	subdomain1123 = "a lowercase RFC 1123 subdomain"
)

func TestPodContainers(t *testing.T) {
	testCreate(t, gvk("v1", "Pod"), []bad{
		{"sound", "spec: {containers: [{name: c, image: i}]}", nil},
		{"no containers", "spec: {}", []string{"spec.containers: Required value"}},
		{"nothing in it", "spec: {containers: [{}]}", []string{"spec.containers[0].name: Required value", "spec.containers[0].image: Required value"}},
		{"a bad name", "spec: {containers: [{name: A_, image: i}]}", []string{`spec.containers[0].name: Invalid value: "A_": ` + label1123}},
		{"a name twice", "spec: {containers: [{name: c, image: i}, {name: c, image: i}], initContainers: [{name: c, image: i}]}",
			[]string{`spec.containers[1].name: Duplicate value: "c"`, `spec.initContainers[0].name: Duplicate value: "c"`}},
		{"a padded image", "spec: {containers: [{name: c, image: ' i'}]}",
			[]string{`spec.containers[0].image: Invalid value: " i": must not have leading or trailing whitespace`}},
		{"policies", inContainer("imagePullPolicy: Wrong, terminationMessagePolicy: Wrong, restartPolicy: Wrong"), []string{
			`spec.containers[0].imagePullPolicy: Unsupported value: "Wrong": supported values: "Always", "IfNotPresent", "Never"`,
			`spec.containers[0].terminationMessagePolicy: Unsupported value: "Wrong": supported values: "File", "FallbackToLogsOnError"`,
			`spec.containers[0].restartPolicy: Unsupported value: "Wrong": supported values: "Always", "Never", "OnFailure"`}},
		{"restart rules", inContainer("restartPolicyRules: [{action: Stop, exitCodes: {operator: Is}}, {action: Restart}]"), []string{
			`spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used`,
			`spec.containers[0].restartPolicyRules[0].action: Unsupported value: "Stop": supported values: "Restart", "RestartAllContainers"`,
			`spec.containers[0].restartPolicyRules[0].exitCodes.operator: Unsupported value: "Is": supported values: "In", "NotIn"`,
			`spec.containers[0].restartPolicyRules[0].exitCodes.values: Required value: at least one value is required`,
			`spec.containers[0].restartPolicyRules[1].exitCodes: Required value: must be specified`}},
		{"ports", inContainer("ports: [{name: A, containerPort: 0}, {name: a, containerPort: 70000, hostPort: -1, protocol: X}, {name: a, containerPort: 1}]"), []string{
			`spec.containers[0].ports[0].name: Invalid value: "A": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)`,
			`spec.containers[0].ports[0].name: Invalid value: "A": must contain at least one letter (a-z)`,
			`spec.containers[0].ports[0].containerPort: Required value`,
			`spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive`,
			`spec.containers[0].ports[1].hostPort: Invalid value: -1: must be between 1 and 65535, inclusive`,
			`spec.containers[0].ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"`,
			`spec.containers[0].ports[2].name: Duplicate value: "a"`}},
		{"host ports", inContainer("ports: [{containerPort: 80, hostPort: 80}, {containerPort: 81, hostPort: 80}]"),
			[]string{`spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//80"`}},
		{"host ports one after the other", "spec: {initContainers: [{name: a, image: i, ports: [{containerPort: 1, hostPort: 1}]}], containers: [{name: c, image: i, ports: [{containerPort: 1, hostPort: 1}]}]}", nil},
		{"host network", "spec: {hostNetwork: true, containers: [{name: c, image: i, ports: [{containerPort: 80, hostPort: 81}]}]}",
			[]string{"spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"}},
		{"init containers", "spec: {containers: [{name: c, image: i}], initContainers: [{name: a, image: i, lifecycle: {}, livenessProbe: {}, readinessProbe: {}, startupProbe: {}, resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}, {resourceName: memory, restartPolicy: RestartContainer}]}]}", []string{
			"spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always",
			"spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
			"spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
			"spec.initContainers[0].startupProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
			`spec.initContainers[0].resizePolicy[1].restartPolicy: Invalid value: "RestartContainer": must not be set to 'RestartContainer' for non-sidecar initContainers`}},
		{"a sidecar", "spec: {containers: [{name: c, image: i}], initContainers: [{name: a, image: i, restartPolicy: Always, startupProbe: {exec: {command: [a]}}}]}", nil},
		{"ephemeral", "spec: {containers: [{name: c, image: i}], volumes: [{name: v}], ephemeralContainers: [{name: c, image: i, targetContainerName: d, ports: [{containerPort: 1}], lifecycle: {}, resources: {limits: {cpu: 1}}, volumeMounts: [{name: v, mountPath: /v, subPath: a}]}]}", []string{
			`spec.ephemeralContainers: Forbidden: cannot be set on create`,
			`spec.ephemeralContainers[0].name: Duplicate value: "c"`,
			`spec.ephemeralContainers[0].targetContainerName: Not found: "d"`,
			"spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
			"spec.ephemeralContainers[0].lifecycle: Forbidden: cannot be set for an Ephemeral Container",
			"spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container",
			"spec.ephemeralContainers[0].volumeMounts[0].subPath: Forbidden: cannot be set for an Ephemeral Container"}},
	})
}

func TestPodEnvironment(t *testing.T) {
	testCreate(t, gvk("v1", "Pod"), []bad{
		{"names", inContainer("env: [{name: ''}, {name: 'a=b'}]"), []string{
			"spec.containers[0].env[0].name: Required value",
			`spec.containers[0].env[1].name: Invalid value: "a=b": a valid environment variable name must consist only of printable ASCII characters other than '='`}},
		{"sources", inContainer("env: [{name: a, valueFrom: {}}, {name: b, value: c, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: d, valueFrom: {fieldRef: {fieldPath: metadata.name}, secretKeyRef: {name: s, key: k}}}]"), []string{
			"spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
			"spec.containers[0].env[1].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
			`spec.containers[0].env[2].valueFrom: Invalid value: "": may not have more than one field specified at a time`}},
		{"fields", inContainer("env: [{name: a, valueFrom: {fieldRef: {fieldPath: ''}}}, {name: b, valueFrom: {fieldRef: {fieldPath: spec.unknown}}}, {name: c, valueFrom: {fieldRef: {fieldPath: status.phase}}}, {name: d, valueFrom: {fieldRef: {fieldPath: \"metadata.name['a']\"}}}, {name: e, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['a b']\"}}}]"), []string{
			"spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Required value",
			`spec.containers[0].env[1].valueFrom.fieldRef.fieldPath: Invalid value: "spec.unknown": error converting fieldPath: field label not supported: spec.unknown`,
			`spec.containers[0].env[2].valueFrom.fieldRef.fieldPath: Unsupported value: "status.phase": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"`,
			`spec.containers[0].env[3].valueFrom.fieldRef: Invalid value: "metadata.name": does not support subscript`,
			`spec.containers[0].env[4].valueFrom.fieldRef: Invalid value: "a b": name part`}},
		{"resources", inContainer("env: [{name: a, valueFrom: {resourceFieldRef: {resource: ''}}}, {name: b, valueFrom: {resourceFieldRef: {resource: limits.gpu}}}, {name: c, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 5m}}}, {name: d, valueFrom: {resourceFieldRef: {resource: requests.memory, divisor: 2Mi}}}]"), []string{
			"spec.containers[0].env[0].valueFrom.resourceFieldRef.resource: Required value",
			`spec.containers[0].env[1].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.gpu": supported values: "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"`,
			`spec.containers[0].env[2].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.cpu": only divisor's values 1m and 1 are supported with the cpu resource`,
			`spec.containers[0].env[3].valueFrom.resourceFieldRef.divisor: Invalid value: "requests.memory": only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource`}},
		{"keys", inContainer("env: [{name: a, valueFrom: {configMapKeyRef: {name: A, key: ''}}}, {name: b, valueFrom: {secretKeyRef: {name: s, key: 'a b'}}}]"), []string{
			`spec.containers[0].env[0].valueFrom.configMapKeyRef.name: Invalid value: "A": ` + subdomain1123,
			"spec.containers[0].env[0].valueFrom.configMapKeyRef.key: Required value",
			`spec.containers[0].env[1].valueFrom.secretKeyRef.key: Invalid value: "a b": a valid config key`}},
		{"files", "spec: {volumes: [{name: v, hostPath: {path: /v}}, {name: e, emptyDir: {}}], containers: [{name: c, image: i, env: [" +
			"{name: a, valueFrom: {fileKeyRef: {volumeName: w, path: p, key: k}}}, {name: b, valueFrom: {fileKeyRef: {volumeName: v, path: p, key: k}}}, " +
			"{name: c, valueFrom: {fileKeyRef: {volumeName: e, path: ../p, key: k}}}]}]}", []string{
			`spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Not found: "w"`,
			`spec.containers[0].env[1].valueFrom.fileKeyRef.volumeName: Invalid value: "v": referenced volume must be of type emptyDir`,
			`spec.containers[0].env[2].valueFrom.fileKeyRef.path: Invalid value: "../p": must not contain '..'`}},
		{"whole maps", inContainer("envFrom: [{}, {configMapRef: {name: ''}}, {prefix: 'a=', secretRef: {name: s}, configMapRef: {name: c}}]"), []string{
			"spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
			"spec.containers[0].envFrom[1].configMapRef.name: Required value",
			`spec.containers[0].envFrom[2].prefix: Invalid value: "a=": a valid environment variable name must consist only of printable ASCII characters other than '='`,
			`spec.containers[0].envFrom: Invalid value: "": may not have more than one field specified at a time`}},
	})
}

func TestPodResources(t *testing.T) {
	testCreate(t, gvk("v1", "Pod"), []bad{
		{"names", inContainer("resources: {requests: {gpu: 1, pods: 1, 'a b': 1}}"), []string{
			`spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified`,
			`spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource for containers`,
			`spec.containers[0].resources.requests[pods]: Invalid value: "pods": must be a standard resource for containers`,
			`spec.containers[0].resources.requests[a b]: Invalid value: "a b": name part`,
			`spec.containers[0].resources.requests[a b]: Invalid value: "a b": must be a standard resource for containers`}},
		{"amounts", inContainer("resources: {requests: {cpu: -1, memory: 2Gi}, limits: {memory: 1Gi, example.com/gpu: 500m, hugepages-2Mi: 3Mi}}"), []string{
			`spec.containers[0].resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0`,
			`spec.containers[0].resources.requests: Invalid value: "2Gi": must be less than or equal to memory limit of 1Gi`,
			`spec.containers[0].resources.limits[example.com/gpu]: Invalid value: "500m": must be an integer`,
			`spec.containers[0].resources.requests[example.com/gpu]: Invalid value: "500m": must be an integer`,
			`spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi`,
			`spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi`}},
		{"what cannot be overcommitted", inContainer("resources: {requests: {example.com/a: 1, example.com/b: 1}, limits: {example.com/b: 2}}"), []string{
			"spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
			`spec.containers[0].resources.requests: Invalid value: "1": must be equal to example.com/b limit of 2`}},
		{"an odd domain", inContainer("resources: {limits: {requests.example.com/a: 1}, requests: {requests.example.com/a: 1}}"), []string{
			`spec.containers[0].resources.limits[requests.example.com/a]: Invalid value: "requests.example.com/a": doesn't follow extended resource name standard`,
			`spec.containers[0].resources.requests[requests.example.com/a]: Invalid value: "requests.example.com/a": doesn't follow extended resource name standard`}},
		{"huge pages alone", inContainer("resources: {limits: {hugepages-2Mi: 2Mi}}"),
			[]string{"spec.containers[0].resources: Forbidden: HugePages require cpu or memory"}},
		{"claims", inContainer("resources: {claims: [{name: ''}, {name: a}]}"), []string{
			"spec.containers[0].resources.claims[0]: Required value",
			`spec.containers[0].resources.claims[1]: Not found: "a": must be one of the names in pod.spec.resourceClaims which is empty`}},
		{"requests of claims", "spec: {resourceClaims: [{name: a, resourceClaimName: a}], containers: [{name: c, image: i, resources: {claims: [{name: a, request: R}, {name: a, request: r}, {name: a, request: r}, {name: a}, {name: a, request: s}]}}]}", []string{
			`spec.containers[0].resources.claims[0].request: Invalid value: "R": ` + label1123, `spec.containers[0].resources.claims[2]: Duplicate value: "a/r"`,
			`spec.containers[0].resources.claims[3]: Duplicate value: "a"`, `spec.containers[0].resources.claims[4]: Duplicate value: "a"`}},
		{"the pod's claims", withSpec("resourceClaims: [{name: ''}, {name: a, resourceClaimName: b}, {name: a, resourceClaimName: B, resourceClaimTemplateName: d}]"), []string{
			"spec.resourceClaims[0].name: Required value",
			"spec.resourceClaims[0]: Invalid value: {\"name\":\"\"}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
			`spec.resourceClaims[2].name: Duplicate value: "a"`,
			"spec.resourceClaims[2]: Invalid value: {\"name\":\"a\",\"resourceClaimName\":\"B\",\"resourceClaimTemplateName\":\"d\"}: at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
			`spec.resourceClaims[2].resourceClaimName: Invalid value: "B": ` + subdomain1123}},
		{"resizing", "spec: {restartPolicy: Never, containers: [{name: c, image: i, resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}, {resourceName: cpu, restartPolicy: NotRequired}, {resourceName: gpu, restartPolicy: Wrong}]}]}", []string{
			"spec.containers[0].resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when pod `restartPolicy` is 'Never'",
			`spec.containers[0].resizePolicy[1]: Duplicate value: "cpu"`,
			`spec.containers[0].resizePolicy: Unsupported value: "gpu": supported values: "cpu", "memory"`,
			`spec.containers[0].resizePolicy: Unsupported value: "Wrong": supported values: "NotRequired", "RestartContainer"`,
			"spec.containers[0].resizePolicy: Invalid value: \"Wrong\": must be 'NotRequired' when pod `restartPolicy` is 'Never'"}},
		{"the pod's own", "spec: {resources: {requests: {cpu: 1}, limits: {cpu: 2, gpu: 1}}, containers: [{name: c, image: i, resources: {requests: {cpu: 2}, limits: {cpu: 3}}}]}", []string{
			`spec.resources.requests[cpu]: Invalid value: "1": must be greater than or equal to aggregate container requests of 2`,
			`spec.containers[0].resources.limits[cpu]: Invalid value: "3": must be less than or equal to pod limits of 2`,
			`spec.resources.limits[gpu]: Unsupported value: "gpu": supported values: "cpu", "hugepages-", "memory"`}},
		{"overhead", withSpec("overhead: {cpu: -1}"), []string{`spec.overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0`}},
	})
}

func TestPodProbes(t *testing.T) {
	testCreate(t, gvk("v1", "Pod"), []bad{
		{"no handler", inContainer("livenessProbe: {}"), []string{"spec.containers[0].livenessProbe: Required value: must specify a handler type"}},
		{"two handlers", inContainer("livenessProbe: {exec: {command: [a]}, tcpSocket: {port: 1}}"),
			[]string{"spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"}},
		{"handlers", inContainer("livenessProbe: {exec: {}}, readinessProbe: {httpGet: {port: 0, scheme: ftp, httpHeaders: [{name: 'a b', value: c}]}}, startupProbe: {grpc: {port: 0}}"), []string{
			"spec.containers[0].livenessProbe.exec.command: Required value",
			"spec.containers[0].readinessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive",
			`spec.containers[0].readinessProbe.httpGet.scheme: Unsupported value: "ftp": supported values: "HTTP", "HTTPS"`,
			`spec.containers[0].readinessProbe.httpGet.httpHeaders: Invalid value: "a b": a valid HTTP header`,
			"spec.containers[0].startupProbe.grpc.port: Invalid value: 0: must be between 1 and 65535, inclusive"}},
		{"numbers", inContainer("livenessProbe: {exec: {command: [a]}, initialDelaySeconds: -1, timeoutSeconds: -1, periodSeconds: -1, successThreshold: 2, failureThreshold: -1, terminationGracePeriodSeconds: 0}"), []string{
			"spec.containers[0].livenessProbe.initialDelaySeconds: Invalid value: -1: must be greater than or equal to 0",
			"spec.containers[0].livenessProbe.timeoutSeconds: Invalid value: -1: must be greater than or equal to 0",
			"spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
			"spec.containers[0].livenessProbe.failureThreshold: Invalid value: -1: must be greater than or equal to 0",
			"spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
			"spec.containers[0].livenessProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0"}},
		{"a readiness probe's grace", inContainer("readinessProbe: {exec: {command: [a]}, successThreshold: 2, terminationGracePeriodSeconds: 1}"),
			[]string{"spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes"}},
		{"hooks", inContainer("lifecycle: {postStart: {}, preStop: {sleep: {seconds: 60}}, stopSignal: SIGTERM}"), []string{
			"spec.containers[0].lifecycle.postStart: Required value: must specify a handler type",
			"spec.containers[0].lifecycle.preStop.sleep: Invalid value: 60: must be non-negative and less than terminationGracePeriodSeconds (30)",
			"spec.containers[0].lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`"}},
	})
}

func TestPodSecurity(t *testing.T) {
	testCreate(t, gvk("v1", "Pod"), []bad{
		{"the pod's", withSpec("hostPID: true, shareProcessNamespace: true, hostNetwork: true, securityContext: {runAsUser: -1, runAsGroup: -1, fsGroup: -1, supplementalGroups: [-1], fsGroupChangePolicy: Wrong, supplementalGroupsPolicy: Wrong, seLinuxChangePolicy: Wrong, seccompProfile: {}, sysctls: [{name: '', value: a}, {name: 'A', value: a}, {name: net.ipv4.ip_forward, value: a}]}"), []string{
			"spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
			"spec.securityContext.runAsGroup: Invalid value: -1: must be between 0 and 2147483647, inclusive",
			"spec.securityContext.fsGroup: Invalid value: -1: must be between 0 and 2147483647, inclusive",
			"spec.securityContext.supplementalGroups[0]: Invalid value: -1: must be between 0 and 2147483647, inclusive",
			"spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
			`spec.securityContext.fsGroupChangePolicy: Unsupported value: "Wrong": supported values: "Always", "OnRootMismatch"`,
			`spec.securityContext.supplementalGroupsPolicy: Unsupported value: "Wrong": supported values: "Merge", "Strict"`,
			`spec.securityContext.seLinuxChangePolicy: Unsupported value: "Wrong": supported values: "MountOption", "Recursive"`,
			"spec.securityContext.seccompProfile.type: Required value: type is required when seccompProfile is set",
			"spec.securityContext.sysctls[0].name: Required value",
			`spec.securityContext.sysctls[1].name: Invalid value: "A": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`,
			`spec.securityContext.sysctls[2].name: Invalid value: "net.ipv4.ip_forward": may not be specified when 'hostNetwork' is true`}},
		{"the container's", inContainer("securityContext: {procMount: Unmasked, seccompProfile: {type: Localhost}, appArmorProfile: {type: Localhost}, allowPrivilegeEscalation: false, capabilities: {add: [CAP_SYS_ADMIN]}}"), []string{
			"spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
			"spec.containers[0].securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
			"spec.containers[0].securityContext.appArmorProfile.localhostProfile: Required value: must be set when AppArmor type is Localhost",
			"spec.containers[0].securityContext: Invalid value: {\"capabilities\":{\"add\":[\"CAP_SYS_ADMIN\"]},\"allowPrivilegeEscalation\":false,\"procMount\":\"Unmasked\",\"seccompProfile\":{\"type\":\"Localhost\"},\"appArmorProfile\":{\"type\":\"Localhost\"}}: cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"}},
		{"users of its own", withSpec("hostUsers: false, hostNetwork: true, hostPID: true, hostIPC: true"), []string{
			"spec.hostNetwork: Forbidden: when `hostUsers` is false", "spec.hostPID: Forbidden: when `hostUsers` is false", "spec.hostIPC: Forbidden: when `hostUsers` is false"}},
		{"users of its own and a device", withSpec("hostUsers: false, volumes: [{name: v, persistentVolumeClaim: {claimName: c}}], initContainers: [{name: i, image: i, volumeDevices: [{name: v, devicePath: /dev/v}]}]"), []string{
			"spec.initContainers[0].volumeDevices: Forbidden: when `hostUsers` is false"}},
		{"no system", withSpec("os: {name: ''}"), []string{"spec.os.name: Required value"}},
		{"a system", withSpec("os: {name: plan9}"), []string{`spec.os: Unsupported value: "plan9": supported values: "linux", "windows"`}},
		{"not for Windows", withSpec("os: {name: windows}, hostPID: true, securityContext: {runAsUser: 1}"), []string{
			"spec.hostPID: Forbidden: cannot be set for a windows pod", "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod"}},
		{"not for Linux", withSpec("os: {name: linux}, securityContext: {windowsOptions: {runAsUserName: 'a\\b\\c'}}"), []string{
			"spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
			`spec.securityContext.windowsOptions.runAsUserName: Invalid value: "a\\b\\c": runAsUserName cannot contain more than one backslash`}},
	})
}

func TestPodScheduling(t *testing.T) {
	const terms = "requiredDuringSchedulingIgnoredDuringExecution"
	testCreate(t, gvk("v1", "Pod"), []bad{
		{"tolerations", withSpec("tolerations: [{operator: Equal}, {key: a b, operator: Exists}, {key: a, operator: Exists, value: b}, {key: a, operator: Is}, {key: a, effect: Wrong, tolerationSeconds: 1}, {key: a, value: 'b c'}]"), []string{
			"spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
			`spec.tolerations[1].key: Invalid value: "a b": name part`,
			"spec.tolerations[2].operator: Invalid value: {\"key\":\"a\",\"operator\":\"Exists\",\"value\":\"b\"}: value must be empty when `operator` is 'Exists'",
			`spec.tolerations[3].operator: Unsupported value: "Is": supported values: "Equal", "Exists"`,
			"spec.tolerations[4].effect: Invalid value: \"Wrong\": effect must be 'NoExecute' when `tolerationSeconds` is set",
			`spec.tolerations[4].effect: Unsupported value: "Wrong": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"`,
			`spec.tolerations[5].operator: Invalid value: "b c": a valid label`}},
		{"nodes", withSpec("affinity: {nodeAffinity: {" + terms + ": {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In}, {key: a, operator: Exists, values: [b]}, {key: a, operator: Gt}, {key: a, operator: Is}], matchFields: [{key: spec.a, operator: Exists, values: [a]}]}]}}}"), []string{
			"spec.affinity.nodeAffinity." + terms + ".nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
			"spec.affinity.nodeAffinity." + terms + ".nodeSelectorTerms[0].matchExpressions[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
			"spec.affinity.nodeAffinity." + terms + ".nodeSelectorTerms[0].matchExpressions[2].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'",
			"spec.affinity.nodeAffinity." + terms + ".nodeSelectorTerms[0].matchExpressions[3].operator: Invalid value: \"Is\": not a valid selector operator",
			"spec.affinity.nodeAffinity." + terms + ".nodeSelectorTerms[0].matchFields[0].operator: Invalid value: \"Exists\": not a valid selector operator",
			"spec.affinity.nodeAffinity." + terms + ".nodeSelectorTerms[0].matchFields[0].key: Invalid value: \"spec.a\": not a valid field selector key"}},
		{"no terms", withSpec("affinity: {nodeAffinity: {" + terms + ": {}, preferredDuringSchedulingIgnoredDuringExecution: [{weight: 101, preference: {}}]}}"), []string{
			"spec.affinity.nodeAffinity." + terms + ".nodeSelectorTerms: Required value: must have at least one node selector term",
			"spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 101: must be in the range 1-100"}},
		{"pods", withSpec("affinity: {podAntiAffinity: {" + terms + ": [{topologyKey: a, namespaces: [A], matchLabelKeys: [b]}, {topologyKey: a, labelSelector: {}, matchLabelKeys: [b], mismatchLabelKeys: [b]}], preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, podAffinityTerm: {topologyKey: a}}]}}"), []string{
			`spec.affinity.podAntiAffinity.` + terms + `[0].namespace: Invalid value: "A": ` + label1123,
			"spec.affinity.podAntiAffinity." + terms + "[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
			"spec.affinity.podAntiAffinity." + terms + "[1].matchLabelKeys[0]: Invalid value: \"b\": exists in both matchLabelKeys and mismatchLabelKeys",
			"spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100"}},
		{"spreading", withSpec("topologySpreadConstraints: [{maxSkew: 0, topologyKey: '', whenUnsatisfiable: ScheduleAnyway, minDomains: 0, nodeAffinityPolicy: Wrong, matchLabelKeys: [a]}, {maxSkew: 1, topologyKey: a, whenUnsatisfiable: Wrong}, {maxSkew: 1, topologyKey: a, whenUnsatisfiable: Wrong, labelSelector: {matchLabels: {b: c}}, matchLabelKeys: [b]}]"), []string{
			"spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
			"spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
			"spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: must be greater than zero",
			"spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
			`spec.topologySpreadConstraints[0].nodeAffinityPolicy: Unsupported value: "Wrong": supported values: "Honor", "Ignore"`,
			"spec.topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
			`spec.topologySpreadConstraints[1].whenUnsatisfiable: Unsupported value: "Wrong": supported values: "DoNotSchedule", "ScheduleAnyway"`,
			`spec.topologySpreadConstraints[1].{topologyKey, whenUnsatisfiable}: Duplicate value: "{a, Wrong}"`,
			`spec.topologySpreadConstraints[2].whenUnsatisfiable: Unsupported value: "Wrong": supported values: "DoNotSchedule", "ScheduleAnyway"`,
			`spec.topologySpreadConstraints[2].matchLabelKeys[0]: Invalid value: "b": exists in both matchLabelKeys and labelSelector`}},
		{"gates", withSpec("nodeName: n, schedulingGates: [{name: a}, {name: a}, {name: 'b c'}], readinessGates: [{conditionType: ''}]"), []string{
			"spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
			`spec.schedulingGates[1]: Duplicate value: "a"`, `spec.schedulingGates[2]: Invalid value: "b c": name part`,
			`spec.readinessGates[0].conditionType: Invalid value: "": name part must be non-empty`, `spec.readinessGates[0].conditionType: Invalid value: "": name part`}},
		{"a node selector", withSpec("nodeSelector: {a: 'b c'}"), []string{`spec.nodeSelector: Invalid value: "b c": a valid label`}},
	})
}

func TestPodNamesAndPolicies(t *testing.T) {
	testCreate(t, gvk("v1", "Pod"), []bad{
		{"a name beside others", withSpec("hostNetwork: true, setHostnameAsFQDN: true, hostnameOverride: H_"), []string{
			"spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true",
			"spec.hostnameOverride: Forbidden: may not be specified when hostNetwork is true",
			`spec.hostnameOverride: Invalid value: "H_": ` + subdomain1123}},
		{"a name that is none", withSpec("hostnameOverride: ''"), []string{`spec.hostnameOverride: Invalid value: "": ` + subdomain1123}},
		{"policies", withSpec("restartPolicy: Wrong, dnsPolicy: Wrong, preemptionPolicy: Wrong, activeDeadlineSeconds: 0"), []string{
			`spec.restartPolicy: Unsupported value: "Wrong": supported values: "Always", "OnFailure", "Never"`,
			`spec.dnsPolicy: Unsupported value: "Wrong": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"`,
			`spec.preemptionPolicy: Unsupported value: "Wrong": supported values: "PreemptLowerPriority", "Never"`,
			"spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"}},
		{"names", withSpec("serviceAccountName: A, nodeName: B, hostname: C.d, subdomain: D.e, priorityClassName: E, runtimeClassName: F"), []string{
			`spec.serviceAccountName: Invalid value: "A": ` + subdomain1123, `spec.nodeName: Invalid value: "B": ` + subdomain1123,
			`spec.hostname: Invalid value: "C.d": ` + label1123, `spec.subdomain: Invalid value: "D.e": ` + label1123,
			`spec.priorityClassName: Invalid value: "E": ` + subdomain1123, `spec.runtimeClassName: Invalid value: "F": ` + subdomain1123}},
		{"no resolver", withSpec("dnsPolicy: None"), []string{"spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"}},
		{"no servers", withSpec("dnsPolicy: None, dnsConfig: {}"),
			[]string{"spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None"}},
		{"a resolver", withSpec("dnsConfig: {nameservers: [a, 1.1.1.1, 1.1.1.2, 1.1.1.3], searches: [., 'a b'], options: [{value: a}]}"), []string{
			`spec.dnsConfig.nameservers: Invalid value: ["a","1.1.1.1","1.1.1.2","1.1.1.3"]: must not have more than 3 nameservers`,
			`spec.dnsConfig.nameservers[0]: Invalid value: "a": must be a valid IP address,`,
			`spec.dnsConfig.searches[1]: Invalid value: "a b": a lowercase RFC 1123 subdomain`,
			"spec.dnsConfig.options[0]: Required value: must not be empty"}},
		{"aliases", withSpec("hostAliases: [{ip: a, hostnames: [A]}]"), []string{
			`spec.hostAliases[0].ip: Invalid value: "a": must be a valid IP address,`, `spec.hostAliases[0].hostnames[0]: Invalid value: "A": ` + subdomain1123}},
		{"addresses that are read in two ways", withSpec("dnsConfig: {nameservers: [010.0.0.1]}, hostAliases: [{ip: '::ffff:1.2.3.4'}]"), []string{
			`spec.hostAliases[0].ip: Invalid value: "::ffff:1.2.3.4": must not be an IPv4-mapped IPv6 address`,
			`spec.dnsConfig.nameservers[0]: Invalid value: "010.0.0.1": must not have leading 0s`}},
		{"annotations of profiles", "metadata: {annotations: {seccomp.security.alpha.kubernetes.io/pod: a, container.seccomp.security.alpha.kubernetes.io/c: localhost/../x, container.seccomp.security.alpha.kubernetes.io/d: docker/default}}\nspec: {containers: [{name: c, image: i}]}", []string{
			`metadata.annotations.container.seccomp.security.alpha.kubernetes.io/c: Invalid value: "../x": must not contain '..'`,
			`metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: "a": must be a valid seccomp profile`}},
		{"annotations and fields of profiles", "metadata: {annotations: {seccomp.security.alpha.kubernetes.io/pod: unconfined, container.seccomp.security.alpha.kubernetes.io/c: localhost/x, container.seccomp.security.alpha.kubernetes.io/d: docker/default}}\n" +
			"spec: {securityContext: {seccompProfile: {type: RuntimeDefault}}, containers: [{name: c, image: i, securityContext: {seccompProfile: {type: Localhost, localhostProfile: y}}}, {name: d, image: i, securityContext: {seccompProfile: {type: RuntimeDefault}}}]}", []string{
			"spec.securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match",
			"spec.containers[0].securityContext.seccompProfile.localhostProfile: Forbidden: seccomp profile in annotation and field must match"}},
		{"annotations", "metadata: {annotations: {kubernetes.io/config.mirror: a, controller.kubernetes.io/pod-deletion-cost: '01'}}\nspec: {containers: [{name: c, image: i}]}", []string{
			`metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "a": must set spec.nodeName if mirror pod annotation is set`,
			`metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "01": must be a 32bit integer`}},
	})
}
