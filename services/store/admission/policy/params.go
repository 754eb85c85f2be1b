package policy

import (
	"context"
	"errors"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/internal/expression"
	"navarch.dev/navarch/internal/kinds"
)

// noParams is what a policy is applied with once that has none.
func noParams() []map[string]any { return []map[string]any{nil} }

// paramsOf returns the parameters with which a binding applies a policy to a
// request in a namespace, which is empty for cluster-scoped objects: once with
// each.
func (a *applier) paramsOf(ctx context.Context, kind *kinds.Kind, ref *admissionv1.ParamRef, namespace string) ([]map[string]any, error) {
	if kind == nil || ref == nil {
		return noParams(), nil
	}
	switch {
	case !kind.Namespaced && ref.Namespace != "":
		return nil, errors.New("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
	case !kind.Namespaced:
		namespace = ""
	case ref.Namespace != "":
		namespace = ref.Namespace
	case namespace == "":
		return nil, errors.New("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
	}
	found, err := a.findParams(ctx, kind, ref, namespace)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && ref.ParameterNotFoundAction != nil && *ref.ParameterNotFoundAction == admissionv1.DenyAction {
		return nil, errors.New("no params found for policy binding with `Deny` parameterNotFoundAction")
	}
	out := make([]map[string]any, len(found))
	for i, obj := range found {
		obj = obj.DeepCopyObject().(kinds.Object)
		obj.GetObjectKind().SetGroupVersionKind(kind.GVK())
		if out[i], err = expression.Unstructured(obj); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (a *applier) findParams(ctx context.Context, kind *kinds.Kind, ref *admissionv1.ParamRef, namespace string) ([]kinds.Object, error) {
	if ref.Name != "" {
		obj, err := a.Reader.Get(ctx, kind.GVR(), namespace, ref.Name)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return []kinds.Object{obj}, err
	}
	selector, err := metav1.LabelSelectorAsSelector(ref.Selector)
	if err != nil {
		return nil, err
	}
	all, err := a.Reader.List(ctx, kind.GVR(), namespace)
	if err != nil {
		return nil, err
	}
	var found []kinds.Object
	for _, obj := range all {
		if selector.Matches(labels.Set(obj.GetLabels())) {
			found = append(found, obj)
		}
	}
	return found, nil
}
