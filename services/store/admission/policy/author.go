package policy

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/admission"
)

// Authors returns the rule that who writes a policy or a binding may read its
// parameters: their content could be told by the policy's messages.
func Authors(o Options) admission.Plugin { return authors{o} }

type authors struct{ Options }

// Mutate implements admission.Plugin.
func (authors) Mutate(context.Context, *admission.Request) error { return nil }

// Validate implements admission.Plugin.
func (a authors) Validate(ctx context.Context, r *admission.Request) error {
	if r.Kind.Group != admissionv1.GroupName || r.Object == nil || r.Subresource != "" || r.User.Name == identity.Store {
		return nil
	}
	switch obj := r.Object.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		old, _ := r.Old.(*admissionv1.ValidatingAdmissionPolicy)
		return a.checkPolicy(ctx, r, obj.Spec.ParamKind, old != nil && equality.Semantic.DeepEqual(old.Spec.ParamKind, obj.Spec.ParamKind))
	case *admissionv1.MutatingAdmissionPolicy:
		old, _ := r.Old.(*admissionv1.MutatingAdmissionPolicy)
		return a.checkPolicy(ctx, r, obj.Spec.ParamKind, old != nil && equality.Semantic.DeepEqual(old.Spec.ParamKind, obj.Spec.ParamKind))
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		old, _ := r.Old.(*admissionv1.ValidatingAdmissionPolicyBinding)
		same := old != nil && old.Spec.PolicyName == obj.Spec.PolicyName && equality.Semantic.DeepEqual(old.Spec.ParamRef, obj.Spec.ParamRef)
		return a.checkBinding(ctx, r, "validatingadmissionpolicies", obj.Spec.PolicyName, obj.Spec.ParamRef, same)
	case *admissionv1.MutatingAdmissionPolicyBinding:
		old, _ := r.Old.(*admissionv1.MutatingAdmissionPolicyBinding)
		same := old != nil && old.Spec.PolicyName == obj.Spec.PolicyName && equality.Semantic.DeepEqual(old.Spec.ParamRef, obj.Spec.ParamRef)
		return a.checkBinding(ctx, r, "mutatingadmissionpolicies", obj.Spec.PolicyName, obj.Spec.ParamRef, same)
	}
	return nil
}

// checkPolicy checks that the user may read all objects of a policy's kind of
// parameters, unless that is the same as before.
func (a authors) checkPolicy(ctx context.Context, r *admission.Request, kind *admissionv1.ParamKind, same bool) error {
	if kind == nil || same {
		return nil
	}
	allowed, err := a.mayGet(ctx, r.User, a.resource(kind), "", "")
	if err != nil || allowed {
		return err
	}
	return refused(r, field.NewPath("spec", "paramKind"), fmt.Sprintf(
		`user %s must have "get" permission on all objects of the referenced paramKind (kind=%s, apiVersion=%s)`, r.User.Name, kind.Kind, kind.APIVersion))
}

// checkBinding checks that the user may read the parameters of a binding. Those
// of a policy that is not there yet could be anything.
func (a authors) checkBinding(ctx context.Context, r *admission.Request, policies, policy string, ref *admissionv1.ParamRef, same bool) error {
	if ref == nil || same {
		return nil
	}
	resource := schema.GroupVersionResource{Group: "*", Version: "*", Resource: "*"}
	obj, err := a.Reader.Get(ctx, gvr(policies), "", policy)
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return err
	default:
		resource = a.resource(paramKindOf(obj))
	}
	allowed, err := a.mayGet(ctx, r.User, resource, ref.Namespace, ref.Name)
	if err != nil || allowed {
		return err
	}
	return refused(r, field.NewPath("spec", "paramRef"), fmt.Sprintf(`user %s does not have "get" permission on the object referenced by paramRef`, r.User.Name))
}

func paramKindOf(policy any) *admissionv1.ParamKind {
	switch p := policy.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		return p.Spec.ParamKind
	case *admissionv1.MutatingAdmissionPolicy:
		return p.Spec.ParamKind
	}
	return nil
}

// resource returns the resource of a kind of parameters, as far as it is known.
func (a authors) resource(k *admissionv1.ParamKind) schema.GroupVersionResource {
	all := schema.GroupVersionResource{Group: "*", Version: "*", Resource: "*"}
	if k == nil {
		return all
	}
	gvk := schema.FromAPIVersionAndKind(k.APIVersion, k.Kind)
	if kind, ok := a.Kinds.ForGVK(gvk); ok {
		return kind.GVR()
	}
	return gvk.GroupVersion().WithResource("*")
}

func (a authors) mayGet(ctx context.Context, user identity.Identity, resource schema.GroupVersionResource, namespace, name string) (bool, error) {
	d, err := a.Authorizer.Authorize(ctx, access.Attributes{
		User: user, Verb: "get", Group: resource.Group, Version: resource.Version, Resource: resource.Resource, Namespace: namespace, Name: name,
	})
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	return d.Allowed && !d.Denied, nil
}

func refused(r *admission.Request, at *field.Path, why string) error {
	return apierrors.NewInvalid(r.Kind.GVK().GroupKind(), r.Title(), field.ErrorList{field.Forbidden(at, why)})
}
