package gateway_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
)

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "test"}}, Data: data}
}

// TestTypedClient uses the client that most programs use, in both encodings.
func TestTypedClient(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	for i, contentType := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		t.Run(contentType, func(t *testing.T) {
			ctx := t.Context()
			maps := c.clientset(contentType).CoreV1().ConfigMaps("default")
			name := fmt.Sprintf("a%d", i)
			created, err := maps.Create(ctx, configMap(name, map[string]string{"k": "v"}), metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			w, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: created.ResourceVersion, FieldSelector: "metadata.name=" + name, AllowWatchBookmarks: true})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			created.Data["k"] = "w"
			if _, err := maps.Update(ctx, created, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := maps.Update(ctx, created, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
				t.Errorf("update of an old version: %v, want a conflict", err)
			}
			patched, err := maps.Patch(ctx, name, types.MergePatchType, []byte(`{"data":{"p":"q"}}`), metav1.PatchOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]string{"k": "w", "p": "q"}, patched.Data); diff != "" {
				t.Error(diff)
			}
			list, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "app=test", FieldSelector: "metadata.name=" + name})
			if err != nil || len(list.Items) != 1 || list.ResourceVersion == "" {
				t.Fatalf("list: %d items at %q, %v", len(list.Items), list.ResourceVersion, err)
			}
			if err := maps.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := maps.Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("get of a deleted object: %v, want not found", err)
			}
			for _, want := range []watch.EventType{watch.Modified, watch.Modified, watch.Deleted} {
				e := <-w.ResultChan()
				if m, ok := e.Object.(*corev1.ConfigMap); e.Type != want || !ok || m.Name != name {
					t.Fatalf("event %v %v, want %v", e.Type, e.Object, want)
				}
			}
		})
	}
}

// TestPagedList reads a list page by page.
func TestPagedList(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	maps := c.clientset("application/vnd.kubernetes.protobuf").CoreV1().ConfigMaps("default")
	for i := range 7 {
		if _, err := maps.Create(t.Context(), configMap(fmt.Sprintf("m%d", i), nil), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	opts := metav1.ListOptions{Limit: 3, LabelSelector: "app=test"}
	for {
		page, err := maps.List(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Items {
			names = append(names, m.Name)
		}
		if opts.Continue = page.Continue; opts.Continue == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"m0", "m1", "m2", "m3", "m4", "m5", "m6"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestDynamicAndMetadataClients(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	ctx := t.Context()
	gvr := appsv1.SchemeGroupVersion.WithResource("deployments")
	d, err := dynamic.NewForConfig(c.config("admin"))
	if err != nil {
		t.Fatal(err)
	}
	obj := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "web"},
		"spec": map[string]any{
			"replicas": int64(2), "selector": map[string]any{"matchLabels": map[string]any{"a": "b"}},
			"template": map[string]any{
				"metadata": map[string]any{"labels": map[string]any{"a": "b"}},
				"spec":     map[string]any{"containers": []any{map[string]any{"name": "c", "image": "i"}}},
			},
		},
	}}
	if _, err := d.Resource(gvr).Namespace("default").Create(ctx, obj, metav1.CreateOptions{FieldValidation: "Strict"}); err != nil {
		t.Fatal(err)
	}
	scale, err := d.Resource(gvr).Namespace("default").Get(ctx, "web", metav1.GetOptions{}, "scale")
	if err != nil {
		t.Fatal(err)
	}
	if n, _, _ := unstructured.NestedInt64(scale.Object, "spec", "replicas"); n != 2 || scale.GetKind() != "Scale" {
		t.Errorf("scale is %v", scale.Object)
	}
	m, err := metadata.NewForConfig(c.config("admin"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := m.Resource(gvr).Namespace("default").List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Name != "web" {
		t.Fatalf("metadata list: %+v, %v", list, err)
	}
	one, err := m.Resource(gvr).Namespace("default").Get(ctx, "web", metav1.GetOptions{})
	if err != nil || one.Name != "web" || one.UID == "" {
		t.Errorf("metadata get: %+v, %v", one, err)
	}
}

// TestInformer follows a resource as controllers do.
func TestInformer(t *testing.T) {
	t.Parallel()
	c := start(t, noNodes{})
	for _, contentType := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		t.Run(contentType, func(t *testing.T) {
			ctx := t.Context()
			cs := c.clientset(contentType)
			factory := informers.NewSharedInformerFactory(cs, 0)
			informer := factory.Core().V1().Secrets().Informer()
			seen := make(chan string, 16)
			if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
				AddFunc:    func(o any) { seen <- "add " + o.(*corev1.Secret).Name },
				DeleteFunc: func(o any) { seen <- "delete " + o.(*corev1.Secret).Name },
			}); err != nil {
				t.Fatal(err)
			}
			factory.Start(ctx.Done())
			if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
				t.Fatal("the informer did not sync")
			}
			secrets := cs.CoreV1().Secrets("default")
			if _, err := secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if got := <-seen; got != "add s" {
				t.Fatalf("saw %q", got)
			}
			if err := secrets.Delete(ctx, "s", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			if got := <-seen; got != "delete s" {
				t.Fatalf("saw %q", got)
			}
		})
	}
}
