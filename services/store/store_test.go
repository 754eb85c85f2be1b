package store_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/services/store/storetest"
)

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: data}
}

func TestWriteThenRead(t *testing.T) {
	ctx := t.Context()
	c := storetest.New(t).Client(storetest.Admin())
	cm := configMap("a", map[string]string{"k": "1"})
	if err := c.Create(ctx, cm); err != nil {
		t.Fatal(err)
	}
	if cm.UID == "" || cm.ResourceVersion == "" || cm.CreationTimestamp.IsZero() {
		t.Fatalf("created without the Store's metadata: %+v", cm.ObjectMeta)
	}
	err := c.Create(ctx, configMap("a", nil))
	if !apierrors.IsAlreadyExists(err) || err.Error() != `configmaps "a" already exists` {
		t.Errorf("second create: %v", err)
	}
	var got corev1.ConfigMap
	if err := c.Get(ctx, "default", "a", &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(cm, &got); diff != "" {
		t.Errorf("read what was not written (-written +read):\n%s", diff)
	}
	stale := got.DeepCopy()
	got.Data["k"] = "2"
	if err := c.Update(ctx, &got); err != nil {
		t.Fatal(err)
	}
	stale.Data["k"] = "3"
	if err := c.Update(ctx, stale); !apierrors.IsConflict(err) {
		t.Errorf("update of an old version: %v", err)
	}
	if err := c.Patch(ctx, &got, types.MergePatchType, []byte(`{"data":{"x":"y"}}`), ""); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"k": "2", "x": "y"}, got.Data); diff != "" {
		t.Errorf("patched (-want +got):\n%s", diff)
	}
	if err := c.Delete(ctx, &got, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(ctx, "default", "a", &got); !apierrors.IsNotFound(err) || err.Error() != `configmaps "a" not found` {
		t.Errorf("get after delete: %v", err)
	}
}

func TestInformerFollows(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := storetest.New(t).Client(storetest.Admin())
	if err := c.Create(ctx, configMap("a", nil)); err != nil {
		t.Fatal(err)
	}
	informers := client.NewInformers(c)
	informer, err := client.InformerFor[*corev1.ConfigMap](informers, nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, 10)
	informer.AddHandler(client.Handler[*corev1.ConfigMap]{
		OnAdd:    func(o *corev1.ConfigMap) { seen <- "add " + o.Name },
		OnUpdate: func(_, o *corev1.ConfigMap) { seen <- "update " + o.Name },
		OnDelete: func(o *corev1.ConfigMap) { seen <- "delete " + o.Name },
	})
	if err := informers.Start(ctx); err != nil {
		t.Fatal(err)
	}
	b := configMap("b", nil)
	if err := c.Create(ctx, b); err != nil {
		t.Fatal(err)
	}
	b.Data = map[string]string{"k": "v"}
	if err := c.Update(ctx, b); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(ctx, b, client.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"add a", "add b", "update b", "delete b"} {
		if got := <-seen; got != want {
			t.Errorf("saw %q, want %q", got, want)
		}
	}
}

// A decoder adds to what an object holds already; a read must not.
func TestReadIntoAFilledObject(t *testing.T) {
	c := storetest.New(t).Client(storetest.Admin())
	cm := configMap("a", map[string]string{"k": "v"})
	cm.Finalizers = []string{"example.com/x"}
	create(t, c, cm)
	cm.Data["other"] = "value"
	if err := reread(t, c, cm); err != nil || len(cm.Finalizers) != 1 || len(cm.Data) != 1 {
		t.Errorf("read again: %v, %+v", err, cm)
	}
}
