package store_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/storetest"
)

// user writes to a Store as a gateway does for the users behind it.
type user struct {
	*client.Client
	t       *testing.T
	manager string
}

func asUser(t *testing.T, s *storetest.Store, manager string) user {
	t.Helper()
	return user{client.New(s.Conn(identity.Service(identity.Gateway)), manager), t, manager}
}

// patch sends a patch of any type and reads the result into obj.
func (u user) patch(obj kinds.Object, subresource string, kind storev1.PatchType, body string, change ...func(*storev1.PatchRequest)) (*storev1.PatchResponse, error) {
	u.t.Helper()
	k, err := kinds.Default().ForObject(obj)
	if err != nil {
		u.t.Fatal(err)
	}
	req := &storev1.PatchRequest{
		Resource:  &storev1.Resource{Group: k.Group, Version: k.Version, Resource: k.Resource},
		Namespace: obj.GetNamespace(), Name: obj.GetName(), Subresource: subresource,
		Type: kind, Patch: []byte(body), Options: &storev1.WriteOptions{FieldManager: u.manager},
	}
	for _, f := range change {
		f(req)
	}
	resp, err := u.Store().Patch(u.t.Context(), req)
	if err != nil {
		return nil, apistatus.FromGRPC(err)
	}
	if subresource == "scale" {
		return resp, nil
	}
	fresh := k.New()
	if err := kinds.Decode(resp.GetObject().GetObject(), fresh); err != nil {
		u.t.Fatal(err)
	}
	switch o := obj.(type) {
	case *corev1.ConfigMap:
		*o = *fresh.(*corev1.ConfigMap)
	case *appsv1.Deployment:
		*o = *fresh.(*appsv1.Deployment)
	}
	return resp, nil
}

func (u user) apply(obj kinds.Object, subresource, body string, change ...func(*storev1.PatchRequest)) (*storev1.PatchResponse, error) {
	u.t.Helper()
	return u.patch(obj, subresource, storev1.PatchType_PATCH_TYPE_APPLY, body, change...)
}

func forced(req *storev1.PatchRequest) { req.Force = true }

// owners lists who manages an object's fields, and how.
func owners(obj kinds.Object) []string {
	var out []string
	for _, e := range obj.GetManagedFields() {
		who := fmt.Sprintf("%s %s %s", e.Manager, e.Operation, e.APIVersion)
		if e.Subresource != "" {
			who += " " + e.Subresource
		}
		out = append(out, who)
	}
	slices.Sort(out)
	return out
}

func wantOwners(t *testing.T, what string, obj kinds.Object, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, owners(obj)); diff != "" {
		t.Errorf("%s: owners (-want +got):\n%s", what, diff)
	}
}

const appliedMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\n"

func TestUsersWritesAreTrackedFromCreationOn(t *testing.T) {
	s := storetest.New(t)
	creator := asUser(t, s, "kubectl-create")
	cm := configMap("cm", map[string]string{"a": "1", "b": "1"})
	create(t, creator.Client, cm)
	wantOwners(t, "created", cm, "kubectl-create Update v1")
	if e := cm.ManagedFields[0]; e.Time == nil || e.FieldsType != "FieldsV1" || e.FieldsV1.GetRawString() != `{"f:data":{".":{},"f:a":{},"f:b":{}}}` {
		t.Errorf("the creator's entry: %+v %s", e, e.FieldsV1.GetRawString())
	}
	_, err := asUser(t, s, "deployer").apply(cm, "", appliedMap+"data: {a: \"2\"}\n")
	var status *apierrors.StatusError
	if !apierrors.IsConflict(err) || !errors.As(err, &status) {
		t.Fatalf("somebody else's field: %v", err)
	}
	want := metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusConflict, Reason: metav1.StatusReasonConflict,
		Message: `Apply failed with 1 conflict: conflict with "kubectl-create" using v1: .data.a`,
		Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{
			{Type: metav1.CauseTypeFieldManagerConflict, Message: `conflict with "kubectl-create" using v1`, Field: ".data.a"},
		}},
	}
	if diff := cmp.Diff(want, status.ErrStatus); diff != "" {
		t.Errorf("conflict (-want +got):\n%s", diff)
	}
	if _, err := asUser(t, s, "deployer").apply(cm, "", appliedMap+"data: {a: \"2\"}\n", forced); err != nil || cm.Data["a"] != "2" || cm.Data["b"] != "1" {
		t.Errorf("forced: %v %v", err, cm.Data)
	}
	wantOwners(t, "taken over", cm, "deployer Apply v1", "kubectl-create Update v1")
	dry := func(req *storev1.PatchRequest) { req.Options.DryRun = true }
	if _, err := asUser(t, s, "deployer").apply(cm, "", appliedMap, dry); err != nil || len(cm.Data) != 1 {
		t.Errorf("dry run: %v %v", err, cm.Data)
	}
	if err := reread(t, creator.Client, cm); err != nil || cm.Data["a"] != "2" {
		t.Errorf("after a dry run: %v %v", err, cm.Data)
	}
}

// A writer owns what it has sent, also of what its kind sets back: it is what the
// writer wants.
func TestOwnersOfWhatIsSetBack(t *testing.T) {
	s := storetest.New(t)
	writer := asUser(t, s, "writer")
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "l", Namespace: "default"}, Spec: coordinationv1.LeaseSpec{LeaseDurationSeconds: ptr.To[int32](5)}}
	create(t, asUser(t, s, "creator").Client, lease)
	strategy := coordinationv1.OldestEmulationVersion
	lease.Spec.Strategy, lease.Spec.HolderIdentity = &strategy, ptr.To("a")
	if err := writer.Update(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	const want = `{"f:spec":{"f:holderIdentity":{},"f:strategy":{}}}`
	if lease.Spec.Strategy != nil || len(lease.ManagedFields) != 2 || lease.ManagedFields[1].FieldsV1.GetRawString() != want {
		t.Errorf("%+v, fields %+v", lease.Spec, lease.ManagedFields)
	}
}

// A LimitRange needs no name to be created.
func TestLimitRangeWithoutName(t *testing.T) {
	limits := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: "default"}}
	c := asUser(t, storetest.New(t), "creator")
	create(t, c.Client, limits)
	if err := uuid.Validate(limits.Name); err != nil {
		t.Errorf("name %q: %v", limits.Name, err)
	}
	if err := reread(t, c.Client, limits); err != nil {
		t.Error(err)
	}
}

func TestServicesOwnObjectsAreTrackedOnceAUserWrites(t *testing.T) {
	s := storetest.New(t)
	service := s.Client(storetest.Admin())
	cm := configMap("cm", map[string]string{"a": "1"})
	create(t, service, cm)
	cm.Data["b"] = "1"
	if err := service.Update(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	wantOwners(t, "a service's own", cm)
	jane := asUser(t, s, "kubectl-label")
	if _, err := jane.patch(cm, "", storev1.PatchType_PATCH_TYPE_MERGE, `{"metadata":{"labels":{"x":"y"}}}`); err != nil {
		t.Fatal(err)
	}
	wantOwners(t, "labelled", cm, "before-first-apply Update v1", "kubectl-label Update v1")
	if err := reread(t, service, cm); err != nil {
		t.Fatal(err)
	}
	cm.Labels["x"] = "z"
	if err := service.Update(t.Context(), cm); err != nil {
		t.Fatal(err)
	}
	wantOwners(t, "taken over by the service", cm, "before-first-apply Update v1", "kubectl-label Update v1", "storetest Update v1")
	if _, err := jane.patch(cm, "", storev1.PatchType_PATCH_TYPE_MERGE, `{"metadata":{"managedFields":[]}}`); err != nil {
		t.Fatal(err)
	}
	wantOwners(t, "reset", cm)
	if _, err := jane.apply(cm, "", appliedMap+"data: {a: \"2\"}\n"); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `"before-first-apply"`) {
		t.Errorf("apply over what was there before: %v", err)
	}
}

func TestStatusAndScaleHaveOwnersOfTheirOwn(t *testing.T) {
	ctx := context.Background()
	s := storetest.New(t)
	creator := asUser(t, s, "creator")
	d := deployment("web")
	d.Status.Replicas = 7
	create(t, creator.Client, d)
	wantOwners(t, "created", d, "creator Update apps/v1")
	if fields := d.ManagedFields[0].FieldsV1.GetRawString(); strings.Contains(fields, "f:status") || !strings.Contains(fields, `"f:replicas":{}`) {
		t.Errorf("the creator owns %s", fields)
	}
	d.Status.Replicas = 2
	if err := s.Client(storetest.Admin()).UpdateStatus(ctx, d); err != nil {
		t.Fatal(err)
	}
	wantOwners(t, "with a status", d, "creator Update apps/v1", "storetest Update apps/v1 status")
	const head = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
	reporter := asUser(t, s, "reporter")
	if _, err := reporter.apply(d, "status", head+"spec: {replicas: 9}\nstatus: {replicas: 3}\n"); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `"storetest" with subresource "status"`) {
		t.Errorf("the status is another's: %v", err)
	}
	if _, err := reporter.apply(d, "status", head+"spec: {replicas: 9}\nstatus: {replicas: 3}\n", forced); err != nil || d.Status.Replicas != 3 || *d.Spec.Replicas != 1 {
		t.Errorf("applied status: %v %+v", err, d)
	}
	wantOwners(t, "applied status", d, "creator Update apps/v1", "reporter Apply apps/v1 status")

	const scale = "apiVersion: autoscaling/v1\nkind: Scale\nmetadata: {name: web}\nspec: {replicas: %d}\n"
	scaler := asUser(t, s, "scaler")
	if _, err := scaler.apply(d, "scale", fmt.Sprintf(scale, 4)); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), ".spec.replicas") {
		t.Errorf("the replicas are another's: %v", err)
	}
	if _, err := scaler.apply(d, "scale", strings.Replace(fmt.Sprintf(scale, 4), "{replicas", "{paint: red, replicas", 1), forced); !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), "spec.paint") {
		t.Errorf("a field that no scale has: %v", err)
	}
	if _, err := scaler.apply(d, "scale", fmt.Sprintf(scale, 4), forced); err != nil {
		t.Fatal(err)
	}
	if err := reread(t, creator.Client, d); err != nil || *d.Spec.Replicas != 4 {
		t.Errorf("scaled: %v %d", err, *d.Spec.Replicas)
	}
	wantOwners(t, "applied scale", d, "creator Update apps/v1", "reporter Apply apps/v1 status", "scaler Apply apps/v1 scale")
	if _, err := asUser(t, s, "kubectl").patch(d, "scale", storev1.PatchType_PATCH_TYPE_MERGE, `{"spec":{"replicas":5}}`); err != nil {
		t.Fatal(err)
	}
	if err := reread(t, creator.Client, d); err != nil || *d.Spec.Replicas != 5 {
		t.Errorf("scaled by a patch: %v %d", err, *d.Spec.Replicas)
	}
	wantOwners(t, "patched scale", d, "creator Update apps/v1", "kubectl Update apps/v1 scale", "reporter Apply apps/v1 status")
}

// Whoever wrote one version of an object owns the same fields of the other.
func TestOwnersInBothVersions(t *testing.T) {
	s := storetest.New(t)
	const (
		older = "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\n"
		newer = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\n"
	)
	old := &autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "h"}}
	now := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: old.ObjectMeta}
	jane, joe := asUser(t, s, "jane"), asUser(t, s, "joe")
	if _, err := jane.apply(old, "", older+"spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}, maxReplicas: 5, targetCPUUtilizationPercentage: 50}\n"); err != nil {
		t.Fatal(err)
	}
	_, err := joe.apply(now, "", newer+"spec: {maxReplicas: 7}\n")
	if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "jane": .spec.maxReplicas`) {
		t.Errorf("another's field, in the newer version: %v", err)
	}
	if _, err := joe.apply(now, "", newer+"spec: {maxReplicas: 7}\n", forced); err != nil {
		t.Fatal(err)
	}
	if err := reread(t, joe.Client, now); err != nil || now.Spec.MaxReplicas != 7 {
		t.Errorf("applied: %v %+v", err, now.Spec)
	}
	wantOwners(t, "taken over", now, "jane Apply autoscaling/v1", "joe Apply autoscaling/v2")
	for _, e := range now.ManagedFields {
		if e.Manager == "jane" && strings.Contains(e.FieldsV1.GetRawString(), "maxReplicas") {
			t.Errorf("jane still owns %s", e.FieldsV1.GetRawString())
		}
	}
	_, err = jane.apply(old, "", older+"spec: {scaleTargetRef: {kind: Deployment, name: d}, maxReplicas: 5, targetCPUUtilizationPercentage: 50}\n")
	if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "joe": .spec.maxReplicas`) {
		t.Errorf("another's field, in the older version: %v", err)
	}
	if err := jane.Client.Get(t.Context(), "default", "h", now); err != nil {
		t.Fatal(err)
	}
	now.Spec.MinReplicas = ptr.To[int32](2)
	if err := joe.Update(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	wantOwners(t, "updated", now, "jane Apply autoscaling/v1", "joe Apply autoscaling/v2", "joe Update autoscaling/v2")
	if len(now.Spec.Metrics) != 1 || *now.Spec.Metrics[0].Resource.Target.AverageUtilization != 50 {
		t.Errorf("jane's metric has become %+v", now.Spec.Metrics)
	}
}

func TestRefusedApplies(t *testing.T) {
	s := storetest.New(t)
	jane := asUser(t, s, "jane")
	strict := func(req *storev1.PatchRequest) {
		req.Options.FieldValidation = storev1.FieldValidation_FIELD_VALIDATION_STRICT
	}
	for _, tc := range []struct {
		name, body, message string
		change              func(*storev1.PatchRequest)
		reason              metav1.StatusReason
	}{
		{"another kind", "apiVersion: v1\nkind: Secret\nmetadata: {name: cm}\n", "invalid object type: /v1, Kind=Secret", nil, "BadRequest"},
		{"another version", "apiVersion: v2\nkind: ConfigMap\nmetadata: {name: cm}\n", "Incorrect version specified in apply patch. Specified patch version: v2, expected: v1", nil, "BadRequest"},
		{"managed fields", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm, managedFields: [{manager: x}]}\n", "metadata.managedFields must be nil", nil, "BadRequest"},
		{"another name", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n", "the name of the object (other) does not match the name on the URL (cm)", nil, "BadRequest"},
		{"no YAML", "a: [", "error decoding patch", nil, "BadRequest"},
		{"no object", "- 1", "error decoding patch", nil, "BadRequest"},
		{"metadata that is a list", "apiVersion: v1\nkind: ConfigMap\nmetadata: [1]\n", "metadata", nil, "BadRequest"},
		{"unknown field", appliedMap + "spec: {}\n", ".spec: field not declared in schema", nil, "BadRequest"},
		{"wrong type", appliedMap + "data: 5\n", ".data", nil, "BadRequest"},
		{"a key twice", appliedMap + "data: {a: \"1\"}\ndata: {a: \"2\"}\n", "error strict decoding patch: error converting YAML to JSON: yaml: unmarshal errors:\n  line 5: key \"data\" already set in map", strict, "BadRequest"},
		{"a uid that is not", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm, uid: u}\n", "uid mismatch", nil, "Conflict"},
		{"to a status that is not", appliedMap, "", func(req *storev1.PatchRequest) { req.Subresource = "status" }, "NotFound"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			change := tc.change
			if change == nil {
				change = func(*storev1.PatchRequest) {}
			}
			_, err := jane.apply(configMap("cm", nil), "", tc.body, change)
			if apierrors.ReasonForError(err) != tc.reason || !strings.Contains(err.Error(), tc.message) {
				t.Errorf("%v, want %s: %s", err, tc.reason, tc.message)
			}
		})
	}
	resp, err := jane.apply(configMap("cm", nil), "", appliedMap+"data: {a: \"1\"}\ndata: {a: \"2\", b: \"1\", b: \"2\"}\n")
	if want := []string{`line 5: key "b" already set in map`, `line 5: key "data" already set in map`}; err != nil || !slices.Equal(resp.GetWarnings(), want) {
		t.Errorf("keys twice, not strictly: %v, warnings %q, want %q", err, resp.GetWarnings(), want)
	}
}
