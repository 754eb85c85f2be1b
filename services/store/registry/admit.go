package registry

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/identity"
	"navarch.dev/navarch/internal/kinds"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/admission/devices"
	"navarch.dev/navarch/services/store/admission/policy"
	"navarch.dev/navarch/services/store/admission/webhook"
)

// madeRules returns the rules that the cluster's users have made, in their
// order.
func madeRules(o Options, reader access.Reader, t *tracker) admission.Chain {
	hooks := webhook.Options{Reader: reader, Kinds: o.Kinds, Authorizer: o.Authorizer, Services: o.Dialer, Log: o.Log}
	policies := policy.Options{Reader: reader, Kinds: o.Kinds, Authorizer: o.Authorizer}
	chain := admission.Chain{policy.Authors(policies), devices.New(reader, o.Authorizer)}
	if o.Admission.Applies(admission.MutatingAdmissionPolicy) {
		chain = append(chain, policy.Mutating(policies, t.fieldTypes))
	}
	if o.Admission.Applies(admission.MutatingAdmissionWebhook) {
		chain = append(chain, webhook.Mutating(hooks))
	}
	if o.Admission.Applies(admission.ValidatingAdmissionPolicy) {
		chain = append(chain, policy.Validating(policies))
	}
	if o.Admission.Applies(admission.ValidatingAdmissionWebhook) {
		chain = append(chain, webhook.Validating(hooks))
	}
	return chain
}

// request returns what admission is asked about a write. The Store's own writes
// are not for webhooks and policies: a cluster must start with any of them.
func (w Write) request(operation admission.Operation, obj, old kinds.Object) *admission.Request {
	return &admission.Request{
		Operation: operation, Kind: w.Kind, Namespace: w.Namespace, Name: w.Name, Subresource: w.Subresource, User: w.User, Verb: w.Verb,
		Object: obj, Old: old, DryRun: w.DryRun, Warnings: w.Warnings, Annotations: w.Annotations,
		Judged: w.judged || w.User.Name == identity.Store,
	}
}

// creation and updating return the operation's options as webhooks are told
// them.
func (w Write) creation() runtime.Object {
	return &metav1.CreateOptions{
		TypeMeta: optionsType("CreateOptions"), DryRun: dryRun(w.DryRun), FieldManager: w.Manager, FieldValidation: validationName(w.Validation),
	}
}

func (w Write) updating() runtime.Object {
	return &metav1.UpdateOptions{
		TypeMeta: optionsType("UpdateOptions"), DryRun: dryRun(w.DryRun), FieldManager: w.Manager, FieldValidation: validationName(w.Validation),
	}
}

// deletion is the same for a deletion.
func deletion(w Write, opts *storev1.DeleteOptions) runtime.Object {
	out := &metav1.DeleteOptions{
		TypeMeta: optionsType("DeleteOptions"), DryRun: dryRun(w.DryRun), GracePeriodSeconds: opts.GracePeriodSeconds,
		PropagationPolicy: propagation(opts.GetPropagationPolicy()),
	}
	if opts.GetUid() != "" || opts.GetResourceVersion() != "" {
		out.Preconditions = &metav1.Preconditions{}
	}
	if uid := opts.GetUid(); uid != "" {
		out.Preconditions.UID = ptr.To(types.UID(uid))
	}
	if rv := opts.GetResourceVersion(); rv != "" {
		out.Preconditions.ResourceVersion = &rv
	}
	return out
}

func propagation(p storev1.PropagationPolicy) *metav1.DeletionPropagation {
	switch p {
	case storev1.PropagationPolicy_PROPAGATION_POLICY_ORPHAN:
		return ptr.To(metav1.DeletePropagationOrphan)
	case storev1.PropagationPolicy_PROPAGATION_POLICY_BACKGROUND:
		return ptr.To(metav1.DeletePropagationBackground)
	case storev1.PropagationPolicy_PROPAGATION_POLICY_FOREGROUND:
		return ptr.To(metav1.DeletePropagationForeground)
	}
	return nil
}

func optionsType(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: kind}
}

func dryRun(dry bool) []string {
	if dry {
		return []string{metav1.DryRunAll}
	}
	return nil
}

func validationName(v storev1.FieldValidation) string {
	switch v {
	case storev1.FieldValidation_FIELD_VALIDATION_STRICT:
		return metav1.FieldValidationStrict
	case storev1.FieldValidation_FIELD_VALIDATION_WARN:
		return metav1.FieldValidationWarn
	case storev1.FieldValidation_FIELD_VALIDATION_IGNORE:
		return metav1.FieldValidationIgnore
	}
	return ""
}

// Judge lets webhooks and policies change and judge what is not stored as it is
// sent: a binding, an eviction, a scale, a token, a stream.
func (r *Registry) Judge(ctx context.Context, request *admission.Request) error {
	if err := r.made.Mutate(ctx, request); err != nil {
		return err
	}
	return r.made.Validate(ctx, request)
}

// JudgeToken takes a request for a service account's token through webhooks and
// policies and returns what they made of it.
func (r *Registry) JudgeToken(ctx context.Context, w Write, token *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	request := w.request(admission.Create, token, nil)
	request.ObjectKind, request.Options = authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"), w.creation()
	if err := r.Judge(ctx, request); err != nil {
		return nil, err
	}
	return request.Object.(*authenticationv1.TokenRequest), nil
}

// JudgeStream asks webhooks and policies about a stream to an object, which is
// asked for with options of kind gvk.
func (r *Registry) JudgeStream(ctx context.Context, w Write, options runtime.Object, gvk schema.GroupVersionKind) error {
	request := w.request(admission.Connect, nil, nil)
	request.ObjectKind, request.Stream = gvk, options
	return r.Judge(ctx, request)
}

// soundManagedFields undoes what a webhook or policy did to the managed fields
// of an object if they are no longer sound.
func soundManagedFields(w Write, obj kinds.Object, before []metav1.ManagedFieldsEntry) {
	if err := managedfields.ValidateManagedFields(obj.GetManagedFields()); err != nil {
		obj.SetManagedFields(before)
		w.Warnings.Add(".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: " + err.Error())
	}
}
