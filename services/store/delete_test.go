package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/storetest"
)

func TestPodDeletionWaitsForTheAgent(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	unscheduled, p := pod("unscheduled"), pod("p")
	create(t, c, unscheduled, p)
	if err := c.Delete(ctx, unscheduled, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := reread(t, c, unscheduled); !apierrors.IsNotFound(err) {
		t.Errorf("an unscheduled pod lingers: %v", err)
	}
	instant := pod("instant")
	instant.Spec.TerminationGracePeriodSeconds = ptr.To[int64](0)
	create(t, c, instant)
	bind(t, c, &storev1.Binding{Namespace: "default", Name: "instant", NodeName: "n1"})
	if err := c.Delete(ctx, instant, client.DeleteOptions{GracePeriodSeconds: ptr.To[int64](60)}); err != nil {
		t.Fatal(err)
	}
	if err := reread(t, c, instant); err != nil || *instant.DeletionGracePeriodSeconds != 60 {
		t.Errorf("a pod that needs no time does not get what was asked for: %v", err)
	}
	bind(t, c, &storev1.Binding{Namespace: "default", Name: "p", NodeName: "n1"})
	if err := c.Delete(ctx, p, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := reread(t, c, p); err != nil || p.DeletionTimestamp == nil || *p.DeletionGracePeriodSeconds != 30 {
		t.Fatalf("a pod on a node is not marked: %v %+v", err, p.ObjectMeta)
	}
	long, short, now := int64(60), int64(5), int64(0)
	for _, step := range []struct{ ask, want int64 }{{long, 30}, {short, 5}} {
		if err := c.Delete(ctx, p, client.DeleteOptions{GracePeriodSeconds: &step.ask}); err != nil {
			t.Fatal(err)
		}
		if err := reread(t, c, p); err != nil || *p.DeletionGracePeriodSeconds != step.want {
			t.Errorf("after asking for %ds: %v, %d", step.ask, err, *p.DeletionGracePeriodSeconds)
		}
	}
	if err := c.Delete(ctx, p, client.DeleteOptions{GracePeriodSeconds: &now, UID: "another"}); !apierrors.IsConflict(err) {
		t.Errorf("deleting another pod of that name: %v", err)
	}
	if err := c.Delete(ctx, p, client.DeleteOptions{GracePeriodSeconds: &now, UID: p.UID}); err != nil {
		t.Fatal(err)
	}
	if err := reread(t, c, p); !apierrors.IsNotFound(err) {
		t.Errorf("after the agent's delete: %v", err)
	}
}

func TestFinalizersHoldAnObject(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	cm := configMap("held", nil)
	cm.Finalizers = []string{"example.com/hold"}
	create(t, c, cm)
	if err := c.Delete(ctx, cm, client.DeleteOptions{Propagation: metav1.DeletePropagationForeground}); err != nil {
		t.Fatal(err)
	}
	if err := reread(t, c, cm); err != nil || cm.DeletionTimestamp == nil {
		t.Fatalf("not held: %v", err)
	}
	if diff := cmp.Diff([]string{"example.com/hold", metav1.FinalizerDeleteDependents}, cm.Finalizers); diff != "" {
		t.Errorf("finalizers (-want +got):\n%s", diff)
	}
	cm.Finalizers = nil
	if err := c.Update(ctx, cm); err != nil {
		t.Fatal(err)
	}
	if err := reread(t, c, cm); !apierrors.IsNotFound(err) {
		t.Errorf("after the last finalizer: %v", err)
	}
}

func TestNamespaceIsFinalized(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}
	create(t, c, ns)
	if err := c.Delete(ctx, ns, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := reread(t, c, ns); err != nil || ns.Status.Phase != corev1.NamespaceTerminating {
		t.Fatalf("after delete: %v, phase %q", err, ns.Status.Phase)
	}
	if ns.DeletionTimestamp == nil || ns.DeletionGracePeriodSeconds != nil {
		t.Errorf("being deleted since %v, with a grace of %v, which namespaces do not have", ns.DeletionTimestamp, ns.DeletionGracePeriodSeconds)
	}
	late := configMap("late", nil)
	late.Namespace = "team"
	if err := c.Create(ctx, late); !apierrors.IsForbidden(err) || !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Errorf("create in a namespace that ends: %v", err)
	}
	ns.Spec.Finalizers = nil
	any, err := kinds.Encode(ns)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Store().Update(ctx, &storev1.UpdateRequest{
		Resource: &storev1.Resource{Version: "v1", Resource: "namespaces"}, Name: "team", Subresource: "finalize",
		Object: &storev1.Object{Object: any},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := reread(t, c, ns); !apierrors.IsNotFound(err) {
		t.Errorf("after finalize: %v", err)
	}
	if err := c.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, client.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("delete of default: %v", err)
	}
}

// What a collection's deletion answers is the list of what there was.
func TestDeletedCollection(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	a := configMap("a", nil)
	create(t, c, a, configMap("b", nil))
	resp, err := c.Store().DeleteCollection(t.Context(), &storev1.DeleteCollectionRequest{
		Resource: &storev1.Resource{Version: "v1", Resource: "configmaps"}, Namespace: "default", FieldSelector: "metadata.name=a",
		Options: &storev1.DeleteOptions{PropagationPolicy: storev1.PropagationPolicy_PROPAGATION_POLICY_ORPHAN},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := &corev1.ConfigMap{}
	if len(resp.GetObjects()) != 1 || resp.GetResourceVersion() == "" {
		t.Fatalf("%d objects of version %q", len(resp.GetObjects()), resp.GetResourceVersion())
	}
	if err := kinds.Decode(resp.GetObjects()[0].GetObject(), got); err != nil {
		t.Fatal(err)
	}
	if got.Name != "a" || got.ResourceVersion != a.ResourceVersion || len(got.Finalizers) > 0 || got.DeletionTimestamp != nil {
		t.Errorf("%+v", got.ObjectMeta)
	}
}

// What becomes of dependents where nobody says, and that authors are told of it.
func TestDefaultPropagation(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "j", Namespace: "default"}, Spec: batchv1.JobSpec{Template: deployment("t").Spec.Template}}
	job.Spec.Template.Labels, job.Spec.Template.Spec.RestartPolicy = nil, corev1.RestartPolicyNever
	event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "default"}, InvolvedObject: corev1.ObjectReference{Namespace: "default"}}
	create(t, c, job, event)
	for _, tt := range []struct {
		resource *storev1.Resource
		name     string
		policy   storev1.PropagationPolicy
		stays    bool
		warned   int
	}{
		{&storev1.Resource{Group: "batch", Version: "v1", Resource: "jobs"}, "j", storev1.PropagationPolicy_PROPAGATION_POLICY_UNSPECIFIED, true, 1},
		{&storev1.Resource{Group: "batch", Version: "v1", Resource: "jobs"}, "j", storev1.PropagationPolicy_PROPAGATION_POLICY_BACKGROUND, false, 0},
		{&storev1.Resource{Version: "v1", Resource: "events"}, "e", storev1.PropagationPolicy_PROPAGATION_POLICY_ORPHAN, false, 0},
	} {
		resp, err := c.Store().Delete(t.Context(), &storev1.DeleteRequest{
			Resource: tt.resource, Namespace: "default", Name: tt.name, Options: &storev1.DeleteOptions{PropagationPolicy: tt.policy, DryRun: true},
		})
		if err != nil || resp.GetDeleted() == tt.stays || len(resp.GetWarnings()) != tt.warned {
			t.Errorf("%s by %s: %v, deleted: %t, warnings %q", tt.name, tt.policy, err, resp.GetDeleted(), resp.GetWarnings())
		}
	}
}
