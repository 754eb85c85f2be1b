package customresourcedefinition_test

import (
	"strings"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	registrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/controller/apiservice"
	"navarch.dev/navarch/services/controller/controllertest"
	"navarch.dev/navarch/services/controller/customresourcedefinition"
	"navarch.dev/navarch/services/controller/disruption"
	"navarch.dev/navarch/services/controller/horizontalpodautoscaler"
)

const fleets = `
metadata: {name: fleets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: fleets, kind: Fleet}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
    subresources: {scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size, labelSelectorPath: .status.selector}}
`

// resourceOf is the resource of an object whose kind has a regular plural.
func resourceOf(u *unstructured.Unstructured) *storev1.Resource {
	gvk := u.GroupVersionKind()
	return &storev1.Resource{Group: gvk.Group, Version: gvk.Version, Resource: strings.ToLower(gvk.Kind) + "s"}
}

// TestCustomKindsScale has an autoscaler of custom objects, and a budget of the
// pods of one.
func TestCustomKindsScale(t *testing.T) {
	c := controllertest.New(t)
	c.Start(
		c.Controller(customresourcedefinition.New(c.Deps, c.Inventory)),
		c.Controller(disruption.New(c.Deps)),
		c.Controller(horizontalpodautoscaler.New(c.Deps, func(horizontalpodautoscaler.Inputs) horizontalpodautoscaler.Sources {
			return horizontalpodautoscaler.Sources{}
		})),
	)
	c.Apply(definition(t, fleets))
	established(c, "fleets.example.com")
	fleet := widget("blue")
	fleet.SetKind("Fleet")
	fleet.Object["spec"] = map[string]any{"size": int64(4)}
	create(t, c, fleet)
	controller := metav1.OwnerReference{APIVersion: "example.com/v1", Kind: "Fleet", Name: "blue", UID: fleet.GetUID(), Controller: ptr.To(true)}

	c.Apply(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "ship", Labels: map[string]string{"app": "ship"}, OwnerReferences: []metav1.OwnerReference{controller}},
		Spec:       controllertest.Template("ship", "ship:1").Spec,
	})
	c.Apply(&policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "ships"}, Spec: policyv1.PodDisruptionBudgetSpec{
		MinAvailable: ptr.To(intstr.FromString("50%")), Selector: controllertest.Selector("ship"),
	}})
	controllertest.Await(c, "what the object says is expected", func(all []*policyv1.PodDisruptionBudget) bool {
		return all[0].Status.ExpectedPods == 4 && all[0].Status.DesiredHealthy == 2
	})

	c.Apply(&autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "blue"}, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "example.com/v1", Kind: "Fleet", Name: "blue"},
		MinReplicas:    ptr.To[int32](6), MaxReplicas: 9,
	}})
	controllertest.Await(c, "the autoscaler's least", func(all []*autoscalingv2.HorizontalPodAutoscaler) bool { return all[0].Status.DesiredReplicas == 6 })
	resp, err := c.Store().Get(t.Context(), &storev1.GetRequest{Resource: resourceOf(fleet), Namespace: "default", Name: "blue"})
	if err != nil {
		t.Fatal(err)
	}
	scaled := &unstructured.Unstructured{}
	if err := kinds.Decode(resp.GetObject().GetObject(), scaled); err != nil {
		t.Fatal(err)
	}
	if size := scaled.Object["spec"].(map[string]any)["size"]; size != int64(6) {
		t.Errorf("the object has size %v", size)
	}
}

// TestCustomVersionsAreRegistered has an APIService for each served version of
// custom kinds, as long as there is one.
func TestCustomVersionsAreRegistered(t *testing.T) {
	c := controllertest.New(t)
	c.Start(c.Controller(customresourcedefinition.New(c.Deps, c.Inventory)), c.Controller(apiservice.NewRegistration(c.Deps)))
	first, second := definition(t, widgets), definition(t, fleets)
	find := func(all []*registrationv1.APIService) *registrationv1.APIService {
		for _, s := range all {
			if s.Name == "v1.example.com" {
				return s
			}
		}
		return nil
	}
	exists := func(all []*registrationv1.APIService) bool { return find(all) != nil }
	c.Apply(first)
	s := find(controllertest.Await(c, "the version's APIService", exists))
	if s.Spec.Service != nil || s.Spec.GroupPriorityMinimum != 1000 || s.Spec.VersionPriority != 100 {
		t.Errorf("it says %+v", s.Spec)
	}
	c.Apply(second)
	established(c, second.Name)
	c.Remove(first, "")
	controllertest.Await(c, "one definition fewer", func(all []*kinds.Definition) bool { return len(all) == 1 })
	c.Remove(s, "")
	controllertest.Await(c, "the APIService made anew", func(all []*registrationv1.APIService) bool {
		again := find(all)
		return again != nil && again.UID != s.UID
	})
	c.Remove(second, "")
	controllertest.Await(c, "no APIService", func(all []*registrationv1.APIService) bool { return !exists(all) })
}
