package webhook

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/google/uuid"
	reviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/admission/subject"
)

// match returns how a hook is to be asked about a request, nil if it is not.
func (d *dispatcher) match(ctx context.Context, h *hook, r *admission.Request) (*invocation, error) {
	kind, err := d.matcher.Match(ctx, h.constraints, r)
	if err != nil || kind == nil {
		return nil, err
	}
	if ok, err := d.meets(ctx, h, r, kind); err != nil || !ok {
		return nil, err
	}
	return &invocation{hook: h, request: r, kind: kind, log: d.log}, nil
}

// meets says whether a request that matches a hook meets its conditions too.
func (d *dispatcher) meets(ctx context.Context, h *hook, r *admission.Request, kind *kinds.Kind) (bool, error) {
	if len(h.conditions) == 0 {
		return true, nil
	}
	namespace, err := d.namespace(ctx, r)
	if err != nil {
		return false, err
	}
	in, err := subject.Inputs(ctx, r, kind, namespace, d.authorizer)
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	ok, err := h.conditions.Match(ctx, in)
	switch {
	case ok && err != nil && h.ignoresFailure():
		return false, nil
	case ok && err != nil:
		return false, apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(), err)
	}
	return ok, nil
}

func (d *dispatcher) namespace(ctx context.Context, r *admission.Request) (*corev1.Namespace, error) {
	if !r.Kind.Namespaced {
		return nil, nil
	}
	return d.matcher.Namespace(ctx, r)
}

// call asks a hook and returns its answer, which allows the request. A
// *callError says that the hook could not be asked.
func (i *invocation) call(ctx context.Context, mutates bool) (*reviewv1.AdmissionResponse, error) {
	h, r := i.hook, i.request
	if r.DryRun && !safeOnDryRun(h.spec.SideEffects) {
		return nil, noDryRun(h.spec.Name)
	}
	if h.broken != nil {
		return nil, i.failed("could not get REST client: %w", h.broken)
	}
	question, err := i.ask(types.UID(uuid.NewString()))
	if err != nil {
		return nil, i.failed("could not create admission objects: %w", err)
	}
	if h.spec.TimeoutSeconds != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*h.spec.TimeoutSeconds)*time.Second)
		defer cancel()
	}
	answer, err := h.client.post(ctx, question)
	if err != nil {
		return nil, i.failed("failed to call webhook: %w", err)
	}
	response, err := question.verdict(answer, mutates)
	if err != nil {
		return nil, i.failed("received invalid webhook response: %w", err)
	}
	i.takeNotes(ctx, response.AuditAnnotations)
	for _, warning := range response.Warnings {
		r.Warnings.Add(warning)
	}
	if !response.Allowed {
		return nil, denial(h.spec.Name, response.Result)
	}
	return response, nil
}

func (i *invocation) failed(format string, err error) error {
	return &callError{webhook: i.hook.spec.Name, err: fmt.Errorf(format, err)}
}

func safeOnDryRun(effects *admissionv1.SideEffectClass) bool {
	class := ptr.Deref(effects, admissionv1.SideEffectClassUnknown)
	return class == admissionv1.SideEffectClassNone || class == admissionv1.SideEffectClassNoneOnDryRun
}

// empty returns an empty object of the type of another.
func empty(obj kinds.Object) kinds.Object {
	return reflect.New(reflect.TypeOf(obj).Elem()).Interface().(kinds.Object)
}
