package store_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/storetest"
)

// resizable is a pod with a container of each sort.
func resizable(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{
				{Name: "i", Image: "one"},
				{Name: "s", Image: "one", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)},
			},
			Containers: []corev1.Container{{Name: "c", Image: "one", Resources: corev1.ResourceRequirements{
				Requests: amounts("cpu", "100m", "memory", "64Mi"), Limits: amounts("cpu", "200m"),
			}}},
		},
	}
}

// Whoever may resize a pod can change CPU and memory and nothing else.
func TestResize(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	pod := resizable("p")
	create(t, c, pod)
	const container = `{"spec":{"containers":[{"name":"c","resources":`
	for _, test := range []struct {
		name, patch, refused string
	}{
		{name: "more of all, and what is not to be changed",
			patch: `{"metadata":{"labels":{"a":"b"}},"spec":{"nodeName":"n","containers":[{"name":"c","image":"two","resources":{"requests":{"cpu":"150m"}}}]}}`},
		{name: "a sidecar", patch: `{"spec":{"initContainers":[{"name":"s","resources":{"requests":{"cpu":"50m"}}}]}}`},
		{name: "an init container", patch: `{"spec":{"initContainers":[{"name":"i","resources":{"requests":{"cpu":"50m"}}}]}}`},
		{name: "a policy", patch: `{"spec":{"containers":[{"name":"c","resizePolicy":[{"resourceName":"cpu","restartPolicy":"RestartContainer"}]}]}}`,
			refused: `spec: Forbidden: only cpu and memory resources are mutable`},
		{name: "another resource", patch: container + `{"requests":{"ephemeral-storage":"1Gi"}}}]}}`, refused: `spec: Forbidden: only cpu and memory resources are mutable`},
		{name: "another resource of a sidecar", patch: `{"spec":{"initContainers":[{"name":"s","resources":{"requests":{"ephemeral-storage":"1Gi"}}}]}}`,
			refused: `spec.initContainers[1]: Forbidden: only cpu and memory resources for init or sidecar containers are mutable`},
		{name: "no request", patch: container + `{"requests":{"memory":null}}}]}}`, refused: `spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed`},
		{name: "no limit", patch: container + `{"limits":{"cpu":null}}}]}}`, refused: `spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed`},
		{name: "a limit that was none", patch: container + `{"limits":{"memory":"1Gi"}}}]}}`},
		{name: "above its limit", patch: container + `{"requests":{"cpu":"1"}}}]}}`, refused: `must be less than or equal to cpu limit of 200m`},
		{name: "less than nothing", patch: container + `{"requests":{"cpu":"-1"}}}]}}`, refused: `must be greater than or equal to 0`},
		{name: "another container", patch: `{"spec":{"containers":[{"name":"d","image":"i"}]}}`, refused: `spec.containers: Forbidden: containers may not be added or removed on resize`},
		{name: "a renamed container", patch: `{"spec":{"initContainers":[{"$patch":"replace"},{"name":"i","image":"one"},{"name":"t","image":"one","restartPolicy":"Always"}]}}`,
			refused: `spec.initContainers[1].name: Forbidden: initContainers may not be renamed or reordered on resize`},
		{name: "resources of the pod", patch: `{"spec":{"resources":{"requests":{"cpu":"1"},"limits":{"cpu":"2"}}}}`},
		{name: "no limit of the pod", patch: `{"spec":{"resources":{"limits":{"cpu":null}}}}`, refused: `spec.resources.limits: Forbidden: pod-level resource limits cannot be removed`},
	} {
		err := c.Patch(ctx, pod, types.StrategicMergePatchType, []byte(test.patch), "resize")
		if test.refused == "" && err != nil || test.refused != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), test.refused)) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if err := c.Get(ctx, "default", "p", pod); err != nil {
		t.Fatal(err)
	}
	r := pod.Spec.Containers[0].Resources
	if got := r.Requests.Cpu().String() + " " + r.Limits.Cpu().String() + " " + r.Limits.Memory().String(); got != "150m 200m 1Gi" {
		t.Errorf("the container has %s", got)
	}
	if pod.Spec.Containers[0].Image != "one" || pod.Labels != nil || pod.Spec.NodeName != "" {
		t.Errorf("changed beyond its resources: %+v", pod)
	}
	if pod.Generation != 6 {
		t.Errorf("generation %d after five resizes", pod.Generation)
	}
	err := c.Patch(ctx, pod, types.StrategicMergePatchType, []byte(container+`{"requests":{"cpu":"1m"}}}]}}`), "")
	if !apierrors.IsInvalid(err) {
		t.Errorf("other resources without the subresource: %v", err)
	}
	before := pod.DeepCopy()
	if err := c.UpdateSubresource(ctx, pod, "resize"); err != nil || pod.Generation != before.Generation {
		t.Errorf("a resize to what it is: generation %d, %v", pod.Generation, err)
	}
}

// A pod keeps its class, and pods that cannot be resized are told apart.
func TestResizeRefused(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	double := func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests["cpu"] = resource.MustParse("120m") }
	for _, test := range []struct {
		name, refused string
		with          func(*corev1.Pod)
		change        func(*corev1.Pod)
		status        *corev1.ContainerStatus
	}{
		{name: "guaranteed", refused: `spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing`,
			with: func(p *corev1.Pod) { p.Spec.InitContainers = nil },
			change: func(p *corev1.Pod) {
				p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Limits: amounts("cpu", "1", "memory", "1Gi"), Requests: amounts("cpu", "1", "memory", "1Gi")}
			}},
		{name: "best-effort", refused: `spec: Invalid value: "BestEffort": Pod QOS Class may not change as a result of resizing`,
			with:   func(p *corev1.Pod) { p.Spec.Containers[0].Resources = corev1.ResourceRequirements{} },
			change: func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = amounts("cpu", "1") }},
		{name: "static", refused: "static pods cannot be resized", change: double,
			with: func(p *corev1.Pod) {
				p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "a"}
				p.Spec.NodeName = "n"
			}},
		{name: "windows", refused: "windows pods cannot be resized", change: double,
			with: func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }},
		{name: "unreported", refused: "spec: Forbidden: Pod running on node without support for resize", change: double,
			status: &corev1.ContainerStatus{Name: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
		{name: "reported", change: double, status: &corev1.ContainerStatus{
			Name: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, Resources: &corev1.ResourceRequirements{},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := resizable(test.name)
			if test.with != nil {
				test.with(pod)
			}
			create(t, c, pod)
			if test.status != nil {
				pod.Status.ContainerStatuses = []corev1.ContainerStatus{*test.status}
				if err := c.UpdateStatus(ctx, pod); err != nil {
					t.Fatal(err)
				}
			}
			test.change(pod)
			err := c.UpdateSubresource(ctx, pod, "resize")
			if test.refused == "" && err != nil || test.refused != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), test.refused)) {
				t.Errorf("got %v, want %s", err, test.refused)
			}
		})
	}
}

// Agents report what their pods have; they do not decide it.
func TestAgentsDoNotResize(t *testing.T) {
	s := storetest.New(t)
	admin, agent := s.Client(storetest.Admin()), s.Client(identity.Node("n1"))
	pod := resizable("p")
	pod.Spec.NodeName = "n1"
	create(t, admin, pod)
	pod.Spec.Containers[0].Resources.Requests["cpu"] = resource.MustParse("120m")
	if err := agent.UpdateSubresource(t.Context(), pod, "resize"); !apierrors.IsForbidden(err) {
		t.Errorf("an agent resizes its pod: %v", err)
	}
}

// Whoever applies a size owns the resources that were sent, and nothing else.
func TestApplyResize(t *testing.T) {
	s := storetest.New(t)
	pod := resizable("p")
	create(t, asUser(t, s, "creator").Client, pod)
	_, err := asUser(t, s, "sizer").apply(pod, "resize", `
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {a: b}}
spec: {containers: [{name: c, resources: {requests: {cpu: 180m}}}]}`, forced)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Client(storetest.Admin()).Get(t.Context(), "default", "p", pod); err != nil {
		t.Fatal(err)
	}
	wantOwners(t, "resized", pod, "creator Update v1", "sizer Apply v1 resize")
	i := slices.IndexFunc(pod.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return f.Manager == "sizer" })
	want := `{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:resources":{"f:requests":{"f:cpu":{}}}}}}}`
	if got := pod.ManagedFields[i].FieldsV1.GetRawString(); got != want {
		t.Errorf("it owns %s", got)
	}
	if cpu := pod.Spec.Containers[0].Resources.Requests.Cpu().String(); cpu != "180m" || pod.Labels != nil {
		t.Errorf("cpu %s, labels %v", cpu, pod.Labels)
	}
}

// A resize counts for quotas as a new pod does: with what it adds.
func TestResizeWithinQuota(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	pod := resizable("p")
	pod.Spec.InitContainers = nil
	limit(t, c, "q", amounts("requests.cpu", "150m"))
	create(t, c, pod)
	pod.Spec.Containers[0].Resources.Requests["cpu"] = resource.MustParse("200m")
	err := c.UpdateSubresource(ctx, pod.DeepCopy(), "resize")
	const want = `pods "p" is forbidden: exceeded quota: q, requested: requests.cpu=100m, used: requests.cpu=100m, limited: requests.cpu=150m`
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("above the quota: %v", err)
	}
	pod.Spec.Containers[0].Resources.Requests["cpu"] = resource.MustParse("150m")
	if err := c.UpdateSubresource(ctx, pod, "resize"); err != nil {
		t.Fatal(err)
	}
	if used := usedOf(t, c, "q")["requests.cpu"]; used.String() != "150m" {
		t.Errorf("used %s", used.String())
	}
}
