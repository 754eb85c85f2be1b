package store_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/backend/memory"
	"navarch.dev/navarch/services/store/storetest"
)

func amounts(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

// limit creates a quota that nothing has been used of, as its controller
// would count it.
func limit(t *testing.T, c *client.Client, name string, hard corev1.ResourceList, change ...func(*corev1.ResourceQuotaSpec)) *corev1.ResourceQuota {
	t.Helper()
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}
	for _, f := range change {
		f(&q.Spec)
	}
	create(t, c, q)
	q.Status.Hard, q.Status.Used = hard, corev1.ResourceList{}
	for resourceName := range hard {
		q.Status.Used[resourceName] = resource.MustParse("0")
	}
	if err := c.UpdateStatus(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	return q
}

func usedOf(t *testing.T, c *client.Client, name string) corev1.ResourceList {
	t.Helper()
	q := &corev1.ResourceQuota{}
	if err := c.Get(t.Context(), "default", name, q); err != nil {
		t.Fatal(err)
	}
	return q.Status.Used
}

// TestQuotaIsExact has many writers of two Stores on one backend create more
// than two overlapping quotas allow.
func TestQuotaIsExact(t *testing.T) {
	const most, writers, each = 40, 16, 10
	shared := memory.New()
	t.Cleanup(func() { _ = shared.Close() })
	stores := []*client.Client{
		storetest.New(t, storetest.WithBackend(shared)).Client(storetest.Admin()),
		storetest.New(t, storetest.WithBackend(shared)).Client(storetest.Admin()),
	}
	limit(t, stores[0], "narrow", amounts("count/configmaps", fmt.Sprint(most)))
	limit(t, stores[0], "wide", amounts("configmaps", fmt.Sprint(2*most)))
	var made, refused atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				err := stores[w%2].Create(t.Context(), configMap(fmt.Sprintf("w%d-%d", w, n), nil))
				switch {
				case err == nil:
					made.Add(1)
				case apierrors.IsForbidden(err):
					refused.Add(1)
				default:
					t.Errorf("create: %v", err)
				}
			}
		})
	}
	wg.Wait()
	var stored corev1.ConfigMapList
	if err := stores[1].List(t.Context(), &stored, client.ListOptions{Namespace: "default"}); err != nil {
		t.Fatal(err)
	}
	if made.Load() != most || len(stored.Items) != most || refused.Load() != writers*each-most {
		t.Errorf("%d made, %d stored, %d refused; want %d, %d, %d", made.Load(), len(stored.Items), refused.Load(), most, most, writers*each-most)
	}
	narrow, wide := usedOf(t, stores[0], "narrow"), usedOf(t, stores[0], "wide")
	if n, w := narrow["count/configmaps"], wide["configmaps"]; n.Value() != most || w.Value() != most {
		t.Errorf("used %v and %v, want %d", narrow, wide, most)
	}
}

func TestQuotaRefuses(t *testing.T) {
	with := func(name string, change func(*corev1.Pod)) *corev1.Pod {
		p := pod(name)
		change(p)
		return p
	}
	asking := func(requests corev1.ResourceList) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: requests, Limits: requests}
		}
	}
	plain := func(*corev1.Pod) {}
	scoped := func(scopes ...corev1.ResourceQuotaScope) func(*corev1.ResourceQuotaSpec) {
		return func(s *corev1.ResourceQuotaSpec) { s.Scopes = scopes }
	}
	selecting := func(r corev1.ScopedResourceSelectorRequirement) func(*corev1.ResourceQuotaSpec) {
		return func(s *corev1.ResourceQuotaSpec) {
			s.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{r}}
		}
	}
	unscoped := func(*corev1.ResourceQuotaSpec) {}
	service := func(t corev1.ServiceType, ports int) *corev1.Service {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"}, Spec: corev1.ServiceSpec{Type: t}}
		for n := range ports {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprint("p", n), Port: int32(80 + n)})
		}
		return s
	}
	volumeClaim := func(class, size string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"}, Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: amounts("storage", size)},
		}}
	}
	elsewhere := with("x", func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
			TopologyKey: "kubernetes.io/hostname", Namespaces: []string{"other"}, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
		}}}}
	})
	exceeds := func(resources, what string) string {
		return fmt.Sprintf(`%s "x" is forbidden: exceeded quota: q, %s`, resources, what)
	}
	none := exceeds("pods", "requested: pods=1, used: pods=0, limited: pods=0")
	for _, test := range []struct {
		name  string
		hard  corev1.ResourceList
		scope func(*corev1.ResourceQuotaSpec)
		obj   kinds.Object
		want  string
	}{
		{"pods", amounts("pods", "0"), unscoped, with("x", plain), none},
		{"cpu", amounts("requests.cpu", "1"), unscoped, with("x", asking(amounts("cpu", "1500m"))),
			exceeds("pods", "requested: requests.cpu=1500m, used: requests.cpu=0, limited: requests.cpu=1")},
		{"all that exceeds", amounts("cpu", "1", "limits.memory", "1Gi", "pods", "9"), unscoped, with("x", asking(amounts("cpu", "2", "memory", "2Gi"))),
			exceeds("pods", "requested: cpu=2,limits.memory=2Gi, used: cpu=0,limits.memory=0, limited: cpu=1,limits.memory=1Gi")},
		{"unspecified", amounts("cpu", "1", "memory", "1Gi"), unscoped, with("x", plain),
			`pods "x" is forbidden: failed quota: q: must specify cpu for: c; memory for: c`},
		{"ephemeral storage", amounts("limits.ephemeral-storage", "1Gi"), unscoped, with("x", asking(amounts("ephemeral-storage", "2Gi"))),
			exceeds("pods", "requested: limits.ephemeral-storage=2Gi, used: limits.ephemeral-storage=0, limited: limits.ephemeral-storage=1Gi")},
		{"extended", amounts("requests.example.com/gpu", "1"), unscoped, with("x", asking(amounts("example.com/gpu", "2"))),
			exceeds("pods", "requested: requests.example.com/gpu=2, used: requests.example.com/gpu=0, limited: requests.example.com/gpu=1")},
		{"node ports", amounts("services.nodeports", "1"), unscoped, service(corev1.ServiceTypeNodePort, 2),
			exceeds("services", "requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1")},
		{"load balancers", amounts("services.loadbalancers", "0"), unscoped, service(corev1.ServiceTypeLoadBalancer, 1),
			exceeds("services", "requested: services.loadbalancers=1, used: services.loadbalancers=0, limited: services.loadbalancers=0")},
		{"cluster IPs only", amounts("services.loadbalancers", "0", "services.nodeports", "0"), unscoped, service(corev1.ServiceTypeClusterIP, 1), ""},
		{"storage", amounts("requests.storage", "1Gi"), unscoped, volumeClaim("fast", "2Gi"),
			exceeds("persistentvolumeclaims", "requested: requests.storage=2Gi, used: requests.storage=0, limited: requests.storage=1Gi")},
		{"storage of a class", amounts("fast.storageclass.storage.k8s.io/requests.storage", "1Gi"), unscoped, volumeClaim("fast", "2Gi"),
			exceeds("persistentvolumeclaims", "requested: fast.storageclass.storage.k8s.io/requests.storage=2Gi, used: fast.storageclass.storage.k8s.io/requests.storage=0, limited: fast.storageclass.storage.k8s.io/requests.storage=1Gi")},
		{"storage of another class", amounts("fast.storageclass.storage.k8s.io/requests.storage", "1Gi"), unscoped, volumeClaim("slow", "2Gi"), ""},
		{"objects of a group", amounts("count/deployments.apps", "0"), unscoped, deployment("x"),
			`deployments.apps "x" is forbidden: exceeded quota: q, requested: count/deployments.apps=1, used: count/deployments.apps=0, limited: count/deployments.apps=0`},
		{"best effort", amounts("pods", "0"), scoped(corev1.ResourceQuotaScopeBestEffort), with("x", plain), none},
		{"not best effort", amounts("pods", "0"), scoped(corev1.ResourceQuotaScopeNotBestEffort), with("x", plain), ""},
		{"terminating", amounts("pods", "0"), scoped(corev1.ResourceQuotaScopeTerminating),
			with("x", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](5) }), none},
		{"not terminating", amounts("pods", "0"), scoped(corev1.ResourceQuotaScopeTerminating), with("x", plain), ""},
		{"both scopes", amounts("pods", "0"), scoped(corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotTerminating), with("x", plain), none},
		{"priority in", amounts("pods", "0"), selecting(corev1.ScopedResourceSelectorRequirement{
			ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{"system-cluster-critical"},
		}), with("x", func(p *corev1.Pod) { p.Spec.PriorityClassName = "system-cluster-critical" }), none},
		{"priority not in", amounts("pods", "0"), selecting(corev1.ScopedResourceSelectorRequirement{
			ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpNotIn, Values: []string{"high"},
		}), with("x", plain), none},
		{"priority exists", amounts("pods", "0"), selecting(corev1.ScopedResourceSelectorRequirement{
			ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpExists,
		}), with("x", plain), ""},
		{"affinity across namespaces", amounts("pods", "0"), scoped(corev1.ResourceQuotaScopeCrossNamespacePodAffinity), elsewhere, none},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := storetest.New(t).Client(storetest.Admin())
			limit(t, c, "q", test.hard, test.scope)
			err := c.Create(t.Context(), test.obj)
			var status apierrors.APIStatus
			switch {
			case err == nil && test.want == "":
			case !errors.As(err, &status):
				t.Errorf("answered with %v, want %s", err, test.want)
			case status.Status().Message != test.want:
				t.Errorf("got  %s\nwant %s", status.Status().Message, test.want)
			}
		})
	}
}

func TestQuotaChargesGrowthAndNothingElse(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	limit(t, c, "q", amounts("services.nodeports", "1", "count/configmaps", "1"))
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	create(t, c, s, configMap("one", nil))
	if err := c.Create(t.Context(), configMap("one", nil)); err == nil {
		t.Error("a second object of one name was made")
	}
	s.Spec.Type = corev1.ServiceTypeNodePort
	if err := c.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	s.Labels = map[string]string{"a": "b"}
	if err := c.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "b", Port: 81})
	s.Spec.Ports[0].Name = "a"
	if err := c.Update(t.Context(), s); !apierrors.IsForbidden(err) {
		t.Errorf("a second node port was answered with %v", err)
	}
	used := usedOf(t, c, "q")
	if ports, maps := used["services.nodeports"], used["count/configmaps"]; ports.Value() != 1 || maps.Value() != 1 {
		t.Errorf("used %v", used)
	}
}

func TestQuotaThatNobodyCountedLetsNothingIn(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	create(t, c, &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: amounts("count/configmaps", "1")},
	})
	err := c.Create(t.Context(), configMap("x", nil))
	want := `configmaps "x" is forbidden: status unknown for quota: q, resources: count/configmaps`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	create(t, c, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "uncounted"}})
}

func TestQuotaDoesNotKeepAClusterFromStarting(t *testing.T) {
	shared := memory.New()
	t.Cleanup(func() { _ = shared.Close() })
	c := storetest.New(t, storetest.WithBackend(shared)).Client(storetest.Admin())
	limit(t, c, "q", amounts("count/configmaps", "0"))
	again := storetest.New(t, storetest.WithBackend(shared), storetest.WithSeed(configMap("needed", nil))).Client(storetest.Admin())
	if err := reread(t, again, configMap("needed", nil)); err != nil {
		t.Error(err)
	}
	if err := again.Create(t.Context(), configMap("other", nil)); !apierrors.IsForbidden(err) {
		t.Errorf("a user's object was answered with %v", err)
	}
}

// gpuClaim asks for devices of class fast.
func gpuClaim(name string, n int64) *resourcev1.ResourceClaim {
	return &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{
		Requests: []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "fast", Count: n}}},
	}}}
}

// gpuPod requests two of what devices of class fast stand for.
func gpuPod(name string) *corev1.Pod {
	p := pod(name)
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: amounts("example.com/gpu", "2"), Limits: amounts("example.com/gpu", "2")}
	return p
}

// madeFor makes a claim one for a pod's requests.
func madeFor(p *corev1.Pod, claim *resourcev1.ResourceClaim) *resourcev1.ResourceClaim {
	claim.Annotations = map[string]string{resourcev1.ExtendedResourceClaimAnnotation: "true"}
	claim.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID, Controller: ptr.To(true)}}
	return claim
}

// Claims of devices and requests for the resource that these stand for share what a
// quota allows; a claim that the Scheduler makes for a pod's requests costs nothing
// more.
func TestQuotaOfExtendedResources(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	create(t, c, &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Spec: resourcev1.DeviceClassSpec{ExtendedResourceName: ptr.To("example.com/gpu")}})
	limit(t, c, "q", amounts("requests.example.com/gpu", "3"))
	requests := gpuPod("p")
	create(t, c, requests)
	forPod := func(name string) *resourcev1.ResourceClaim { return madeFor(requests, gpuClaim(name, 2)) }
	create(t, c, forPod("a"))
	for _, tt := range []struct {
		claim *resourcev1.ResourceClaim
		fits  bool
	}{{forPod("b"), false}, {gpuClaim("large", 2), false}, {gpuClaim("small", 1), true}} {
		if err := c.Create(t.Context(), tt.claim); tt.fits != (err == nil) || err != nil && !apierrors.IsForbidden(err) {
			t.Errorf("claim %s: %v", tt.claim.Name, err)
		}
	}
	if used := usedOf(t, c, "q")["requests.example.com/gpu"]; used.Value() != 3 {
		t.Errorf("%s are used", used.String())
	}
}
