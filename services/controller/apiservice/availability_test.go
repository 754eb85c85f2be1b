package apiservice_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	registrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/extension"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/apiservice"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/store/auth"
	"navarch.dev/navarch/services/store/storetest"
)

// noAgents is a cluster whose endpoints are no pods.
type noAgents struct{}

func (noAgents) Dial(_ context.Context, node, _ string) (grpc.ClientConnInterface, error) {
	return nil, fmt.Errorf("there is no agent of %q", node)
}

// change changes an object as it is now.
func change(t *testing.T, c *controllertest.Cluster, obj kinds.Object, how func()) {
	t.Helper()
	err := c.RetryOnConflict(t.Context(), obj, func() bool { how(); return true }, c.Update)
	if err != nil {
		t.Fatal(err)
	}
}

// The steps lead from an APIService of nothing to one that is served, and on to
// one that fails; each is one change.
func TestAvailability(t *testing.T) {
	var broken atomic.Bool
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() || r.URL.Path != "/apis/example.com/v1" || r.Header.Get("X-Remote-User") != "system:kube-aggregator" || r.Header.Get("X-Remote-Group") != "system:masters" {
			http.Error(w, "no", http.StatusTeapot)
		}
	}))
	t.Cleanup(server.Close)
	c := controllertest.New(t, storetest.WithControl(auth.New(auth.DefaultConfig())), storetest.WithSeed(auth.Bootstrap()...))
	c.Start(c.Controller(apiservice.NewAvailability(c.Deps, extension.Connector{
		Services: extension.Services{Store: c.Deps.Client.Store(), Agents: noAgents{}},
	})))
	// Its port stands for what must not be asked before it is found.
	api := registered("v1", "example.com", nil, &registrationv1.ServiceReference{Namespace: "default", Name: "api", Port: ptr.To[int32](443)})
	api.Spec.InsecureSkipTLSVerify = true
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "api"}, Spec: corev1.ServiceSpec{
		Ports: []corev1.ServicePort{{Name: "other", Port: 80, Protocol: corev1.ProtocolTCP}},
	}}
	port := int32(server.Listener.Addr().(*net.TCPAddr).Port)
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "api-1", Labels: map[string]string{discoveryv1.LabelServiceName: "api"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: &port, Protocol: ptr.To(corev1.ProtocolTCP)}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}}},
	}
	for _, step := range []struct {
		change          func()
		status          registrationv1.ConditionStatus
		reason, message string
	}{
		{func() { c.Apply(api) }, "False", "ServiceNotFound", `service/api in "default" is not present`},
		{func() { c.Apply(service) }, "False", "ServicePortError", `service/api in "default" is not listening on port 443`},
		{func() {
			change(t, c, service, func() { service.Spec.Ports[0].Name, service.Spec.Ports[0].Port = "https", 443 })
		}, "False", "EndpointsNotFound", `cannot find endpointslices for service/api in "default"`},
		{func() { c.Apply(slice) }, "False", "MissingEndpoints", `endpointslices for service/api in "default" have no addresses with port name "https"`},
		{func() { change(t, c, slice, func() { slice.Endpoints[0].Conditions.Ready = ptr.To(true) }) }, "True", "Passed", "all checks passed"},
		{func() {
			broken.Store(true)
			change(t, c, slice, func() { slice.Annotations = map[string]string{"look": "again"} })
		},
			"False", "FailedDiscoveryCheck", "bad status from https://api.default.svc:443/apis/example.com/v1: 418"},
		{func() {
			broken.Store(false)
			change(t, c, api, func() { api.Spec.InsecureSkipTLSVerify, api.Spec.CABundle = false, certificateOf(server) })
		}, "False", "FailedDiscoveryCheck", "x509: certificate is valid for example.com"},
		{func() { change(t, c, api, func() { api.Spec.Service, api.Spec.CABundle = nil, nil }) }, "True", "Local", "Local APIServices are always available"},
	} {
		step.change()
		controllertest.Await(c, step.reason+": "+step.message, func(all []*registrationv1.APIService) bool {
			now := find(all, "v1.example.com").Status.Conditions
			return len(now) == 1 && now[0].Status == step.status && now[0].Reason == step.reason && strings.Contains(now[0].Message, step.message)
		})
	}
}

func certificateOf(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}
