package admission

import (
	"cmp"
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-helpers/storage/volume"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
)

const (
	defaultStorageAnnotation     = "storageclass.kubernetes.io/is-default-class"
	defaultStorageAnnotationBeta = "storageclass.beta.kubernetes.io/is-default-class"
	// ingressClassAnnotation is how an Ingress names its class without the
	// field for it.
	ingressClassAnnotation = "kubernetes.io/ingress.class"
)

// defaultStorageClass gives a claim that names no storage class the default
// one. A claim with the empty class asks for none.
type defaultStorageClass struct {
	noValidation
	reader access.Reader
}

// Mutate implements Plugin.
func (p defaultStorageClass) Mutate(ctx context.Context, r *Request) error {
	claim, ok := r.Object.(*corev1.PersistentVolumeClaim)
	if !ok || !r.creates() || volume.PersistentVolumeClaimHasClass(claim) {
		return nil
	}
	class, err := newestDefault(ctx, p.reader, storageClasses(), defaultStorageAnnotation, defaultStorageAnnotationBeta)
	if class != "" {
		claim.Spec.StorageClassName = &class
	}
	return err
}

// defaultIngressClass is the same for Ingresses.
type defaultIngressClass struct {
	noValidation
	reader access.Reader
}

// Mutate implements Plugin.
func (p defaultIngressClass) Mutate(ctx context.Context, r *Request) error {
	ingress, ok := r.Object.(*networkingv1.Ingress)
	if !ok || !r.creates() || ingress.Spec.IngressClassName != nil {
		return nil
	}
	if _, named := ingress.Annotations[ingressClassAnnotation]; named {
		return nil
	}
	resource := schema.GroupVersionResource{Group: networkingv1.GroupName, Version: "v1", Resource: "ingressclasses"}
	class, err := newestDefault(ctx, p.reader, resource, networkingv1.AnnotationIsDefaultIngressClass)
	if class != "" {
		ingress.Spec.IngressClassName = &class
	}
	return err
}

func storageClasses() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "storage.k8s.io", Version: "v1", Resource: "storageclasses"}
}

// newestDefault returns the name of the class that one of the annotations
// marks as the default, the youngest if there are several, so that a new
// default can be introduced before the old one is withdrawn; "" if there is
// none.
func newestDefault(ctx context.Context, reader access.Reader, resource schema.GroupVersionResource, annotations ...string) (string, error) {
	classes, err := reader.List(ctx, resource, "")
	if err != nil {
		return "", err
	}
	var found []kinds.Object
	for _, class := range classes {
		if slices.ContainsFunc(annotations, func(a string) bool { return class.GetAnnotations()[a] == "true" }) {
			found = append(found, class)
		}
	}
	if len(found) == 0 {
		return "", nil
	}
	newest := slices.MinFunc(found, func(a, b kinds.Object) int {
		return cmp.Or(b.GetCreationTimestamp().Compare(a.GetCreationTimestamp().Time), cmp.Compare(a.GetName(), b.GetName()))
	})
	return newest.GetName(), nil
}
