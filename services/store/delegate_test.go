package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/metadata"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/identity"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/auth"
	"navarch.dev/navarch/services/store/storetest"
)

func TestAuthorizeForOthers(t *testing.T) {
	s := storetest.New(t, storetest.WithControl(auth.New(auth.DefaultConfig())), storetest.WithSeed(auth.Bootstrap()...))
	store := storev1.NewStoreServiceClient(s.Conn(identity.Service(identity.Gateway)))
	list := &storev1.AuthorizeRequest{Verb: "list", Resource: &storev1.Resource{Group: "example.com", Version: "v1", Resource: "widgets"}, Namespace: "default"}
	as := func(groups ...string) []string {
		md := []string{"navarch-remote-user", "jane", "navarch-remote-uid", "7", "navarch-remote-extra", "a=b", "navarch-remote-extra", "a=c"}
		for _, g := range groups {
			md = append(md, "navarch-remote-group", g)
		}
		return md
	}
	for _, tc := range []struct {
		name    string
		md      []string
		request *storev1.AuthorizeRequest
		want    string
	}{
		{"a master", as(identity.GroupMasters), list, ""},
		{"somebody", as(identity.GroupAuthenticated), list, `widgets.example.com is forbidden: User "jane" cannot list resource "widgets" in API group "example.com" in the namespace "default"`},
		{"a path", as(identity.GroupAuthenticated), &storev1.AuthorizeRequest{Verb: "get", Path: "/apis/example.com/v1"}, ""},
		{"another verb of it", as(identity.GroupAuthenticated), &storev1.AuthorizeRequest{Verb: "post", Path: "/apis/example.com/v1"}, `forbidden: User "jane" cannot post path "/apis/example.com/v1"`},
		{"no verb", as(identity.GroupMasters), &storev1.AuthorizeRequest{Path: "/apis"}, "the request names no verb"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, err := store.Authorize(metadata.AppendToOutgoingContext(t.Context(), tc.md...), tc.request)
			if err != nil {
				if got := apistatus.FromGRPC(err).Error(); got != tc.want {
					t.Errorf("the error is %q, not %q", got, tc.want)
				}
				return
			}
			if tc.want != "" || resp.GetUser() != "jane" || resp.GetUid() != "7" || !cmp.Equal(resp.GetExtra()["a"].GetValues(), []string{"b", "c"}) {
				t.Errorf("the caller is %v", resp)
			}
		})
	}
}

func TestLocate(t *testing.T) {
	s := storetest.New(t, storetest.WithControl(auth.New(auth.DefaultConfig())), storetest.WithSeed(auth.Bootstrap()...))
	ports := []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP}}
	service := func(name string, spec corev1.ServiceSpec) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec}
	}
	create(t, s.Client(storetest.Admin()),
		service("api", corev1.ServiceSpec{Ports: ports}), service("empty", corev1.ServiceSpec{Ports: ports}),
		service("named", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "api.example.com"}),
		&discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "api-1", Labels: map[string]string{discoveryv1.LabelServiceName: "api"}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: ptr.To[int32](8443), Protocol: ptr.To(corev1.ProtocolTCP)}},
			Endpoints: []discoveryv1.Endpoint{
				{Addresses: []string{"192.0.2.1"}},
				{Addresses: []string{"192.0.2.2"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}},
			},
		})
	locate := func(as identity.Identity, name string, port int32) (*storev1.LocateResponse, error) {
		resp, err := storev1.NewStoreServiceClient(s.Conn(as)).Locate(t.Context(), &storev1.LocateRequest{Namespace: "default", Service: name, Port: port})
		return resp, apistatus.FromGRPC(err)
	}
	for seen := false; !seen; { // what was written gets into memory by and by
		_, err := locate(identity.Service(identity.Gateway), "api", 443)
		seen = err == nil
	}
	for _, who := range []string{identity.Gateway, identity.Controller} {
		as := identity.Service(who)
		if at, err := locate(as, "api", 443); at.GetTargetAddress() != "192.0.2.1" || at.GetTargetPort() != 8443 || at.GetPod() != "" {
			t.Errorf("%s finds %v: %v", who, at, err)
		}
		if at, err := locate(as, "named", 6443); at.GetTargetAddress() != "api.example.com" || at.GetTargetPort() != 6443 {
			t.Errorf("%s finds %v: %v", who, at, err)
		}
	}
	for _, tc := range []struct {
		as      identity.Identity
		service string
		port    int32
		is      func(error) bool
	}{
		{identity.Service(identity.Gateway), "none", 443, apierrors.IsNotFound},
		{identity.Service(identity.Gateway), "api", 80, apierrors.IsServiceUnavailable},
		{identity.Service(identity.Gateway), "empty", 443, apierrors.IsServiceUnavailable},
		{identity.Service(identity.Proxy), "api", 443, apierrors.IsForbidden},
	} {
		if at, err := locate(tc.as, tc.service, tc.port); !tc.is(err) {
			t.Errorf("%s of %s, asked by %s: %v, %v", tc.service, "default", tc.as.Name, at, err)
		}
	}
}
