package webhooks_test

import (
	"testing"

	"navarch.dev/navarch/internal/testcluster"
)

// replicaLimit is a policy as the documentation of Kubernetes shows it, with its
// limit in a ConfigMap.
const replicaLimit = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: replica-limit}
spec:
  failurePolicy: Fail
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments, deployments/scale]}
  matchConditions:
  - {name: not-the-admins, expression: "!('exempt' in object.metadata.?labels.orValue({}))"}
  variables:
  - {name: limit, expression: "int(params.data.replicas)"}
  validations:
  - expression: object.spec.replicas <= variables.limit
    messageExpression: "'at most ' + string(variables.limit) + ' replicas, not ' + string(object.spec.replicas)"
    reason: Forbidden
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: limited}
spec:
  policyName: replica-limit
  validationActions: [Deny]
  paramRef: {name: limit, parameterNotFoundAction: Deny}
  matchResources: {namespaceSelector: {matchLabels: {hooks: policy}}}
`

func (s suite) testPolicy(t *testing.T) {
	s.namespace(t, "policy")
	s.KubectlInput(t, replicaLimit, "apply", "-f", "-")
	t.Cleanup(func() {
		s.Kubectl(t, "delete", "validatingadmissionpolicybinding/limited", "validatingadmissionpolicy/replica-limit")
	})
	s.Kubectl(t, "wait", "validatingadmissionpolicy/replica-limit", "--for=jsonpath={.status.observedGeneration}=1", "--timeout=1m") // its types are checked
	create := []string{"-n", "policy", "create", "deployment", "web", "--image=" + testcluster.BusyboxImage, "--replicas=3"}
	testcluster.Contains(t, "kubectl create", s.KubectlFails(t, create...),
		`error: failed to create deployment: deployments.apps "web" is forbidden: ValidatingAdmissionPolicy 'replica-limit' with binding 'limited' denied request: `+
			"failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction")
	s.Kubectl(t, "-n", "policy", "create", "configmap", "limit", "--from-literal=replicas=2")
	const refused = `ValidatingAdmissionPolicy 'replica-limit' with binding 'limited' denied request: at most 2 replicas, not 3`
	testcluster.Contains(t, "kubectl create", s.KubectlFails(t, create...), `deployments.apps "web" is forbidden: `+refused)
	s.Kubectl(t, append(create[:len(create)-1], "--replicas=2")...)
	testcluster.Contains(t, "kubectl scale", s.KubectlFails(t, "-n", "policy", "scale", "deployment", "web", "--replicas=3"), refused)
	s.Kubectl(t, "-n", "policy", "patch", "configmap", "limit", "-p", `{"data":{"replicas":"3"}}`)
	s.Kubectl(t, "-n", "policy", "scale", "deployment", "web", "--replicas=3")
	s.Kubectl(t, "-n", "policy", "label", "deployment", "web", "exempt=yes")
	s.Kubectl(t, "-n", "policy", "patch", "deployment", "web", "-p", `{"spec":{"replicas":4}}`)
	s.Kubectl(t, "create", "deployment", "elsewhere", "--image="+testcluster.BusyboxImage, "--replicas=4")
	s.Kubectl(t, "delete", "deployment", "elsewhere")
	testcluster.Contains(t, "kubectl get", s.Kubectl(t, "get", "validatingadmissionpolicies,validatingadmissionpolicybindings"),
		"VALIDATIONS", "PARAMKIND", "v1/ConfigMap", "POLICYNAME", "PARAMREF", "replica-limit", "*/limit")
}

// sidecarPolicy gives pods another container, and a label.
const sidecarPolicy = `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: sidecar}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  matchConditions:
  - {name: once, expression: "!object.spec.containers.exists(c, c.name == 'sidecar')"}
  reinvocationPolicy: IfNeeded
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: >
        Object{spec: Object.spec{containers: [Object.spec.containers{name: "sidecar", image: "` + testcluster.BusyboxImage + `", args: ["sleep", "3600"]}]}}
`

func (s suite) testMutatingPolicy(t *testing.T) {
	s.namespace(t, "sidecars")
	const atomic = `denied request: error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.containers[0].args`
	binding := `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: sidecars}
spec:
  policyName: sidecar
  matchResources: {namespaceSelector: {matchLabels: {hooks: sidecars}}}
`
	s.KubectlInput(t, sidecarPolicy+"---\n"+binding, "apply", "-f", "-")
	t.Cleanup(func() {
		s.Kubectl(t, "delete", "mutatingadmissionpolicybinding/sidecars", "mutatingadmissionpolicy/sidecar")
	})
	run := []string{"-n", "sidecars", "run", "web", "--image=" + testcluster.BusyboxImage, "--", "sleep", "3600"}
	testcluster.Contains(t, "kubectl run", s.KubectlFails(t, run...), "policy 'sidecar' with binding 'sidecars' "+atomic)
	s.Kubectl(t, "patch", "mutatingadmissionpolicy", "sidecar", "--type=json", "-p", `[{"op":"replace","path":"/spec/mutations/0","value":{
		"patchType":"JSONPatch","jsonPatch":{"expression":"[JSONPatch{op: 'add', path: '/spec/containers/-', value: Object.spec.containers{name: 'sidecar', image: object.spec.containers[0].image, args: ['sleep', '3600']}}]"}}}]`)
	s.Kubectl(t, run...)
	s.Kubectl(t, "-n", "sidecars", "wait", "pod/web", "--for=condition=Ready", "--timeout=2m")
	got := s.Kubectl(t, "-n", "sidecars", "get", "pod", "web", "-o", "jsonpath={.spec.containers[*].name} {.status.containerStatuses[*].ready}")
	if want := "web sidecar true true"; got != want {
		t.Errorf("the pod has %q, not %q", got, want)
	}
	testcluster.Contains(t, "kubectl get", s.Kubectl(t, "get", "mutatingadmissionpolicies,mutatingadmissionpolicybindings"),
		"MUTATIONS", "PARAMKIND", "POLICYNAME", "PARAMREF", "<unset>")
}
