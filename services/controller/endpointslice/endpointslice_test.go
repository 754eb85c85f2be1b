package endpointslice_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/endpoints"
	"navarch.dev/navarch/services/controller/endpointslice"
)

func start(t *testing.T) *controllertest.Cluster {
	c := controllertest.New(t)
	c.Start(c.Controller(endpointslice.New(c.Deps)), c.Controller(endpoints.New(c.Deps)))
	return c
}

func service() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Labels: map[string]string{"tier": "front"}},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http"), Protocol: corev1.ProtocolTCP}},
		},
	}
}

func pod(name string, port int32) *corev1.Pod {
	template := controllertest.Template("web", "web:1")
	template.Spec.NodeName = "n1"
	template.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: port, Protocol: corev1.ProtocolTCP}}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: template.Labels}, Spec: template.Spec}
}

// own returns the slices of the Service web; the cluster has another one.
func own(all []*discoveryv1.EndpointSlice) (slices []*discoveryv1.EndpointSlice, total int) {
	for _, s := range all {
		if s.Labels[discoveryv1.LabelServiceName] == "web" {
			slices = append(slices, s)
			total += len(s.Endpoints)
		}
	}
	return slices, total
}

func ready(t *testing.T, c *controllertest.Cluster, p *corev1.Pod, is bool) {
	t.Helper()
	if err := c.Get(t.Context(), p.Namespace, p.Name, p); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReady(t.Context(), p, is); err != nil {
		t.Fatal(err)
	}
}

func TestConditionsFollowThePod(t *testing.T) {
	c := start(t)
	c.Apply(service())
	controllertest.Await(c, "one empty slice", func(all []*discoveryv1.EndpointSlice) bool {
		s, n := own(all)
		return len(s) == 1 && n == 0
	})
	p := pod("a", 8080)
	c.Apply(p)
	ready(t, c, p, false)
	check := func(what string, ready, serving, terminating bool) *discoveryv1.EndpointSlice {
		t.Helper()
		var found *discoveryv1.EndpointSlice
		controllertest.Await(c, what, func(all []*discoveryv1.EndpointSlice) bool {
			slices, n := own(all)
			if len(slices) != 1 || n != 1 {
				return false
			}
			found = slices[0]
			cond := found.Endpoints[0].Conditions
			return *cond.Ready == ready && *cond.Serving == serving && *cond.Terminating == terminating
		})
		return found
	}
	check("an endpoint that is not ready", false, false, false)
	ready(t, c, p, true)
	slice := check("a ready endpoint", true, true, false)
	e := slice.Endpoints[0]
	if *slice.Ports[0].Port != 8080 || *slice.Ports[0].Name != "http" || *e.NodeName != "n1" || e.TargetRef.UID != p.UID {
		t.Errorf("slice %+v", slice)
	}
	if slice.Labels["tier"] != "front" || slice.Labels[discoveryv1.LabelManagedBy] != endpointslice.ManagedBy || slice.OwnerReferences[0].Name != "web" {
		t.Errorf("metadata %+v", slice.ObjectMeta)
	}
	controllertest.Await(c, "a classic address", func(all []*corev1.Endpoints) bool {
		for _, ep := range all {
			if ep.Name == "web" && len(ep.Subsets) == 1 {
				return len(ep.Subsets[0].Addresses) == 1 && ep.Subsets[0].Ports[0].Port == 8080
			}
		}
		return false
	})
	c.Remove(p, "")
	check("an endpoint that serves to its end", false, true, true)
	controllertest.Await(c, "no classic address", func(all []*corev1.Endpoints) bool {
		for _, ep := range all {
			if ep.Name == "web" {
				return len(ep.Subsets) == 0
			}
		}
		return false
	})
}

func TestSlicesHoldAHundred(t *testing.T) {
	c := start(t)
	c.Apply(service())
	for i := range 150 {
		p := pod(fmt.Sprintf("p%03d", i), 8080)
		c.Apply(p)
		ready(t, c, p, true)
	}
	controllertest.Await(c, "150 endpoints", func(all []*discoveryv1.EndpointSlice) bool {
		slices, n := own(all)
		for _, s := range slices {
			if len(s.Endpoints) > 100 {
				t.Fatalf("a slice of %d endpoints", len(s.Endpoints))
			}
		}
		return n == 150 && len(slices) == 2
	})
}

func TestNamedPortsThatDifferHaveSlicesOfTheirOwn(t *testing.T) {
	c := start(t)
	c.Apply(service())
	for i, port := range []int32{8080, 9090} {
		p := pod(fmt.Sprint("p", i), port)
		c.Apply(p)
		ready(t, c, p, true)
	}
	controllertest.Await(c, "two slices", func(all []*discoveryv1.EndpointSlice) bool {
		slices, n := own(all)
		return len(slices) == 2 && n == 2 && *slices[0].Ports[0].Port != *slices[1].Ports[0].Port
	})
}

// TestWhomAServiceSelects has pods and the Service change sides.
func TestWhomAServiceSelects(t *testing.T) {
	c := start(t)
	s := service()
	c.Apply(s)
	pods := make(map[string]*corev1.Pod)
	for name, app := range map[string]string{"a": "web", "b": "web", "c": "db"} {
		p := pod(name, 8080)
		p.Labels = map[string]string{"app": app}
		c.Apply(p)
		ready(t, c, p, true)
		pods[name] = p
	}
	await := func(names ...string) {
		t.Helper()
		controllertest.Await(c, fmt.Sprint("the endpoints ", names), func(all []*discoveryv1.EndpointSlice) bool {
			slices, n := own(all)
			found := make(map[string]bool)
			for _, s := range slices {
				for _, e := range s.Endpoints {
					found[e.TargetRef.Name] = true
				}
			}
			for _, name := range names {
				if !found[name] {
					return false
				}
			}
			return n == len(names)
		})
		controllertest.Await(c, fmt.Sprint("the addresses ", names), func(all []*corev1.Endpoints) bool {
			for _, e := range all {
				if e.Name == "web" {
					return len(names) == 0 && len(e.Subsets) == 0 || len(e.Subsets) == 1 && len(e.Subsets[0].Addresses) == len(names)
				}
			}
			return false
		})
	}
	await("a", "b")
	controllertest.Change(c, pods["c"], "", func(p *corev1.Pod) { p.Labels["app"] = "web" })
	await("a", "b", "c")
	controllertest.Change(c, pods["a"], "", func(p *corev1.Pod) { p.Labels = nil })
	await("b", "c")
	controllertest.Change(c, pods["b"], "", func(p *corev1.Pod) { p.Labels["tier"] = "back" })
	controllertest.Change(c, s, "", func(s *corev1.Service) { s.Spec.Selector["tier"] = "back" })
	await("b")
	controllertest.Change(c, s, "", func(s *corev1.Service) { delete(s.Spec.Selector, "tier") })
	await("b", "c")
	c.Remove(pods["b"], "")
	controllertest.Change(c, s, "", func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "nobody"} })
	await()
}

// TestServiceThatIsBeingDeleted deletes a Service in the foreground: its slices follow
// its pods while they are there, and are not made again.
func TestServiceThatIsBeingDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t)
		s, p := service(), pod("a", 8080)
		c.Apply(s, p)
		ready(t, c, p, true)
		awaitReady := func(want bool) []*discoveryv1.EndpointSlice {
			all := controllertest.Await(c, fmt.Sprint("an endpoint, ready: ", want), func(all []*discoveryv1.EndpointSlice) bool {
				slices, total := own(all)
				return len(slices) == 1 && total == 1 && *slices[0].Endpoints[0].Conditions.Ready == want
			})
			slices, _ := own(all)
			return slices
		}
		awaitReady(true)
		c.Remove(s, metav1.DeletePropagationForeground)
		ready(t, c, p, false)
		c.Remove(awaitReady(false)[0], "")
		ready(t, c, p, true)
		synctest.Wait()
		all := controllertest.Await(c, "any slices", func([]*discoveryv1.EndpointSlice) bool { return true })
		if slices, _ := own(all); len(slices) != 0 {
			t.Errorf("%d slices were made", len(slices))
		}
	})
}
