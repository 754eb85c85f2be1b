package endpoints_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/endpoints"
)

func service(change func(*corev1.ServiceSpec)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", Labels: map[string]string{"tier": "front"}}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"},
		Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http"), Protocol: corev1.ProtocolTCP}},
	}}
	if change != nil {
		change(&s.Spec)
	}
	return s
}

// pod is one with a port named http, and an address when it is made to run.
func pod(name string, port int32) *corev1.Pod {
	template := controllertest.Template("web", "web:1")
	template.Spec.NodeName = "n1"
	template.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: port, Protocol: corev1.ProtocolTCP}}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: template.Labels}, Spec: template.Spec}
}

// shown is what the Endpoints of the Service say: for each subset its ports,
// its pods, and after a slash those that are not ready; "none" if there is no
// object.
func shown(all []*corev1.Endpoints) string {
	for _, e := range all {
		if e.Name != "web" {
			continue
		}
		var out []string
		for _, s := range e.Subsets {
			var ports, ready, unready []string
			for _, p := range s.Ports {
				ports = append(ports, fmt.Sprint(p.Port))
			}
			for _, a := range s.Addresses {
				ready = append(ready, a.TargetRef.Name)
			}
			for _, a := range s.NotReadyAddresses {
				unready = append(unready, a.TargetRef.Name)
			}
			out = append(out, strings.Join(ports, ",")+": "+strings.Join(ready, " ")+"/"+strings.Join(unready, " "))
		}
		return strings.Join(out, "; ")
	}
	return "none"
}

// TestEndpoints has two pods: "a" is ready, "b" is not.
func TestEndpoints(t *testing.T) {
	for name, tt := range map[string]struct {
		service func(*corev1.ServiceSpec)
		b       func(*corev1.Pod)
		want    string
	}{
		"ready and other pods":                        {nil, nil, "8080: a/b"},
		"pods on another port":                        {nil, func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].ContainerPort = 9090 }, "8080: a/; 9090: /b"},
		"pods without the port":                       {nil, func(p *corev1.Pod) { p.Spec.Containers[0].Ports = nil }, "8080: a/"},
		"a port by number":                            {func(s *corev1.ServiceSpec) { s.Ports[0].TargetPort = intstr.FromInt32(70) }, nil, "70: a/b"},
		"the Service's own port, if none is named":    {func(s *corev1.ServiceSpec) { s.Ports[0].TargetPort = intstr.IntOrString{} }, nil, "80: a/b"},
		"all that may be known before they are ready": {func(s *corev1.ServiceSpec) { s.PublishNotReadyAddresses = true }, nil, "8080: a b/"},
		"other labels":                                {nil, func(p *corev1.Pod) { p.Labels = map[string]string{"app": "db"} }, "8080: a/"},
		"a headless Service without ports":            {func(s *corev1.ServiceSpec) { s.ClusterIP, s.Ports = corev1.ClusterIPNone, nil }, nil, ": a/b"},
		"without a selector it is its author's":       {func(s *corev1.ServiceSpec) { s.Selector = nil }, nil, "none"},
		"an ExternalName has none": {func(s *corev1.ServiceSpec) {
			s.Type, s.ExternalName, s.Ports, s.Selector = corev1.ServiceTypeExternalName, "example.com", nil, map[string]string{"app": "web"}
		}, nil, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			c := controllertest.New(t)
			a, b := pod("a", 8080), pod("b", 8080)
			if tt.b != nil {
				tt.b(b)
			}
			c.Apply(a, b)
			for _, p := range []*corev1.Pod{a, b} {
				if err := c.SetReady(t.Context(), p, p == a); err != nil {
					t.Fatal(err)
				}
			}
			other := service(nil)
			other.Name = "zz-last"
			c.Apply(service(tt.service), other)
			c.Start(c.Controller(endpoints.New(c.Deps)))
			controllertest.Await(c, "the Endpoints "+tt.want, func(all []*corev1.Endpoints) bool {
				got := shown(all)
				seen := len(all) > 0 && all[len(all)-1].Name == "zz-last" // it is made of the same pods
				// The order of two pods is that of their addresses.
				return seen && (got == tt.want || strings.ReplaceAll(got, "b a", "a b") == tt.want)
			})
		})
	}
}

func TestTheyFollow(t *testing.T) {
	c := controllertest.New(t)
	c.Start(c.Controller(endpoints.New(c.Deps)))
	s, a := service(nil), pod("a", 8080)
	await := func(want string) {
		t.Helper()
		controllertest.Await(c, "the Endpoints "+want, func(all []*corev1.Endpoints) bool { return shown(all) == want })
	}
	c.Apply(s)
	await("")
	c.Apply(a)
	if err := c.SetReady(t.Context(), a, true); err != nil {
		t.Fatal(err)
	}
	await("8080: a/")
	if err := c.Get(t.Context(), "default", "a", a); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReady(t.Context(), a, false); err != nil {
		t.Fatal(err)
	}
	await("8080: /a")
	controllertest.Change(c, s, "", func(s *corev1.Service) { s.Labels = map[string]string{"tier": "back"} })
	controllertest.Await(c, "the Service's labels", func(all []*corev1.Endpoints) bool {
		return len(all) > 0 && all[len(all)-1].Labels["tier"] == "back"
	})
	c.Remove(a, "") // it is on a node, and ends later
	await("")
	c.Remove(s, "")
	await("none")
}

// TestOthersAreLeftAlone deletes a Service whose Endpoints somebody else wrote.
func TestOthersAreLeftAlone(t *testing.T) {
	c := controllertest.New(t)
	c.Start(c.Controller(endpoints.New(c.Deps)))
	s := service(func(s *corev1.ServiceSpec) { s.Selector = nil })
	theirs := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Subsets: []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1", TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "far"}}}, Ports: []corev1.EndpointPort{{Port: 1, Protocol: corev1.ProtocolTCP}},
	}}}
	last := service(nil)
	last.Name = "zz-last"
	c.Apply(theirs, s)
	c.Remove(s, "")
	c.Apply(last)
	controllertest.Await(c, "theirs, after all else", func(all []*corev1.Endpoints) bool {
		return shown(all) == "1: far/" && all[len(all)-1].Name == "zz-last"
	})
}
