// Package vacprotection keeps VolumeAttributesClasses that volumes have from
// being removed: it takes the finalizer off a deleted class once no claim and no
// volume names it.
package vacprotection

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/controller/runner"
)

// byClass is the index of claims and of volumes by the classes that they name.
const byClass = "vacprotection/class"

type reconciler struct {
	client  *client.Client
	classes *client.Informer[*storagev1.VolumeAttributesClass]
	claims  *client.Informer[*corev1.PersistentVolumeClaim]
	volumes *client.Informer[*corev1.PersistentVolume]
}

// New returns the controller. Its keys name classes.
func New(deps runner.Deps) (*runner.Controller, error) {
	classes, err := client.InformerFor[*storagev1.VolumeAttributesClass](deps.Informers, nil)
	if err != nil {
		return nil, err
	}
	claims, err := client.InformerFor[*corev1.PersistentVolumeClaim](deps.Informers, cache.Indexers{byClass: index(classesOfClaim)})
	if err != nil {
		return nil, err
	}
	volumes, err := client.InformerFor[*corev1.PersistentVolume](deps.Informers, cache.Indexers{byClass: index(classesOfVolume)})
	if err != nil {
		return nil, err
	}
	r := &reconciler{client: deps.Client, classes: classes, claims: claims, volumes: volumes}
	c := runner.New("vacprotection", r, deps, runner.Options{Trace: classes.TraceContext})
	runner.Primary(c, classes)
	release(c, claims, classesOfClaim)
	release(c, volumes, classesOfVolume)
	return c, nil
}

// release looks again at the classes that an object names no longer. One that
// starts to name a class never sets it free.
func release[T kinds.Object](c *runner.Controller, informer *client.Informer[T], of func(T) []string) {
	informer.AddHandler(client.Handler[T]{
		OnUpdate: func(old, obj T) {
			now := of(obj)
			c.Enqueue(slices.DeleteFunc(of(old), func(name string) bool { return slices.Contains(now, name) })...)
		},
		OnDelete: func(obj T) { c.Enqueue(of(obj)...) },
	})
}

func index[T kinds.Object](of func(T) []string) cache.IndexFunc {
	return func(v any) ([]string, error) {
		obj, ok := v.(T)
		if !ok {
			return nil, fmt.Errorf("index a %T: not a %T", v, obj)
		}
		return of(obj), nil
	}
}

// classesOfClaim returns the classes that a claim asks for, has, and is about to
// have.
func classesOfClaim(c *corev1.PersistentVolumeClaim) []string {
	names := named(c.Spec.VolumeAttributesClassName, c.Status.CurrentVolumeAttributesClassName)
	if m := c.Status.ModifyVolumeStatus; m != nil {
		names = append(names, named(&m.TargetVolumeAttributesClassName)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func classesOfVolume(v *corev1.PersistentVolume) []string {
	return named(v.Spec.VolumeAttributesClassName)
}

func named(names ...*string) []string {
	var out []string
	for _, name := range names {
		if name != nil && *name != "" {
			out = append(out, *name)
		}
	}
	return out
}

// Reconcile protects a class, or lets it go.
func (r *reconciler) Reconcile(ctx context.Context, key string) (runner.Outcome, error) {
	class, ok := r.classes.GetByKey(key)
	if !ok {
		return runner.Done(), nil
	}
	protected := slices.Contains(class.Finalizers, kinds.AttributesClassProtectionFinalizer)
	switch deleted := class.DeletionTimestamp != nil; {
	case !deleted && !protected:
		class = class.DeepCopy()
		class.Finalizers = append(class.Finalizers, kinds.AttributesClassProtectionFinalizer)
	case deleted && protected:
		used, err := r.isUsed(key)
		if err != nil || used {
			return runner.Done(), err
		}
		class = class.DeepCopy()
		class.Finalizers = slices.DeleteFunc(class.Finalizers, func(f string) bool { return f == kinds.AttributesClassProtectionFinalizer })
	default:
		return runner.Done(), nil
	}
	if err := r.client.Update(ctx, class); err != nil && !apierrors.IsNotFound(err) {
		return runner.Done(), fmt.Errorf("set the finalizers of class %s: %w", key, err)
	}
	return runner.Done(), nil
}

func (r *reconciler) isUsed(class string) (bool, error) {
	claims, err := r.claims.ByIndex(byClass, class)
	if err != nil {
		return false, err
	}
	volumes, err := r.volumes.ByIndex(byClass, class)
	return len(claims)+len(volumes) > 0, err
}
