package devices_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/auth"
	"navarch.dev/navarch/services/store/storetest"
)

func newStore(t *testing.T, objs ...kinds.Object) (*storetest.Store, *client.Client) {
	t.Helper()
	s := storetest.New(t, storetest.WithControl(auth.New(auth.DefaultConfig())), storetest.WithSeed(auth.Bootstrap()...))
	root := s.Client(identity.Identity{Name: "root", Groups: []string{identity.GroupMasters}})
	for _, obj := range objs {
		if err := root.Create(t.Context(), obj); err != nil {
			t.Fatalf("create %T %s: %v", obj, obj.GetName(), err)
		}
	}
	return s, root
}

func claim(name string, admin bool) *resourcev1.ResourceClaim {
	c := &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{
			Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu"},
		}}}},
	}
	if admin {
		c.Spec.Devices.Requests[0].Exactly.AdminAccess = ptr.To(true)
	}
	return c
}

// check compares an error with the words it must have, "" being none.
func check(t *testing.T, what string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: got %v, want %q", what, err, want)
	}
}

func TestAdminAccessNeedsALabel(t *testing.T) {
	_, root := newStore(t)
	const refused = ".exactly.adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"
	template := &resourcev1.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "t"}, Spec: resourcev1.ResourceClaimTemplateSpec{Spec: claim("", true).Spec}}
	check(t, "a claim", root.Create(t.Context(), claim("a", true)), "spec.devices.requests[0]"+refused)
	check(t, "a template", root.Create(t.Context(), template.DeepCopy()), "spec.spec.devices.requests[0]"+refused)
	check(t, "a claim of what is free", root.Create(t.Context(), claim("b", false)), "")
	ns := &corev1.Namespace{}
	if err := root.Get(t.Context(), "", "default", ns); err != nil {
		t.Fatal(err)
	}
	ns.Labels[resourcev1.DRAAdminNamespaceLabelKey] = "true"
	if err := root.Update(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	check(t, "a claim where it is allowed", root.Create(t.Context(), claim("a", true)), "")
	check(t, "a template where it is allowed", root.Create(t.Context(), template.DeepCopy()), "")
}

// Who may write which part of a claim's status.
func TestWritersOfStatus(t *testing.T) {
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "driver"}, Rules: []rbacv1.PolicyRule{
		{Verbs: []string{"get", "update"}, APIGroups: []string{"resource.k8s.io"}, Resources: []string{"resourceclaims", "resourceclaims/status"}},
		{Verbs: []string{"associated-node:update"}, APIGroups: []string{"resource.k8s.io"}, Resources: []string{"resourceclaims/driver"}, ResourceNames: []string{"d.com"}},
	}}
	bind := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "driver"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "driver"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "kube-system", Name: "driver"}}}
	s, _ := newStore(t, claim("c", false), role, bind)
	driver := func(node string) *client.Client {
		return s.Client(identity.Identity{Name: "system:serviceaccount:kube-system:driver", Groups: []string{identity.GroupAuthenticated},
			Extra: map[string][]string{"authentication.kubernetes.io/node-name": {node}}})
	}
	write := func(c *client.Client, change func(*resourcev1.ResourceClaimStatus)) error {
		current := &resourcev1.ResourceClaim{}
		if err := c.Get(t.Context(), "default", "c", current); err != nil {
			return err
		}
		change(&current.Status)
		return c.UpdateStatus(t.Context(), current)
	}
	allocate := func(status *resourcev1.ResourceClaimStatus) {
		status.Allocation = &resourcev1.AllocationResult{
			NodeSelector: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
				{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"n1"}}}}}},
			Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{{Request: "r", Driver: "d.com", Pool: "p", Device: "a"}}},
		}
	}
	report := func(pool string) func(*resourcev1.ResourceClaimStatus) {
		return func(status *resourcev1.ResourceClaimStatus) {
			status.Devices = []resourcev1.AllocatedDeviceStatus{{Driver: "d.com", Pool: pool, Device: "a", NetworkData: &resourcev1.NetworkDeviceData{InterfaceName: "eth1"}}}
		}
	}
	scheduler := s.Client(identity.Service(identity.Scheduler))
	check(t, "a driver allocates", write(driver("n1"), allocate), `changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="update" permission`)
	check(t, "the scheduler allocates", write(scheduler, allocate), "")
	check(t, "the scheduler tells of devices", write(scheduler, report("p")), `changing status.devices requires resource="resourceclaims/driver", verb="[arbitrary-node:update]" permission`)
	check(t, "a driver of another node", write(driver("n2"), report("p")), `verb="[arbitrary-node:update]" permission`)
	check(t, "the driver tells of its device", write(driver("n1"), report("p")), "")
	check(t, "the driver tells of another's", write(driver("n1"), report("q")), `"d.com/q/a": must be an allocated device in the claim`)
	check(t, "the scheduler deallocates", write(scheduler, func(s *resourcev1.ResourceClaimStatus) { s.Allocation = nil }), "")
	current := &resourcev1.ResourceClaim{}
	if err := scheduler.Get(t.Context(), "default", "c", current); err != nil || current.Status.Devices != nil {
		t.Errorf("after its devices are gone the claim tells of %v (%v)", current.Status.Devices, err)
	}
}
