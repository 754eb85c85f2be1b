package kinds

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// oddPod has in it what Kubernetes warns of.
const oddPod = `
apiVersion: v1
kind: Pod
metadata:
  name: my.pod
  annotations:
    scheduler.alpha.kubernetes.io/critical-pod: ""
    seccomp.security.alpha.kubernetes.io/pod: runtime/default
    container.seccomp.security.alpha.kubernetes.io/c: runtime/default
spec:
  terminationGracePeriodSeconds: -1
  nodeSelector: {beta.kubernetes.io/os: linux, beta.kubernetes.io/arch: x}
  overhead: {memory: 1500m}
  hostAliases: [{ip: 1.2.3.4, hostnames: [a]}, {ip: 1.2.3.4, hostnames: [b]}]
  dnsConfig: {nameservers: ["1.2.3.4"]}
  imagePullSecrets: [{name: a}, {name: a}, {name: ""}]
  topologySpreadConstraints: [{maxSkew: 1, topologyKey: failure-domain.beta.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway}]
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: beta.kubernetes.io/os, operator: Exists}]}]}
      preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: a, operator: In, values: ["-b"]}]}}]
    podAffinity:
      requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: a}]
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: a}}]
  volumes:
  - {name: g, gitRepo: {repository: a}}
  - {name: r, rbd: {monitors: [a], image: b}}
  - {name: c, cephfs: {monitors: [a]}}
  - {name: q, quobyte: {registry: "a:1", volume: v}}
  - {name: st, storageos: {volumeName: a, volumeNamespace: b}}
  - {name: gl, glusterfs: {endpoints: a, path: b}}
  - {name: fl, flocker: {datasetName: a}}
  - {name: ph, photonPersistentDisk: {pdID: a}}
  - {name: e, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], storageClassName: x, resources: {requests: {storage: 1500m}}}}}}
  - {name: cm, configMap: {name: a, items: [{key: a, path: a}, {key: b, path: a/b}, {key: c, path: a}]}}
  - {name: se, secret: {secretName: a, items: [{key: a, path: x/}, {key: b, path: x}]}}
  - {name: da, downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.name}}, {path: a/b, fieldRef: {fieldPath: metadata.name}}]}}
  - name: pr
    projected:
      sources: [{configMap: {name: a, items: [{key: a, path: a}]}}, {secret: {name: b, items: [{key: a, path: a/c}]}}, {serviceAccountToken: {path: a/b}}]
  initContainers:
  - {name: i, image: i, ports: [{containerPort: 80, name: web}], restartPolicy: Always}
  containers:
  - name: c
    image: i
    env: [{name: A, value: x}, {name: A, value: "$(A)y"}, {name: A, value: z}, {name: A, value: "$(A)"}, {name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    resources: {limits: {memory: 1500m, ephemeral-storage: 2500m}, requests: {memory: 1500m}}
    ports: [{containerPort: 80, name: web}, {containerPort: 80, protocol: UDP, hostIP: 1.2.3.4}, {containerPort: 81, hostPort: 81}, {containerPort: 81, hostPort: 81, hostIP: 1.2.3.4}]
  - name: d
    image: i
    ports: [{containerPort: 80, hostPort: 8080}]
`

// TestPodWarnings: what the author of a pod is told, in the order in which
// kube-apiserver v1.37.2 tells it.
func TestPodWarnings(t *testing.T) {
	kind, pod := readStored(t, gvk("v1", "Pod"), oddPod)
	want := []string{
		"metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
		`spec.nodeSelector[beta.kubernetes.io/arch]: deprecated since v1.14; use "kubernetes.io/arch" instead`,
		`spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`,
		`spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/os is deprecated since v1.14; use "kubernetes.io/os" instead`,
		"spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values[0]: -b is invalid, a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
		`spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
		"spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
		`metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the "priorityClassName" field instead`,
		"spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
		"spec.volumes[1].rbd: deprecated in v1.28, non-functional in v1.31+",
		"spec.volumes[2].cephfs: deprecated in v1.28, non-functional in v1.31+",
		"spec.volumes[3].quobyte: deprecated in v1.22, non-functional in v1.25+",
		"spec.volumes[4].storageOS: deprecated in v1.22, non-functional in v1.25+",
		"spec.volumes[5].glusterfs: deprecated in v1.25, non-functional in v1.26+",
		"spec.volumes[6].flocker: deprecated in v1.22, non-functional in v1.25+",
		"spec.volumes[7].photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+",
		`spec.volumes[8].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer`,
		`volume "cm" (ConfigMap "a"): overlapping paths: "a/b" with "a"`,
		`volume "cm" (ConfigMap "a"): overlapping paths: "a" with "a"`,
		`volume "cm" (ConfigMap "a"): overlapping paths: "a" with "a/b"`,
		`volume "se" (Secret "a"): overlapping paths: "x" with "x"`,
		`volume "da" (DownwardAPI): overlapping paths: "a/b" with "a"`,
		`volume "pr" (Projected): overlapping paths: "a/c" (Secret "b") with "a" (ConfigMap "a")`,
		`volume "pr" (Projected): overlapping paths: "a/b" (ServiceAccountToken) with "a" (ConfigMap "a")`,
		`spec.hostAliases[1].ip: duplicate ip "1.2.3.4"`,
		`spec.imagePullSecrets[1].name: duplicate name "a"`,
		`spec.imagePullSecrets[2].name: invalid empty name ""`,
		`spec.overhead[memory]: fractional byte value "1500m" is invalid, must be an integer`,
		`metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead`,
		`metadata.annotations[container.seccomp.security.alpha.kubernetes.io/c]: non-functional in v1.27+; use the "seccompProfile" field instead`,
		`spec.containers[0].resources.limits[memory]: fractional byte value "1500m" is invalid, must be an integer`,
		`spec.containers[0].resources.requests[memory]: fractional byte value "1500m" is invalid, must be an integer`,
		`spec.containers[0].resources.limits[ephemeral-storage]: fractional byte value "2500m" is invalid, must be an integer`,
		`spec.containers[0].resources.requests[ephemeral-storage]: fractional byte value "2500m" is invalid, must be an integer`,
		`spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply`,
		`spec.containers[0].env[3]: hides previous definition of "A", which may be dropped when using apply`,
		`spec.containers[0].env[4]: hides previous definition of "A", which may be dropped when using apply`,
		"spec.containers[0].ports[0]: duplicate port definition with spec.initContainers[0].ports[0]",
		"spec.containers[0].ports[1]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:80 Protocol:UDP HostIP:1.2.3.4}",
		"spec.containers[0].ports[3]: dangerously ambiguous port definition with spec.containers[0].ports[2]",
		"spec.containers[1].ports[0]: overlapping port definition with spec.initContainers[0].ports[0]",
		"spec.containers[1].ports[0]: overlapping port definition with spec.containers[0].ports[0]",
		`spec.containers[0].ports[0]: duplicate port name "web" with spec.initContainers[0].ports[0], services and probes that select ports by name will use spec.initContainers[0].ports[0]`,
		"spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null labelSelector results in matching no pod",
		"spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: a null labelSelector results in matching no pod",
	}
	if diff := cmp.Diff(want, kind.Strategy.Warnings(t.Context(), pod)); diff != "" {
		t.Errorf("the warnings differ (-want +got):\n%s", diff)
	}
	if told := kind.Strategy.UpdateWarnings(pod, pod); told != nil {
		t.Errorf("an update tells of %q", told)
	}
}

// TestTemplateWarnings: each kind with pods warns of their template, and of its name
// if pods are named for it, and again when something else is asked for.
func TestTemplateWarnings(t *testing.T) {
	const pods = "spec: {nodeSelector: {beta.kubernetes.io/os: linux}, containers: [{name: c, image: i}]}"
	const old = `spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`
	const name = "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"
	for _, tt := range []struct {
		version, kind, text string
		want                []string
	}{
		{"apps/v1", "Deployment", "spec: {template: {" + pods + "}}", []string{name, "spec.template." + old}},
		{"apps/v1", "ReplicaSet", "spec: {template: {" + pods + "}}", []string{name, "spec.template." + old}},
		{"v1", "ReplicationController", "spec: {template: {" + pods + "}}", []string{name, "spec.template." + old}},
		{"apps/v1", "DaemonSet", "spec: {template: {" + pods + "}}", []string{"spec.template." + old}},
		{"apps/v1", "StatefulSet", "spec: {template: {" + pods + "}}", []string{"spec.template." + old}},
		{"batch/v1", "Job", "spec: {completionMode: Indexed, completions: 100001, parallelism: 10001, template: {" + pods + "}}", []string{name, "spec.template." + old,
			"spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"}},
		{"batch/v1", "CronJob", "spec: {jobTemplate: {spec: {template: {" + pods + "}}}}", []string{name, "spec.jobTemplate.spec.template." + old}},
		{"v1", "PodTemplate", "template: {" + pods + "}", []string{"template." + old}},
	} {
		kind, obj := readStored(t, gvk(tt.version, tt.kind), "metadata: {name: a.b, generation: 2}\n"+tt.text)
		if diff := cmp.Diff(tt.want, kind.Strategy.Warnings(t.Context(), obj)); diff != "" {
			t.Errorf("%s: the warnings differ (-want +got):\n%s", tt.kind, diff)
		}
		before := obj.DeepCopyObject().(Object)
		if told := kind.Strategy.UpdateWarnings(obj, before); told != nil {
			t.Errorf("%s: an update that asks for nothing tells of %q", tt.kind, told)
		}
		before.SetGeneration(1)
		changed := tt.want
		if changed[0] == name {
			changed = changed[1:]
		}
		if diff := cmp.Diff(changed, kind.Strategy.UpdateWarnings(obj, before)); diff != "" {
			t.Errorf("%s: the warnings of an update differ (-want +got):\n%s", tt.kind, diff)
		}
	}
}
