// Package webhook lets the webhooks that a cluster's users have registered
// change and judge what is written: MutatingWebhookConfiguration and
// ValidatingWebhookConfiguration.
//
// A hook is one webhook of a configuration. For each request, the hooks that
// match are asked with an AdmissionReview over HTTPS: those that mutate one
// after the other, in the order of their configurations' names, and those that
// validate all at once. A hook may refuse the request, warn about it, or, if it
// mutates, answer with a JSON patch. What happens when it cannot be asked is its
// failure policy's to say.
package webhook

import (
	"context"
	"log/slog"
	"net"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/admission"
	"navarch.dev/navarch/services/store/admission/matching"
)

// ServiceDialer connects to a port of one of a Service's endpoints.
type ServiceDialer interface {
	DialService(ctx context.Context, namespace, name string, port int32) (net.Conn, error)
}

// Options are what Dispatchers work with.
type Options struct {
	// Reader shows the configurations and namespaces.
	Reader access.Reader
	Kinds  *kinds.Registry
	// Authorizer answers what the conditions of webhooks ask about the user.
	Authorizer access.Authorizer
	// Services connects to webhooks that are Services.
	Services ServiceDialer
	Log      *slog.Logger
}

// Mutating returns the rule that asks mutating webhooks.
func Mutating(o Options) admission.Plugin {
	return &mutating{newDispatcher(o, "mutatingwebhookconfigurations", mutatingHooks)}
}

// Validating returns the rule that asks validating webhooks.
func Validating(o Options) admission.Plugin {
	return &validating{newDispatcher(o, "validatingwebhookconfigurations", validatingHooks)}
}

// dispatcher finds and calls hooks.
type dispatcher struct {
	matcher    matching.Matcher
	source     *source
	authorizer access.Authorizer
	log        *slog.Logger
}

func newDispatcher(o Options, resource string, read func(kinds.Object) []hookSpec) dispatcher {
	gvr := schema.GroupVersionResource{Group: admissionv1.GroupName, Version: "v1", Resource: resource}
	return dispatcher{
		matcher:    matching.Matcher{Reader: o.Reader, Kinds: o.Kinds},
		source:     &source{reader: o.Reader, resource: gvr, read: read, clients: newClients(o.Services)},
		authorizer: o.Authorizer, log: o.Log,
	}
}

// hooks returns those that may be asked about a request: none where it is about
// what decides about requests, so that a webhook that refuses everything can be
// removed.
func (d *dispatcher) hooks(ctx context.Context, r *admission.Request) ([]*hook, error) {
	if r.Judged || r.Kind.Group == admissionv1.GroupName {
		return nil, nil
	}
	return d.source.current(ctx)
}

// admits says whether a failed hook lets the request pass, logs it, and notes it
// for the audit log under a key.
func (d *dispatcher) admits(ctx context.Context, h *hook, r *admission.Request, key string, err error) bool {
	if !isCallError(err) || !h.ignoresFailure() {
		return false
	}
	r.Annotations.Add(failedOpen+key, h.spec.Name)
	d.log.WarnContext(ctx, "a webhook could not be asked, and is ignored", "configuration", h.configuration, "webhook", h.spec.Name, "error", err)
	return true
}
