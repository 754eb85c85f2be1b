package deletion_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/cmd/navarch/deletion"
	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/storetest"
)

// deleted makes objects, deletes the first, and returns what holds it.
func deleted(t *testing.T, opts client.DeleteOptions, prepare func(*client.Client), objs ...kinds.Object) []deletion.Blocker {
	t.Helper()
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	for i, obj := range objs {
		if i > 0 && len(obj.GetOwnerReferences()) > 0 {
			obj.GetOwnerReferences()[0].UID = objs[0].GetUID()
		}
		if err := c.Create(ctx, obj); err != nil {
			t.Fatal(err)
		}
	}
	if prepare != nil {
		prepare(c)
	}
	obj := objs[0]
	if err := c.Delete(ctx, obj, opts); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(ctx, obj.GetNamespace(), obj.GetName(), obj); err != nil {
		t.Fatal(err)
	}
	if since := deletion.Since(obj); since.IsZero() || time.Since(since) > time.Hour {
		t.Errorf("deleted at %s", since)
	}
	kind, err := kinds.Default().ForObject(obj)
	if err != nil {
		t.Fatal(err)
	}
	blockers, err := deletion.NewInspector(c, kinds.Default()).Blockers(ctx, kind, obj)
	if err != nil {
		t.Fatal(err)
	}
	return blockers
}

func want(t *testing.T, got []deletion.Blocker, phrases ...string) {
	t.Helper()
	if len(got) != 1 {
		t.Fatalf("%d blockers: %+v", len(got), got)
	}
	text := strings.Join(append([]string{got[0].What, got[0].Holder, got[0].Release}, got[0].Details...), "\n")
	for _, p := range phrases {
		if !strings.Contains(text, p) {
			t.Errorf("%q is not in:\n%s", p, text)
		}
	}
}

func configMap(name string, finalizers ...string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Finalizers: finalizers}}
}

func TestFinalizersName(t *testing.T) {
	want(t, deleted(t, client.DeleteOptions{}, nil, configMap("cm", "example.com/hold")),
		"finalizer example.com/hold", "the controller of example.com",
		`kubectl patch configmap cm -n default --type=json -p '[{"op":"test","path":"/metadata/finalizers/0","value":"example.com/hold"}`)
}

func TestForegroundDeletionNamesTheDependents(t *testing.T) {
	yes := true
	child := configMap("child", "example.com/hold")
	child.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "cm", BlockOwnerDeletion: &yes}}
	free := configMap("free")
	free.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "cm"}}
	got := deleted(t, client.DeleteOptions{Propagation: metav1.DeletePropagationForeground}, nil, configMap("cm"), child, free)
	want(t, got, "foregroundDeletion", "garbage collector", "configmap child")
	if len(got[0].Details) != 1 {
		t.Errorf("dependents %q", got[0].Details)
	}
}

func TestPodsWaitForTheirNode(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	lost := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	got := deleted(t, client.DeleteOptions{}, func(c *client.Client) {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
		if err := c.Create(t.Context(), node); err != nil {
			t.Fatal(err)
		}
		node.Status.Conditions = []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionUnknown, LastTransitionTime: lost, Message: "no heartbeat",
		}}
		if err := c.UpdateStatus(t.Context(), node); err != nil {
			t.Fatal(err)
		}
		resp, err := c.Store().Bind(t.Context(), &storev1.BindRequest{Bindings: []*storev1.Binding{{Namespace: "default", Name: "p", NodeName: "n1"}}})
		if err != nil || resp.GetResults()[0].GetCode() != 0 {
			t.Fatal(err, resp)
		}
	}, pod)
	want(t, got, "the agent of node n1", "being killed in", "not ready since 2026-01-02T03:04:05Z: no heartbeat", "kubectl delete pod p -n default --grace-period=0 --force")
}

func TestNamespacesNameTheirContents(t *testing.T) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}
	want(t, deleted(t, client.DeleteOptions{}, func(c *client.Client) {
		fresh := ns.DeepCopy()
		fresh.Status.Conditions = []corev1.NamespaceCondition{{Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionTrue,
			LastTransitionTime: metav1.Now(), Message: "Some resources are remaining: pods. has 2 resource instances"}}
		if err := c.UpdateStatus(t.Context(), fresh); err != nil {
			t.Fatal(err)
		}
	}, ns), "finalizer kubernetes", "the controller namespace", "NamespaceContentRemaining since", "has 2 resource instances")
}

func TestClaimsNameThePodsThatUseThem(t *testing.T) {
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "data", Finalizers: []string{"kubernetes.io/pvc-protection"}},
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}},
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "user"},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c", Image: "i"}},
			Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}},
		},
	}
	want(t, deleted(t, client.DeleteOptions{}, nil, claim, pod), "pvc-protection", "pod user on no node")
}
