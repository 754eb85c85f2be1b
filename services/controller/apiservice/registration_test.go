package apiservice_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	registrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/apiservice"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/store/auth"
	"navarch.dev/navarch/services/store/storetest"
)

const managed = "kube-aggregator.kubernetes.io/automanaged"

func registered(version, group string, labels map[string]string, service *registrationv1.ServiceReference) *registrationv1.APIService {
	return &registrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: version + "." + group, Labels: labels},
		Spec: registrationv1.APIServiceSpec{
			Group: group, Version: version, Service: service, GroupPriorityMinimum: 100, VersionPriority: 10,
		},
	}
}

func find(all []*registrationv1.APIService, name string) *registrationv1.APIService {
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	return nil
}

func TestServedVersionsAreRegistered(t *testing.T) {
	c := controllertest.New(t, storetest.WithControl(auth.New(auth.DefaultConfig())), storetest.WithSeed(auth.Bootstrap()...))
	onStart := map[string]string{managed: "onstart"}
	c.Apply(registered("v1beta1", "gone.example.com", onStart, nil))
	c.Apply(registered("v1", "apps", onStart, nil))                                                      // with another priority
	c.Apply(registered("v1", "batch", nil, &registrationv1.ServiceReference{Namespace: "a", Name: "b"})) // somebody's own
	c.Apply(registered("v1", "example.com", map[string]string{}, &registrationv1.ServiceReference{Namespace: "a", Name: "b"}))
	c.Start(c.Controller(apiservice.NewRegistration(c.Deps)))
	controllertest.Await(c, "all versions, and no stale one", func(all []*registrationv1.APIService) bool {
		for _, k := range kinds.Default().All() {
			if _, builtin := kinds.BuiltinPriority(k.GVK().GroupVersion()); builtin && find(all, k.Version+"."+k.Group) == nil {
				return false
			}
		}
		apps := find(all, "v1.apps")
		return find(all, "v1beta1.gone.example.com") == nil && apps.Spec.GroupPriorityMinimum == 17800 && apps.Spec.VersionPriority == 15
	})
	controllertest.Await(c, "what is not the cluster's as it was", func(all []*registrationv1.APIService) bool {
		batch, other, core := find(all, "v1.batch"), find(all, "v1.example.com"), find(all, "v1.")
		return batch.Spec.Service != nil && other.Spec.Service != nil && core.Status.Conditions[0].Reason == "Local" && core.Labels[managed] == "onstart"
	})
}
