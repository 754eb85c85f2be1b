package admission

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/services/store/access"
)

// namespaceLifecycle lets nothing be created in a namespace that does not
// exist or is being deleted, and keeps the namespaces that the cluster needs.
type namespaceLifecycle struct {
	noValidation
	reader access.Reader
}

func (p namespaceLifecycle) Mutate(ctx context.Context, r *Request) error {
	switch {
	case r.Operation == Delete && r.Kind.Group == "" && r.Kind.Resource == "namespaces":
		return refuseImmortal(r)
	case r.Operation != Create || !r.Kind.Namespaced || r.Subresource != "":
		return nil
	}
	obj, err := p.reader.Get(ctx, schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}, "", r.Namespace)
	if err != nil {
		return err
	}
	if obj.GetDeletionTimestamp() == nil {
		return nil
	}
	return terminating(r)
}

func terminating(r *Request) error {
	err := apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(),
		fmt.Errorf("unable to create new content in namespace %s because it is being terminated", r.Namespace))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: corev1.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", r.Namespace), Field: "metadata.namespace",
	})
	return err
}

func refuseImmortal(r *Request) error {
	switch r.Name {
	case metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic:
		return apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(), errors.New("this namespace may not be deleted"))
	}
	return nil
}
