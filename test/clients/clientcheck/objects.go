package main

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
)

func typedJSON(ctx context.Context, config *rest.Config) error {
	return typed(ctx, config, "application/json")
}

func typedProtobuf(ctx context.Context, config *rest.Config) error {
	return typed(ctx, config, "application/vnd.kubernetes.protobuf")
}

// typed takes a Deployment through its life and watches that. Nothing runs: it
// has no replicas.
func typed(ctx context.Context, config *rest.Config, contentType string) error {
	config = rest.CopyConfig(config)
	config.ContentType = contentType
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	deployments := client.AppsV1().Deployments(namespace)
	w, err := deployments.Watch(ctx, metav1.ListOptions{LabelSelector: "check=typed"})
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	defer w.Stop()
	created, err := deployments.Create(ctx, deployment(), metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	if created.Spec.RevisionHistoryLimit == nil || created.UID == "" {
		return fmt.Errorf("create: what came back lacks defaults: %+v", created)
	}
	name := created.Name
	stale := created.DeepCopy()
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error { // its controller writes too
		current, err := deployments.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		metav1.SetMetaDataAnnotation(&current.ObjectMeta, "note", "updated")
		_, err = deployments.Update(ctx, current, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("update: %w", err)
	}
	if _, err := deployments.Update(ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		return fmt.Errorf("update of an old version: %w, want a conflict", errOrNone(err))
	}
	for kind, patch := range map[types.PatchType]string{
		types.JSONPatchType:           `[{"op":"add","path":"/metadata/labels/json","value":"yes"}]`,
		types.MergePatchType:          `{"metadata":{"labels":{"merge":"yes"}}}`,
		types.StrategicMergePatchType: `{"spec":{"template":{"spec":{"containers":[{"name":"second","image":"b:1"}]}}}}`,
	} {
		if _, err := deployments.Patch(ctx, name, kind, []byte(patch), metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("patch of type %s: %w", kind, err)
		}
	}
	got, err := deployments.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	if got.Labels["json"] != "yes" || got.Labels["merge"] != "yes" || len(got.Spec.Template.Spec.Containers) != 2 {
		return fmt.Errorf("get after patches: %+v", got)
	}
	scale, err := deployments.GetScale(ctx, name, metav1.GetOptions{})
	if err != nil || scale.Spec.Replicas != 0 {
		return fmt.Errorf("get the scale: %+v, %w", scale, errOrNone(err))
	}
	list, err := deployments.List(ctx, metav1.ListOptions{LabelSelector: "check=typed"})
	if err != nil || len(list.Items) != 1 {
		return fmt.Errorf("list: %d objects, %w", len(list.Items), errOrNone(err))
	}
	if err := refused(ctx, client); err != nil {
		return err
	}
	if err := deployments.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "check=typed"}); err != nil {
		return fmt.Errorf("delete the collection: %w", err)
	}
	return replay(ctx, w, name)
}

// refused checks what client-go makes of an object that breaks rules.
func refused(ctx context.Context, client kubernetes.Interface) error {
	bad := deployment()
	bad.Spec.Template.Labels = nil
	bad.Spec.Template.Spec.Containers[0].Image = ""
	_, err := client.AppsV1().Deployments(namespace).Create(ctx, bad, metav1.CreateOptions{})
	status := apierrors.APIStatus(nil)
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) || len(status.Status().Details.Causes) < 2 {
		return fmt.Errorf("create of an invalid object: %w, want at least two causes", errOrNone(err))
	}
	if _, err := client.CoreV1().Pods(namespace).Get(ctx, "missing", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("get of a missing object: %w, want NotFound", errOrNone(err))
	}
	return nil
}

// replay reads a watch until the object is gone.
func replay(ctx context.Context, w watch.Interface, name string) error {
	var events []watch.EventType
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("watch: %w after %v", ctx.Err(), events)
		case event, ok := <-w.ResultChan():
			if !ok {
				return fmt.Errorf("watch: it ended after %v", events)
			}
			d, ok := event.Object.(*appsv1.Deployment)
			if !ok || d.Name != name {
				return fmt.Errorf("watch: an unexpected event %+v", event)
			}
			events = append(events, event.Type)
			if event.Type != watch.Deleted {
				continue
			}
			if events[0] != watch.Added || len(events) < 6 {
				return fmt.Errorf("watch: the events were %v", events)
			}
			return nil
		}
	}
}

func deployment() *appsv1.Deployment {
	none, labels := int32(0), map[string]string{"check": "typed"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "typed-", Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: &none, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "first", Image: "a:1"}}},
			},
		},
	}
}

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// dynamicClient applies an object as two managers, server-side.
func dynamicClient(ctx context.Context, config *rest.Config) error {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	maps := client.Resource(configMaps).Namespace(namespace)
	object := func(value string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "dynamic"}, "data": map[string]any{"key": value},
		}}
	}
	if _, err := maps.Apply(ctx, "dynamic", object("a"), metav1.ApplyOptions{FieldManager: "first"}); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	if _, err := maps.Apply(ctx, "dynamic", object("b"), metav1.ApplyOptions{FieldManager: "second"}); !apierrors.IsConflict(err) {
		return fmt.Errorf("apply by another manager: %w, want a conflict", errOrNone(err))
	}
	forced, err := maps.Apply(ctx, "dynamic", object("b"), metav1.ApplyOptions{FieldManager: "second", Force: true})
	if err != nil {
		return fmt.Errorf("forced apply: %w", err)
	}
	if value, _, _ := unstructured.NestedString(forced.Object, "data", "key"); value != "b" {
		return fmt.Errorf("forced apply: the value is %q, want b", value)
	}
	if err := maps.Delete(ctx, "dynamic", metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

// metadataClient reads and changes what all objects have, and sees nothing else.
func metadataClient(ctx context.Context, config *rest.Config) error {
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return err
	}
	pods := client.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace(namespace)
	list, err := pods.List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) == 0 {
		return fmt.Errorf("list the pods: %d, %w", len(list.Items), errOrNone(err))
	}
	name := list.Items[0].Name
	patched, err := pods.Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"annotations":{"checked":"yes"}}}`), metav1.PatchOptions{})
	if err != nil || patched.Annotations["checked"] != "yes" {
		return fmt.Errorf("patch the pod %s: %+v, %w", name, patched, errOrNone(err))
	}
	return nil
}

// errOrNone makes an error of what may be none, to be wrapped.
func errOrNone(err error) error {
	if err == nil {
		return errors.New("no error")
	}
	return err
}
