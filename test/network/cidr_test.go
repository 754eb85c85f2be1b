package network_test

import "testing"

const moreAddresses = `
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: more}
spec: {cidrs: [203.0.113.0/24]}
`

const serviceOfMore = `
apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec:
  type: NodePort
  clusterIP: 203.0.113.10
  selector: {app: echo}
  ports: [{port: 80, targetPort: http, nodePort: 30099}]
`

// Services of another ServiceCIDR serve as those of the first do: what
// Kubernetes' test "should create Services and serve on different Service CIDRs"
// looks at. The range ends with its last Service.
func (f *fixture) testServiceCIDRs(t *testing.T) {
	f.KubectlInput(t, moreAddresses, "create", "-f", "-")
	f.Kubectl(t, "wait", "--for=condition=Ready", "servicecidr/more", "--timeout=60s")
	f.KubectlInput(t, serviceOfMore, "create", "-f", "-")
	f.eventuallyIn(t, "client-1", "ok", "get", "http://203.0.113.10/ok")
	f.eventuallyIn(t, "client-2", "ok", "get", "http://elsewhere/ok")
	for name, address := range f.nodes {
		if got := fetch(t, "http://"+address+":30099/ok"); got != "ok" {
			t.Errorf("through %s: %q", name, got)
		}
	}
	if got := f.Kubectl(t, "get", "ipaddress/203.0.113.10", "-o", "jsonpath={.spec.parentRef.resource}/{.spec.parentRef.name}"); got != "services/elsewhere" {
		t.Errorf("the address is of %q", got)
	}
	f.Kubectl(t, "delete", "servicecidr/more", "--wait=false")
	f.Kubectl(t, "wait", "--for=condition=Ready=False", "servicecidr/more", "--timeout=60s")
	f.Kubectl(t, "delete", "service/elsewhere")
	f.Kubectl(t, "wait", "--for=delete", "servicecidr/more", "--timeout=60s")
}
