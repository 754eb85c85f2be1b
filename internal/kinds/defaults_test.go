package kinds

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// What users see of what they left out.
func TestDefaults(t *testing.T) {
	for _, c := range []struct {
		name       string
		of         schema.GroupVersionKind
		text, want string
	}{
		{"a pod", gvk("v1", "Pod"), "spec: {hostNetwork: true, containers: [{name: c, image: 'i:1', ports: [{containerPort: 80}], resources: {limits: {cpu: 1}}, livenessProbe: {httpGet: {port: 80}}, env: [{name: a, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}], volumes: [{name: v, secret: {secretName: s}}, {name: w}]}", `
spec:
  containers:
  - env: [{name: a, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.name}}}]
    image: i:1
    imagePullPolicy: IfNotPresent
    livenessProbe: {failureThreshold: 3, httpGet: {path: /, port: 80, scheme: HTTP}, periodSeconds: 10, successThreshold: 1, timeoutSeconds: 1}
    name: c
    ports: [{containerPort: 80, hostPort: 80, protocol: TCP}]
    resources: {limits: {cpu: "1"}, requests: {cpu: "1"}}
    terminationMessagePath: /dev/termination-log
    terminationMessagePolicy: File
  dnsPolicy: ClusterFirst
  enableServiceLinks: true
  hostNetwork: true
  restartPolicy: Always
  schedulerName: default-scheduler
  securityContext: {}
  terminationGracePeriodSeconds: 30
  volumes: [{name: v, secret: {defaultMode: 420, secretName: s}}, {emptyDir: {}, name: w}]`},
		{"a pod's own resources", gvk("v1", "Pod"), "spec: {resources: {limits: {cpu: 4, memory: 2Gi}}, containers: [{name: c, resources: {requests: {cpu: 1}}}, {name: d, resources: {requests: {cpu: 1}}}]}", `
spec:
  containers:
  - {imagePullPolicy: IfNotPresent, name: c, resources: {requests: {cpu: "1"}}, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}
  - {imagePullPolicy: IfNotPresent, name: d, resources: {requests: {cpu: "1"}}, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}
  dnsPolicy: ClusterFirst
  enableServiceLinks: true
  resources: {limits: {cpu: "4", memory: 2Gi}, requests: {cpu: "2", memory: 2Gi}}
  restartPolicy: Always
  schedulerName: default-scheduler
  securityContext: {}
  terminationGracePeriodSeconds: 30`},
		{"a service", gvk("v1", "Service"), "spec: {type: LoadBalancer, sessionAffinity: ClientIP, ports: [{port: 80}]}\nstatus: {loadBalancer: {ingress: [{ip: 1.1.1.1}]}}", `
spec:
  allocateLoadBalancerNodePorts: true
  externalTrafficPolicy: Cluster
  internalTrafficPolicy: Cluster
  ports: [{port: 80, protocol: TCP, targetPort: 80}]
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 10800}}
  type: LoadBalancer
status: {loadBalancer: {ingress: [{ip: 1.1.1.1, ipMode: VIP}]}}`},
		{"a StatefulSet that names its strategy", gvk("apps/v1", "StatefulSet"), "spec: {updateStrategy: {type: RollingUpdate}, template: {spec: {containers: [{name: c, image: 'ko://example.test/c'}]}}}", `
spec:
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}
  podManagementPolicy: OrderedReady
  replicas: 1
  revisionHistoryLimit: 10
  selector: null
  serviceName: ""
  template:
    spec:
      containers:
      - {image: 'ko://example.test/c', imagePullPolicy: IfNotPresent, name: c, resources: {}, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}
      dnsPolicy: ClusterFirst
      restartPolicy: Always
      schedulerName: default-scheduler
      securityContext: {}
      terminationGracePeriodSeconds: 30
  updateStrategy: {type: RollingUpdate}
status: {availableReplicas: 0, replicas: 0}`},
		{"an autoscaler", gvk("autoscaling/v2", "HorizontalPodAutoscaler"), "spec: {behavior: {scaleUp: {}}}", `
spec:
  behavior:
    scaleDown:
      policies: [{periodSeconds: 15, type: Percent, value: 100}]
      selectPolicy: Max
    scaleUp:
      policies: [{periodSeconds: 15, type: Pods, value: 4}, {periodSeconds: 15, type: Percent, value: 100}]
      selectPolicy: Max
      stabilizationWindowSeconds: 0
  maxReplicas: 0
  metrics: [{resource: {name: cpu, target: {averageUtilization: 80, type: Utilization}}, type: Resource}]
  minReplicas: 1
  scaleTargetRef: {kind: "", name: ""}
status: {currentMetrics: null, desiredReplicas: 0}`},
		{"limits", gvk("v1", "LimitRange"), "spec: {limits: [{type: Container, max: {cpu: 2}, min: {memory: 1Gi}}]}",
			"spec: {limits: [{default: {cpu: \"2\"}, defaultRequest: {cpu: \"2\", memory: 1Gi}, max: {cpu: \"2\"}, min: {memory: 1Gi}, type: Container}]}"},
		{"a volume", gvk("v1", "PersistentVolume"), "spec: {rbd: {image: i, monitors: [m]}}",
			"spec: {persistentVolumeReclaimPolicy: Retain, rbd: {image: i, keyring: /etc/ceph/keyring, monitors: [m], pool: rbd, user: admin}, volumeMode: Filesystem}\nstatus: {phase: Pending}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			kind, obj := readStored(t, c.of, c.text)
			want := kind.New()
			if err := yaml.UnmarshalStrict([]byte(c.want), want); err != nil {
				t.Fatal(err)
			}
			got, err := yaml.Marshal(obj)
			if err != nil {
				t.Fatal(err)
			}
			expected, err := yaml.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(expected), string(got)); diff != "" {
				t.Errorf("the defaults differ (-want +got):\n%s", diff)
			}
		})
	}
}
