package endpointslicemirroring_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/endpointslicemirroring"
	"navarch.dev/navarch/services/controller/garbagecollector"
)

func start(t *testing.T) *controllertest.Cluster {
	c := controllertest.New(t)
	c.Start(c.Controller(endpointslicemirroring.New(c.Deps)), c.Controller(garbagecollector.New(c.Deps, c.Inventory)))
	return c
}

func meta(labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "default", Name: "byhand", Labels: labels}
}

func service() *corev1.Service {
	return &corev1.Service{ObjectMeta: meta(nil), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
}

func endpoints(labels map[string]string, ready, notReady []string) *corev1.Endpoints {
	subset := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Port: 8080, Protocol: corev1.ProtocolTCP}}}
	for _, ip := range ready {
		subset.Addresses = append(subset.Addresses, corev1.EndpointAddress{IP: ip})
	}
	for _, ip := range notReady {
		subset.NotReadyAddresses = append(subset.NotReadyAddresses, corev1.EndpointAddress{IP: ip})
	}
	return &corev1.Endpoints{ObjectMeta: meta(labels), Subsets: []corev1.EndpointSubset{subset}}
}

// shown is "family address[!] …" for each slice of the Service.
func shown(all []*discoveryv1.EndpointSlice) string {
	var out []string
	for _, s := range all {
		if s.Labels[discoveryv1.LabelServiceName] != "byhand" {
			continue
		}
		line := string(s.AddressType)
		for _, e := range s.Endpoints {
			line += " " + e.Addresses[0]
			if !*e.Conditions.Ready {
				line += "!"
			}
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

func await(c *controllertest.Cluster, want string) {
	controllertest.Await(c, "slices: "+want, func(all []*discoveryv1.EndpointSlice) bool { return shown(all) == want })
}

func TestMirrors(t *testing.T) {
	c := start(t)
	e := endpoints(nil, []string{"192.0.2.1", "2001:db8::1"}, []string{"192.0.2.2"})
	c.Apply(service(), e)
	await(c, "IPv4 192.0.2.1 192.0.2.2!; IPv6 2001:db8::1")
	controllertest.Change(c, e, "", func(e *corev1.Endpoints) { e.Subsets[0].Addresses = e.Subsets[0].Addresses[:1] })
	await(c, "IPv4 192.0.2.1 192.0.2.2!")
	controllertest.Change(c, e, "", func(e *corev1.Endpoints) { e.Subsets[0].Ports[0].Port = 9090 })
	controllertest.Await(c, "the other port", func(all []*discoveryv1.EndpointSlice) bool {
		return slices.ContainsFunc(all, func(s *discoveryv1.EndpointSlice) bool { return len(s.Ports) == 1 && *s.Ports[0].Port == 9090 })
	})
	await(c, "IPv4 192.0.2.1 192.0.2.2!")
	c.Remove(e, metav1.DeletePropagationBackground)
	await(c, "")
}

func TestEndsWhenTheServiceGetsASelector(t *testing.T) {
	c := start(t)
	s := service()
	c.Apply(s, endpoints(nil, []string{"192.0.2.1"}, nil))
	await(c, "IPv4 192.0.2.1")
	controllertest.Change(c, s, "", func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "web"} })
	await(c, "")
}

// Endpoints that ask not to be mirrored are left alone; others that come later
// show that they had their turn.
func TestLeavesAlone(t *testing.T) {
	c := start(t)
	c.Apply(service(), endpoints(map[string]string{discoveryv1.LabelSkipMirror: "true"}, []string{"192.0.2.1"}, nil))
	other, otherEndpoints := service(), endpoints(nil, []string{"192.0.2.9"}, nil)
	other.Name, otherEndpoints.Name = "other", "other"
	c.Apply(other, otherEndpoints)
	all := controllertest.Await(c, "the other's slice", func(all []*discoveryv1.EndpointSlice) bool {
		return slices.ContainsFunc(all, func(s *discoveryv1.EndpointSlice) bool { return s.Labels[discoveryv1.LabelServiceName] == "other" })
	})
	if got := shown(all); got != "" {
		t.Errorf("slices %s", got)
	}
}
