package store_test

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/storetest"
)

// put sends an update and reads the result into obj.
func (u user) put(obj kinds.Object, subresource string, change ...func(*storev1.UpdateRequest)) (*storev1.UpdateResponse, error) {
	u.t.Helper()
	k, err := kinds.Default().ForObject(obj)
	if err != nil {
		u.t.Fatal(err)
	}
	encoded, err := kinds.Encode(obj)
	if err != nil {
		u.t.Fatal(err)
	}
	req := &storev1.UpdateRequest{
		Resource:  &storev1.Resource{Group: k.Group, Version: k.Version, Resource: k.Resource},
		Namespace: obj.GetNamespace(), Name: obj.GetName(), Subresource: subresource,
		Object: &storev1.Object{Object: encoded}, Options: &storev1.WriteOptions{FieldManager: u.manager},
	}
	for _, f := range change {
		f(req)
	}
	resp, err := u.Store().Update(u.t.Context(), req)
	if err != nil {
		return nil, apistatus.FromGRPC(err)
	}
	reflect.ValueOf(obj).Elem().SetZero()
	if err := kinds.Decode(resp.GetObject().GetObject(), obj); err != nil {
		u.t.Fatal(err)
	}
	return resp, nil
}

func webService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

// An update makes what is not there of those kinds whose objects Kubernetes makes
// so, and of no others.
func TestUpdatesThatCreate(t *testing.T) {
	placed, global := metav1.ObjectMeta{Namespace: "default", Name: "x"}, metav1.ObjectMeta{Name: "x"}
	for _, tc := range []struct {
		obj  kinds.Object
		made bool
	}{
		{webService(), true},
		{&corev1.Endpoints{ObjectMeta: placed}, true},
		{&corev1.Event{ObjectMeta: placed, InvolvedObject: corev1.ObjectReference{Namespace: "default"}}, true},
		{&eventsv1.Event{
			ObjectMeta: placed, EventTime: metav1.NewMicroTime(time.Now()), ReportingController: "a.b/c", ReportingInstance: "c-1", Action: "Do", Reason: "Done", Type: "Normal",
			Regarding: corev1.ObjectReference{Namespace: "default"},
		}, true},
		{&corev1.LimitRange{ObjectMeta: placed}, true},
		{&coordinationv1.Lease{ObjectMeta: placed}, true},
		{&nodev1.RuntimeClass{ObjectMeta: global, Handler: "runc"}, true},
		{&rbacv1.Role{ObjectMeta: placed}, true},
		{&rbacv1.ClusterRole{ObjectMeta: global}, true},
		{&rbacv1.RoleBinding{ObjectMeta: placed, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "x"}}, true},
		{&rbacv1.ClusterRoleBinding{ObjectMeta: global, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "x"}}, true},
		{&corev1.ConfigMap{ObjectMeta: placed}, false},
		{&corev1.Secret{ObjectMeta: placed}, false},
		{&discoveryv1.EndpointSlice{ObjectMeta: placed, AddressType: discoveryv1.AddressTypeIPv4}, false},
		{pod("x"), false},
		{deployment("x"), false},
	} {
		u := asUser(t, storetest.New(t), "me")
		obj := tc.obj.DeepCopyObject().(kinds.Object)
		resp, err := u.put(obj, "")
		switch {
		case !tc.made:
			if !apierrors.IsNotFound(err) {
				t.Errorf("%T: %v, want NotFound", obj, err)
			}
			continue
		case err != nil:
			t.Errorf("%T: %v", obj, err)
			continue
		case !resp.GetCreated() || obj.GetUID() == "" || obj.GetResourceVersion() == "":
			t.Errorf("%T: created %t, %+v", obj, resp.GetCreated(), obj)
		}
		for _, entry := range obj.GetManagedFields() {
			if entry.Manager != "me" || entry.Operation != metav1.ManagedFieldsOperationUpdate {
				t.Errorf("%T: its fields are of %s by %s", obj, entry.Manager, entry.Operation)
			}
		}
		if resp, err := u.put(obj, ""); err != nil || resp.GetCreated() {
			t.Errorf("%T again: created %t, %v", obj, resp.GetCreated(), err)
		}
	}
}

// What holds for objects that are created holds for those that an update makes.
func TestUpdateThatCreatesIsACreation(t *testing.T) {
	u := asUser(t, storetest.New(t), "me")
	for _, tc := range []struct {
		name   string
		change func(*corev1.Service)
		send   func(*storev1.UpdateRequest)
		want   string
	}{
		{name: "a version that somebody has seen", change: func(s *corev1.Service) { s.ResourceVersion = "5" }},
		{name: "what is no version", change: func(s *corev1.Service) { s.ResourceVersion = "x" }, want: `metadata.resourceVersion "x" is not a number`},
		{name: "a uid", change: func(s *corev1.Service) { s.UID = "abc" }, want: `Operation cannot be fulfilled on services "x": Precondition failed: UID in precondition: abc, UID in object meta: `},
		{name: "another name", change: func(s *corev1.Service) { s.Name = "y" }, want: "the name of the object (y) does not match the name on the URL (x)"},
		{name: "another namespace", change: func(s *corev1.Service) { s.Namespace = "other" }, want: "the namespace of the provided object does not match the namespace sent on the request"},
		{name: "a rule of the kind", change: func(s *corev1.Service) { s.Spec.Ports = nil }, want: `Service "x" is invalid: spec.ports: Required value`},
		{name: "a namespace that is not there", send: func(r *storev1.UpdateRequest) { r.Namespace = "none" }, change: func(s *corev1.Service) { s.Namespace = "none" }, want: `namespaces "none" not found`},
		{name: "a status", send: func(r *storev1.UpdateRequest) { r.Subresource = "status" }, want: `services "x" not found`},
		{name: "a dry run", send: func(r *storev1.UpdateRequest) { r.Options.DryRun = true }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			svc := webService()
			if tc.change != nil {
				tc.change(svc)
			}
			resp, err := u.put(svc, "", func(r *storev1.UpdateRequest) {
				r.Namespace, r.Name = "default", "x"
				if tc.send != nil {
					tc.send(r)
				}
			})
			switch {
			case tc.want == "" && (err != nil || !resp.GetCreated() || svc.Spec.ClusterIP == ""):
				t.Errorf("created %t, address %q, %v", resp.GetCreated(), svc.Spec.ClusterIP, err)
			case tc.want != "" && (err == nil || err.Error() != tc.want):
				t.Errorf("got %v, want %s", err, tc.want)
			}
			stored := u.Get(t.Context(), "default", "x", &corev1.Service{}) == nil
			if want := tc.name == "a version that somebody has seen"; stored != want {
				t.Errorf("stored %t, want %t", stored, want)
			}
			if stored {
				if err := u.Delete(t.Context(), svc, client.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// verbsOnly allows everybody some verbs, and notes what was asked.
type verbsOnly struct {
	verbs []string
	asked *[]string
}

func (o verbsOnly) Authorize(_ context.Context, a access.Attributes) (access.Decision, error) {
	if a.User.InGroup(identity.GroupMasters) {
		return access.Decision{Allowed: true}, nil
	}
	*o.asked = append(*o.asked, strings.Join([]string{a.Verb, a.Resource, a.Namespace, a.Name}, " "))
	return access.Decision{Allowed: slices.Contains(o.verbs, a.Verb)}, nil
}

func TestUpdateThatCreatesNeedsBothPermissions(t *testing.T) {
	for _, tc := range []struct {
		verbs []string
		want  []string
		made  bool
	}{
		{[]string{"update"}, []string{"update services default x", "create services default x"}, false},
		{[]string{"create"}, []string{"update services default x"}, false},
		{[]string{"create", "update"}, []string{"update services default x", "create services default x"}, true},
	} {
		var asked []string
		s := storetest.New(t, storetest.WithControl(func(access.Reader) (access.Control, error) {
			return access.Control{Authorizer: verbsOnly{tc.verbs, &asked}}, nil
		}))
		err := s.Client(identity.Identity{Name: "u"}).Update(t.Context(), webService())
		if made := err == nil; made != tc.made || err != nil && !apierrors.IsForbidden(err) {
			t.Errorf("%v: %v", tc.verbs, err)
		}
		if d := cmp.Diff(tc.want, asked); d != "" {
			t.Errorf("%v: asked (-want +got):\n%s", tc.verbs, d)
		}
	}
}
