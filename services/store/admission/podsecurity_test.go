package admission_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/storetest"
)

const restrictedDetail = `allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), ` +
	`unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), ` +
	`runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), ` +
	`seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")`

func namespace(name string, labels ...string) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for i := 0; i < len(labels); i += 2 {
		ns.Labels["pod-security.kubernetes.io/"+labels[i]] = labels[i+1]
	}
	return ns
}

func in(namespace string, p *corev1.Pod) *corev1.Pod {
	p.Namespace = namespace
	return p
}

// warnings writes an object and returns what the Store warns of.
func warnings(t *testing.T, c *client.Client, obj kinds.Object, update bool) []string {
	t.Helper()
	kind, err := kinds.Default().ForObject(obj)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := kinds.Encode(obj)
	if err != nil {
		t.Fatal(err)
	}
	resource := &storev1.Resource{Group: kind.Group, Version: kind.Version, Resource: kind.Resource}
	if update {
		resp, err := c.Store().Update(t.Context(), &storev1.UpdateRequest{
			Resource: resource, Namespace: obj.GetNamespace(), Name: obj.GetName(), Object: &storev1.Object{Object: encoded},
		})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetWarnings()
	}
	resp, err := c.Store().Create(t.Context(), &storev1.CreateRequest{
		Resource: resource, Namespace: obj.GetNamespace(), Object: &storev1.Object{Object: encoded},
	})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetWarnings()
}

func TestPodSecurityEnforces(t *testing.T) {
	c := newStore(t, namespace("tight", "enforce", "restricted"), namespace("open"))
	mustCreate(t, c, in("open", podOf("x")))
	want := `pods "x" is forbidden: violates PodSecurity "restricted:latest": ` + restrictedDetail
	if got := refusal(t, c.Create(t.Context(), in("tight", podOf("x")))); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestPodSecurityWarns(t *testing.T) {
	c := newStore(t, namespace("tight", "enforce", "restricted"), namespace("warned", "warn", "restricted"))
	want := []string{`would violate PodSecurity "restricted:latest": ` + restrictedDetail}
	if diff := cmp.Diff(want, warnings(t, c, in("warned", podOf("x")), false)); diff != "" {
		t.Errorf("for a pod (-want +got):\n%s", diff)
	}
	labels := map[string]string{"a": "b"}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "tight", Name: "d"},
		Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podOf("x").Spec,
		}},
	}
	if got := warnings(t, c, deployment, false); !slices.Contains(got, want[0]) {
		t.Errorf("for a Deployment: %q", got)
	}
}

func TestPodSecurityWarnsOfPodsThatBreakNewLabels(t *testing.T) {
	privileged := podOf("b")
	privileged.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
	twin := podOf("a")
	twin.Spec = *privileged.Spec.DeepCopy()
	networked := podOf("n")
	networked.Spec.HostNetwork = true
	c := newStore(t, namespace("ns"))
	mustCreate(t, c, in("ns", privileged), in("ns", twin), in("ns", networked), in("ns", podOf("fine")))
	got := warnings(t, c, namespace("ns", "enforce", "baseline"), true)
	want := []string{
		`existing pods in namespace "ns" violate the new PodSecurity enforce level "baseline:latest"`,
		`a (and 1 other pod): privileged`,
		`n: host namespaces`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if got := warnings(t, c, namespace("ns", "enforce", "privileged"), true); len(got) > 0 {
		t.Errorf("loosening warns: %q", got)
	}
}

func TestPodSecurityRefusesLabelsWithoutMeaning(t *testing.T) {
	c := newStore(t)
	err := c.Create(t.Context(), namespace("x", "enforce", "strict"))
	if !apierrors.IsInvalid(err) {
		t.Fatalf("answered with %v", err)
	}
	want := `Namespace "x" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted`
	if err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// TestPodSecurityAudit: who audits a request is told what is enforced, and what
// breaks the standard that is only audited.
func TestPodSecurityAudit(t *testing.T) {
	const prefix = "pod-security.kubernetes.io/"
	s := storetest.New(t)
	mustCreate(t, s.Client(storetest.Admin()), namespace("open"), namespace("audited", "audit", "restricted"),
		namespace("strict", "enforce", "restricted", "audit", "restricted", "audit-version", "v1.30"))
	c, ctx, noted := s.Audited(t)
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "audited", Name: "d"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: podOf("x").Spec},
	}}
	for _, tc := range []struct {
		name    string
		obj     kinds.Object
		refused bool
		want    map[string]string
	}{
		{"an open namespace", in("open", podOf("x")), false, map[string]string{prefix + "enforce-policy": "privileged:latest"}},
		{"an audited one", in("audited", podOf("x")), false, map[string]string{
			prefix + "enforce-policy": "privileged:latest", prefix + "audit-violations": `would violate PodSecurity "restricted:latest": ` + restrictedDetail,
		}},
		{"a template", deployment, false, map[string]string{prefix + "audit-violations": `would violate PodSecurity "restricted:latest": ` + restrictedDetail}},
		{"one that refuses", in("strict", podOf("x")), true, map[string]string{
			prefix + "enforce-policy": "restricted:latest", prefix + "audit-violations": `would violate PodSecurity "restricted:v1.30": ` + restrictedDetail,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := c.Create(ctx, tc.obj); (err != nil) != tc.refused {
				t.Errorf("it ends with %v", err)
			}
			if diff := cmp.Diff(tc.want, noted()); diff != "" {
				t.Errorf("the annotations differ (-want +got):\n%s", diff)
			}
		})
	}
}
