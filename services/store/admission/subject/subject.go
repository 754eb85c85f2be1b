// Package subject shows a request as webhooks and expressions see it.
package subject

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/expression"
	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/admission/matching"
)

// ObjectKind returns the kind of what is written, as one about kind sees it.
func ObjectKind(r *admission.Request, kind *kinds.Kind) schema.GroupVersionKind {
	if r.ObjectKind.Empty() {
		return kind.GVK()
	}
	return r.ObjectKind
}

// View returns a copy of one of the request's objects as an object of kind, with
// its TypeMeta; nil stays nil.
func View(r *admission.Request, kind *kinds.Kind, obj kinds.Object) (kinds.Object, error) {
	if obj == nil {
		return nil, nil
	}
	obj = obj.DeepCopyObject().(kinds.Object)
	if r.ObjectKind.Empty() {
		var err error
		if obj, err = r.Kind.Convert(obj, kind); err != nil {
			return nil, err
		}
	}
	obj.GetObjectKind().SetGroupVersionKind(ObjectKind(r, kind))
	return obj, nil
}

// Take makes obj, which is of kind, the request's object.
func Take(r *admission.Request, kind *kinds.Kind, obj kinds.Object) error {
	if r.ObjectKind.Empty() {
		var err error
		if obj, err = kind.Convert(obj, r.Kind); err != nil {
			return err
		}
		obj.GetObjectKind().SetGroupVersionKind(r.Kind.GVK())
	}
	r.Object = obj
	return nil
}

// Inputs returns the values of the variables of expressions about a request, but
// for those of a policy. namespace is that of the request.
func Inputs(ctx context.Context, r *admission.Request, kind *kinds.Kind, namespace *corev1.Namespace, authorizer access.Authorizer) (*expression.Inputs, error) {
	in := &expression.Inputs{Namespace: namespace, Authorizer: authorization(ctx, r, authorizer)}
	if r.Kind.GVR() == corev1.SchemeGroupVersion.WithResource("namespaces") {
		in.Namespace = nil // a Namespace is in none
	}
	var err error
	if in.OldObject, err = unstructured(r, kind, r.Old); err != nil {
		return nil, err
	}
	if in.Object, err = unstructured(r, kind, r.Object); err != nil {
		return nil, err
	}
	if r.Stream != nil {
		if in.Object, err = expression.Unstructured(r.Stream); err != nil {
			return nil, err
		}
	}
	in.Request, err = requestFields(r, kind)
	return in, err
}

func unstructured(r *admission.Request, kind *kinds.Kind, obj kinds.Object) (map[string]any, error) {
	seen, err := View(r, kind, obj)
	if err != nil || seen == nil {
		return nil, err
	}
	return expression.Unstructured(seen)
}

// requestFields are the fields of the variable request. Like those of an
// AdmissionReview, they are absent where they are empty.
func requestFields(r *admission.Request, kind *kinds.Kind) (map[string]any, error) {
	gvk := func(k schema.GroupVersionKind) any {
		return map[string]any{"group": k.Group, "version": k.Version, "kind": k.Kind}
	}
	gvr := func(k schema.GroupVersionResource) any {
		return map[string]any{"group": k.Group, "version": k.Version, "resource": k.Resource}
	}
	m := map[string]any{
		"kind": gvk(ObjectKind(r, kind)), "resource": gvr(kind.GVR()),
		"requestKind": gvk(ObjectKind(r, r.Kind)), "requestResource": gvr(r.Kind.GVR()),
		"operation": string(r.Operation), "userInfo": userFields(r.User), "dryRun": r.DryRun,
	}
	for field, value := range map[string]string{
		"subResource": r.Subresource, "requestSubResource": r.Subresource, "name": r.Name, "namespace": matching.NamespaceOf(r),
	} {
		if value != "" {
			m[field] = value
		}
	}
	if r.Options != nil {
		options, err := runtime.DefaultUnstructuredConverter.ToUnstructured(r.Options)
		if err != nil {
			return nil, err
		}
		m["options"] = options
	}
	return m, nil
}

func userFields(id identity.Identity) map[string]any {
	m := map[string]any{}
	if id.Name != "" {
		m["username"] = id.Name
	}
	if id.UID != "" {
		m["uid"] = id.UID
	}
	if len(id.Groups) > 0 {
		m["groups"] = id.Groups
	}
	if len(id.Extra) > 0 {
		m["extra"] = id.Extra
	}
	return m
}

// authorization lets expressions ask what the user may do.
func authorization(ctx context.Context, r *admission.Request, authorizer access.Authorizer) *expression.Authorizer {
	return &expression.Authorizer{
		Context: ctx,
		Request: expression.Question{
			Group: r.Kind.Group, Resource: r.Kind.Resource, Subresource: r.Subresource, Namespace: matching.NamespaceOf(r), Name: r.Name,
		},
		Ask: func(ctx context.Context, c expression.Question) expression.Decision {
			a := access.Attributes{User: r.User, Verb: c.Verb, Path: c.Path}
			if c.ServiceAccount != "" {
				a.User = serviceAccount(c.ServiceAccount)
			}
			if c.Path == "" {
				a.Group, a.Version, a.Resource, a.Subresource = c.Group, "*", c.Resource, c.Subresource
				a.Namespace, a.Name, a.FieldSelector, a.LabelSelector = c.Namespace, c.Name, c.FieldSelector, c.LabelSelector
			}
			d, err := authorizer.Authorize(ctx, a)
			return expression.Decision{Allowed: d.Allowed && !d.Denied && err == nil, Reason: d.Reason, Err: err}
		},
	}
}

// serviceAccount returns the identity of an account, "namespace/name".
func serviceAccount(name string) identity.Identity {
	namespace, account, _ := strings.Cut(name, "/")
	return identity.Identity{
		Name:   "system:serviceaccount:" + namespace + ":" + account,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, identity.GroupAuthenticated},
	}
}
