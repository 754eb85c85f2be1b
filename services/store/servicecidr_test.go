package store_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/internal/servicecidr"
	"navarch.dev/navarch/services/store"
	"navarch.dev/navarch/services/store/storetest"
)

// readyRange makes a ServiceCIDR that is ready, as a controller would.
func readyRange(t *testing.T, c *client.Client, name string, cidrs ...string) *networkingv1.ServiceCIDR {
	t.Helper()
	s := &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: []string{servicecidr.Finalizer}},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: cidrs},
	}
	create(t, c, s)
	meta.SetStatusCondition(&s.Status.Conditions, metav1.Condition{Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue})
	if err := c.UpdateStatus(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

func remove(t *testing.T, c *client.Client, obj kinds.Object) {
	t.Helper()
	if err := c.Delete(t.Context(), obj, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestTheConfiguredRangeIsReadyAtStart(t *testing.T) {
	cfg := store.DefaultConfig()
	cfg.ServiceCIDR = "10.7.0.0/24"
	c := storetest.New(t, storetest.WithConfig(cfg)).Client(storetest.Admin())
	var s networkingv1.ServiceCIDR
	if err := c.Get(t.Context(), "", "kubernetes", &s); err != nil || !servicecidr.Gives(&s) || s.Spec.CIDRs[0] != "10.7.0.0/24" {
		t.Fatalf("%v: %+v", err, s)
	}
	for ip, owner := range map[string]string{"10.7.0.1": "default/kubernetes", "10.7.0.10": "kube-system/kube-dns"} {
		var address networkingv1.IPAddress
		if err := c.Get(t.Context(), "", ip, &address); err != nil || servicecidr.Owner(&address) != owner {
			t.Errorf("%s: %v, %+v", ip, err, address.Spec.ParentRef)
		}
	}
}

func TestIPAddressesFollowServices(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	a := service("a")
	create(t, c, a)
	var ip networkingv1.IPAddress
	if err := c.Get(ctx, "", a.Spec.ClusterIP, &ip); err != nil {
		t.Fatal(err)
	}
	if ip.UID == "" || ip.CreationTimestamp.IsZero() || ip.ResourceVersion != a.ResourceVersion || servicecidr.Owner(&ip) != "default/a" {
		t.Errorf("the address of a: %+v", ip)
	}
	if family := ip.Labels[networkingv1.LabelIPAddressFamily]; family != "IPv4" || !servicecidr.Managed(&ip) {
		t.Errorf("its labels: %v", ip.Labels)
	}
	a.Spec.Type, a.Spec.ExternalName = corev1.ServiceTypeExternalName, "example.com"
	if err := c.Update(ctx, a); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(ctx, "", ip.Name, &ip); !apierrors.IsNotFound(err) {
		t.Errorf("the address of what is only a name: %v", err)
	}
	a.Spec.Type, a.Spec.ExternalName = corev1.ServiceTypeClusterIP, ""
	if err := c.Update(ctx, a); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(ctx, "", a.Spec.ClusterIP, &ip); err != nil {
		t.Errorf("the address that it has then: %v", err)
	}
	remove(t, c, a)
	if err := c.Get(ctx, "", a.Spec.ClusterIP, &ip); !apierrors.IsNotFound(err) {
		t.Errorf("the address of what is gone: %v", err)
	}
	// An address that somebody uses for something else is not a Service's.
	create(t, c, &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: "10.96.4.4"},
		Spec:       networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Group: "example.com", Resource: "gateways", Name: "g"}},
	})
	if err := c.Create(ctx, service("b", clusterIP("10.96.4.4"))); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "provided IP is already allocated") {
		t.Errorf("an address that is taken: %v", err)
	}
}

// No address comes from a range before it is ready, nor from one that is being
// deleted; when the older range is full, the next one has its turn.
func TestRangesHaveTheirTurns(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	remove(t, c, &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}})
	create(t, c, &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "a-not-ready"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"192.0.2.0/24"}}})
	readyRange(t, c, "b-old", "203.0.113.0/30")
	readyRange(t, c, "c-new", "fd00::/64", "198.51.100.0/29")
	var last *corev1.Service
	for i := range 8 {
		last = service(fmt.Sprintf("s%d", i))
		create(t, c, last)
		if old := strings.HasPrefix(last.Spec.ClusterIP, "203.0.113."); old != (i < 2) {
			t.Errorf("address %d is %s", i, last.Spec.ClusterIP)
		}
	}
	err := c.Create(ctx, service("one-too-many"))
	if want := `failed to allocate a serviceIP for Service "one-too-many": range is full`; !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("when all are full: %v", err)
	}
	remove(t, c, last)
	create(t, c, service("again"))
	for _, ip := range []string{"10.96.9.9", "192.0.2.1", "203.0.113.0", "203.0.113.3"} {
		err := c.Create(ctx, service("no", clusterIP(ip)))
		want := `spec.clusterIPs: Invalid value: ["` + ip + `"]: failed to allocate IP ` + ip + ": the provided network does not match the current range"
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", ip, err)
		}
	}
}

// However many Services come while a range is deleted: none has an address of
// it that came later than the deletion.
func TestNoAddressOfARangeThatEnds(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	s := readyRange(t, c, "ending", "203.0.113.0/24")
	var wg sync.WaitGroup
	var mu sync.Mutex
	var last int64
	begun := make(chan struct{}, 200)
	for i := range 200 {
		wg.Go(func() {
			svc := service(fmt.Sprintf("s%d", i), clusterIP(fmt.Sprintf("203.0.113.%d", i+1)))
			err := c.Create(t.Context(), svc)
			begun <- struct{}{}
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			version, _ := strconv.ParseInt(svc.ResourceVersion, 10, 64)
			last = max(last, version)
		})
	}
	<-begun
	remove(t, c, s)
	var deleted networkingv1.ServiceCIDR
	if err := c.Get(t.Context(), "", "ending", &deleted); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if at, _ := strconv.ParseInt(deleted.ResourceVersion, 10, 64); last > at || at == 0 {
		t.Errorf("the range was deleted at %d, and gave an address out at %d", at, last)
	}
}

func TestFamiliesThatTheClusterHasNot(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	readyRange(t, c, "six", "fd00::/64")
	policy := func(p corev1.IPFamilyPolicy, families ...corev1.IPFamily) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.IPFamilyPolicy, s.Spec.IPFamilies = &p, families }
	}
	tests := []struct {
		name string
		svc  *corev1.Service
		want string
	}{
		{"required", service("s", policy(corev1.IPFamilyPolicyRequireDualStack)),
			`spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services`},
		{"a family", service("s", policy(corev1.IPFamilyPolicySingleStack, corev1.IPv6Protocol)),
			`spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster`},
		{"an address", service("s", clusterIP("fd00::1")),
			`spec.clusterIPs[0]: Invalid value: ["fd00::1"]: IPv6 is not configured on this cluster`},
		{"two of one", service("s", policy(corev1.IPFamilyPolicySingleStack, corev1.IPv4Protocol, corev1.IPv6Protocol)),
			`spec.ipFamilyPolicy: Invalid value: "SingleStack": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified`},
		{"preferred", service("s", policy(corev1.IPFamilyPolicyPreferDualStack)), ""},
		{"headless, of no pods", service("t", clusterIP(corev1.ClusterIPNone), policy(corev1.IPFamilyPolicyRequireDualStack)), ""},
	}
	for _, test := range tests {
		err := c.Create(t.Context(), test.svc)
		if test.want == "" && err != nil || test.want != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
