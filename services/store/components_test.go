package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/backend"
	"navarch.dev/navarch/services/store/backend/memory"
	"navarch.dev/navarch/services/store/storetest"
)

// health lists the components, "" where they are well.
func health(t *testing.T, c *client.Client, opts client.ListOptions) map[string]string {
	t.Helper()
	var list corev1.ComponentStatusList
	if err := c.List(t.Context(), &list, opts); err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for _, s := range list.Items {
		condition := s.Conditions[0]
		if well := condition.Status == corev1.ConditionTrue; condition.Type != corev1.ComponentHealthy || well != (condition.Message == "ok") || well != (condition.Error == "") {
			t.Errorf("%s: %+v", s.Name, condition)
		}
		out[s.Name] = condition.Error
	}
	return out
}

func TestComponents(t *testing.T) {
	store := storetest.New(t)
	c := store.Client(storetest.Admin())
	const nobody = "it is not connected to this store, and nobody holds the lease kube-system/"
	want := map[string]string{"controller-manager": nobody + "navarch-controller", "scheduler": nobody + "kube-scheduler", "etcd-0": ""}
	if diff := cmp.Diff(want, health(t, c, client.ListOptions{})); diff != "" {
		t.Errorf("without any (-want +got):\n%s", diff)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	nodes, err := client.NewInformer[*corev1.Node](store.Client(identity.Service(identity.Scheduler)), client.InformerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	go nodes.Run(ctx)
	<-nodes.Synced()
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "navarch-controller"},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("c-1"), LeaseDurationSeconds: new(int32(3600)), RenewTime: new(metav1.NowMicro()),
		},
	}
	create(t, c, lease)
	want = map[string]string{"controller-manager": "", "scheduler": "", "etcd-0": ""}
	if diff := cmp.Diff(want, health(t, c, client.ListOptions{})); diff != "" {
		t.Errorf("with both (-want +got):\n%s", diff)
	}

	lease.Spec.RenewTime = new(metav1.NewMicroTime(time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)))
	if err := c.Update(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	want = map[string]string{"controller-manager": "it is not connected to this store, and c-1 renewed the lease kube-system/navarch-controller last at 2020-01-02T03:04:05Z"}
	only := client.ListOptions{Fields: fields.OneTermEqualSelector("metadata.name", "controller-manager")}
	if diff := cmp.Diff(want, health(t, c, only)); diff != "" {
		t.Errorf("with an old lease (-want +got):\n%s", diff)
	}

	var one corev1.ComponentStatus
	if err := c.Get(t.Context(), "", "scheduler", &one); err != nil || one.Name != "scheduler" || one.Conditions[0].Status != corev1.ConditionTrue {
		t.Errorf("one: %v, %+v", err, one)
	}
	if err := c.Get(t.Context(), "", "etcd-7", &one); !apierrors.IsNotFound(err) || !strings.Contains(err.Error(), `componentstatus "etcd-7" not found`) {
		t.Errorf("one that is not there: %v", err)
	}
	if err := c.Create(t.Context(), &corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}); !apierrors.IsMethodNotSupported(err) {
		t.Errorf("create: %v", err)
	}
	if err := c.Delete(t.Context(), &corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: "etcd-0"}}, client.DeleteOptions{}); !apierrors.IsMethodNotSupported(err) {
		t.Errorf("delete: %v", err)
	}
}

// ill is a backend of two servers, of which the second does not serve.
type ill struct{ backend.Backend }

func (ill) Probe(context.Context) []error { return []error{nil, errors.New("no leader")} }

func TestServersOfTheBackend(t *testing.T) {
	b := memory.New()
	defer func() { _ = b.Close() }()
	t.Run("two", func(t *testing.T) { // which ends before the backend
		got := health(t, storetest.New(t, storetest.WithBackend(ill{b})).Client(storetest.Admin()), client.ListOptions{})
		if got["etcd-0"] != "" || got["etcd-1"] != "no leader" {
			t.Errorf("%v", got)
		}
	})
}
