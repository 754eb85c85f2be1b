package kubectl_test

import (
	"testing"

	"navarch.dev/navarch/internal/testcluster"
)

// boats is a definition with columns, a scale and a rule.
const boats = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.fleet.example.com}
spec:
  group: fleet.example.com
  scope: Namespaced
  names: {plural: boats, kind: Boat, shortNames: [bt]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns:
    - {name: Captain, type: string, jsonPath: .spec.captain}
    - {name: Oars, type: integer, jsonPath: .spec.oars}
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.oars, statusReplicasPath: .status.oars}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            x-kubernetes-validations: [{rule: self.oars % 2 == 0, message: oars come in pairs}]
            properties:
              captain: {type: string, description: who steers}
              oars: {type: integer, minimum: 2, default: 4}
          status: {type: object, properties: {oars: {type: integer}}}
`

func boat(name, spec string) string {
	return `{"apiVersion":"fleet.example.com/v1","kind":"Boat","metadata":{"name":"` + name + `"},"spec":` + spec + `}`
}

// testCustomResources takes a definition and its objects through their lives.
func (s suite) testCustomResources(t *testing.T) {
	const crd = "crd/boats.fleet.example.com"
	t.Cleanup(func() { s.Kubectl(t, "delete", crd, "--ignore-not-found") })
	s.KubectlInput(t, boats, "apply", "-f", "-")
	s.Kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", crd)
	testcluster.Contains(t, "apply", s.KubectlInput(t, boat("argo", `{"captain":"Jason"}`), "apply", "-f", "-"), "boat.fleet.example.com/argo created")
	testcluster.Contains(t, "get", s.Kubectl(t, "get", "bt"), "NAME   CAPTAIN   OARS", "argo   Jason     4")
	testcluster.Contains(t, "explain", s.Kubectl(t, "explain", "boat.spec.captain"), "who steers")
	testcluster.Contains(t, "api-resources", s.Kubectl(t, "api-resources", "--api-group=fleet.example.com"), "boats", "bt", "fleet.example.com/v1")
	testcluster.Contains(t, "an unknown field", s.fails(t, boat("odd", `{"sail":1}`), "apply", "-f", "-"), `unknown field "spec.sail"`)
	testcluster.Contains(t, "a rule", s.fails(t, boat("odd", `{"oars":3}`), "apply", "-f", "-"), "oars come in pairs")
	testcluster.Contains(t, "a bound", s.fails(t, boat("odd", `{"oars":0}`), "apply", "-f", "-"), "spec.oars in body should be greater than or equal to 2")
	s.Kubectl(t, "scale", "boat", "argo", "--replicas=50")
	s.Kubectl(t, "patch", "boat", "argo", "--type=merge", "--subresource=status", "-p", `{"status":{"oars":50}}`)
	if got := s.Kubectl(t, "get", "boat", "argo", "-o", "jsonpath={.spec.oars} {.status.oars} {.metadata.generation}"); got != "50 50 2" {
		t.Errorf("after scale and status the boat is %q", got)
	}
	s.KubectlInput(t, boat("argo", `{"captain":"Jason"}`), "apply", "--server-side", "--force-conflicts", "-f", "-")
	testcluster.Contains(t, "history", s.Navarch(t, "history", "bt/argo", "--data-dir", s.Dir), "spec.oars: 4 → 50")
	s.Kubectl(t, "patch", "boat", "argo", "--type=merge", "-p", `{"metadata":{"finalizers":["example.com/anchor"]}}`)
	s.Kubectl(t, "delete", "boat", "argo", "--wait=false")
	testcluster.Contains(t, "what holds it", s.Navarch(t, "explain", "boats.fleet.example.com/argo", "--data-dir", s.Dir), "boat default/argo is being deleted", "finalizer example.com/anchor")
	s.Kubectl(t, "patch", "boat", "argo", "--type=merge", "-p", `{"metadata":{"finalizers":[]}}`)
	s.Kubectl(t, "get", "apiservice", "v1.fleet.example.com")
	testcluster.Contains(t, "delete", s.Kubectl(t, "delete", crd, "--timeout=60s"), `"boats.fleet.example.com" deleted`)
	testcluster.Contains(t, "what is gone", s.KubectlFails(t, "get", "boats"), "could not find the requested resource")
}
