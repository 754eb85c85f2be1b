package webhook

import (
	"context"
	"fmt"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/expression"
	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/admission/matching"
)

// hookSpec is what a configuration says about a hook.
type hookSpec struct {
	*admissionv1.ValidatingWebhook
	// again says that a mutating hook wants to see what later ones have changed.
	again bool
}

func mutatingHooks(configuration kinds.Object) []hookSpec {
	webhooks := configuration.(*admissionv1.MutatingWebhookConfiguration).Webhooks
	specs := make([]hookSpec, len(webhooks))
	for i := range webhooks {
		w := &webhooks[i]
		specs[i] = hookSpec{
			ValidatingWebhook: kinds.CommonWebhook(w),
			again:             w.ReinvocationPolicy != nil && *w.ReinvocationPolicy == admissionv1.IfNeededReinvocationPolicy,
		}
	}
	return specs
}

func validatingHooks(configuration kinds.Object) []hookSpec {
	webhooks := configuration.(*admissionv1.ValidatingWebhookConfiguration).Webhooks
	specs := make([]hookSpec, len(webhooks))
	for i := range webhooks {
		specs[i] = hookSpec{ValidatingWebhook: &webhooks[i]}
	}
	return specs
}

// hook is one webhook, ready to be matched and called.
type hook struct {
	configuration string
	spec          hookSpec
	constraints   *matching.Constraints
	conditions    expression.Conditions
	client        *client
	// broken is why the hook cannot be called, nil if it can.
	broken error
}

// key names a hook among all of its kind.
func (h *hook) key() string { return h.configuration + "/" + h.spec.Name }

func (h *hook) ignoresFailure() bool {
	return h.spec.FailurePolicy != nil && *h.spec.FailurePolicy == admissionv1.Ignore
}

// source keeps the hooks of all configurations of a kind, in the order of the
// configurations' names.
type source struct {
	reader   access.Reader
	resource schema.GroupVersionResource
	read     func(configuration kinds.Object) []hookSpec
	clients  *clients

	mu      sync.Mutex // guards the fields below
	loaded  bool
	version int64
	hooks   []*hook
}

// current returns the hooks as they are now. The slice must not be changed.
func (s *source) current(ctx context.Context) ([]*hook, error) {
	version, err := s.reader.Version(ctx, s.resource)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded && s.version == version {
		return s.hooks, nil
	}
	configurations, err := s.reader.List(ctx, s.resource, "")
	if err != nil {
		return nil, err
	}
	var hooks []*hook
	for _, c := range configurations {
		for _, spec := range s.read(c) {
			h, err := s.prepare(c.GetName(), spec)
			if err != nil {
				return nil, fmt.Errorf("read %s %s: %w", s.resource.Resource, c.GetName(), err)
			}
			hooks = append(hooks, h)
		}
	}
	s.clients.keep(hooks)
	s.hooks, s.version, s.loaded = hooks, version, true
	return hooks, nil
}

func (s *source) prepare(configuration string, spec hookSpec) (*hook, error) {
	constraints, err := matching.ForWebhook(spec.ValidatingWebhook)
	if err != nil {
		return nil, fmt.Errorf("webhook %s: %w", spec.Name, err)
	}
	h := &hook{configuration: configuration, spec: spec, constraints: constraints}
	h.conditions = expression.NewConditions(spec.MatchConditions, expression.Declarations{Authorizer: true})
	h.client, h.broken = s.clients.get(&spec.ClientConfig)
	return h, nil
}
