package policy

import (
	"context"
	"fmt"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/admission/matching"
)

// source keeps the policies of a kind that have bindings, both in the order of
// their names. Compiling expressions takes long, so a policy is compiled once
// per version of it.
type source[P any] struct {
	reader             access.Reader
	policies, bindings schema.GroupVersionResource
	read               func(kinds.Object) *policy[P]
	bind               func(kinds.Object) (policy string, b *binding)

	mu       sync.Mutex // guards the fields below
	loaded   bool
	versions [2]int64
	compiled map[string]compiled[P]
	current  []*policy[P]
}

// compiled is a policy of a version, without bindings.
type compiled[P any] struct {
	version string
	policy  *policy[P]
}

// now returns the policies as they are. The slice must not be changed.
func (s *source[P]) now(ctx context.Context) ([]*policy[P], error) {
	var versions [2]int64
	for i, resource := range []schema.GroupVersionResource{s.policies, s.bindings} {
		var err error
		if versions[i], err = s.reader.Version(ctx, resource); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded && s.versions == versions {
		return s.current, nil
	}
	bindings, err := s.readBindings(ctx)
	if err != nil {
		return nil, err
	}
	policies, err := s.reader.List(ctx, s.policies, "")
	if err != nil {
		return nil, err
	}
	known := make(map[string]compiled[P], len(policies))
	var current []*policy[P]
	for _, obj := range policies {
		bound := bindings[obj.GetName()]
		if len(bound) == 0 {
			continue
		}
		have := s.compiled[obj.GetName()]
		if version := obj.GetResourceVersion(); have.policy == nil || have.version != version {
			have = compiled[P]{version: version, policy: s.read(obj)}
		}
		known[obj.GetName()] = have
		p := *have.policy
		p.bindings = bound
		current = append(current, &p)
	}
	s.compiled, s.current, s.versions, s.loaded = known, current, versions, true
	return current, nil
}

// readBindings returns the bindings by the policy that they name.
func (s *source[P]) readBindings(ctx context.Context) (map[string][]*binding, error) {
	objs, err := s.reader.List(ctx, s.bindings, "")
	if err != nil {
		return nil, err
	}
	out := make(map[string][]*binding)
	for _, obj := range objs {
		name, b := s.bind(obj)
		out[name] = append(out[name], b)
	}
	return out, nil
}

func newBinding(name string, params *admissionv1.ParamRef, resources *admissionv1.MatchResources) *binding {
	b := &binding{name: name, params: params}
	if resources != nil {
		b.constraints, b.broken = matching.ForPolicy(resources)
	}
	return b
}

// paramKind returns the kind of a policy's parameters.
func paramKind(registry *kinds.Registry, k *admissionv1.ParamKind) (*kinds.Kind, error) {
	if k == nil {
		return nil, nil
	}
	gvk := schema.FromAPIVersionAndKind(k.APIVersion, k.Kind)
	kind, ok := registry.ForGVK(gvk)
	if !ok || !kind.Stored() {
		return nil, fmt.Errorf("failed to find resource referenced by paramKind: '%v'", gvk)
	}
	return kind, nil
}
