// Package matching finds out which requests a webhook or an admission policy is
// for: by rules over operations and resources, and by the labels of the object
// and of its namespace.
package matching

import (
	"context"
	"errors"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"navarch.dev/navarch/internal/kinds"
	"navarch.dev/navarch/services/store/access"
	"navarch.dev/navarch/services/store/admission"
)

// Rule names operations on resources.
type Rule = admissionv1.NamedRuleWithOperations

// Constraints say which requests match.
type Constraints struct {
	namespaces, objects labels.Selector
	// rules match if any of them does; excluded ones win over them.
	rules, excluded []Rule
	// everything says that requests need no rule to match.
	everything bool
	// equivalent lets a rule for one version of a resource match requests for
	// another.
	equivalent bool
}

// ForWebhook returns the constraints of a webhook.
func ForWebhook(w *admissionv1.ValidatingWebhook) (*Constraints, error) {
	rules := make([]Rule, len(w.Rules))
	for i := range w.Rules {
		rules[i].RuleWithOperations = w.Rules[i]
	}
	c := &Constraints{rules: rules, equivalent: isEquivalent(w.MatchPolicy)}
	return c, c.read(w.NamespaceSelector, w.ObjectSelector)
}

// ForPolicy returns the constraints of a policy, or of the binding of one: that
// one's rules may be missing.
func ForPolicy(m *admissionv1.MatchResources) (*Constraints, error) {
	c := &Constraints{
		rules: m.ResourceRules, excluded: m.ExcludeResourceRules, everything: len(m.ResourceRules) == 0,
		equivalent: isEquivalent(m.MatchPolicy),
	}
	return c, c.read(m.NamespaceSelector, m.ObjectSelector)
}

func isEquivalent(p *admissionv1.MatchPolicyType) bool {
	return p != nil && *p == admissionv1.Equivalent
}

func (c *Constraints) read(namespaces, objects *metav1.LabelSelector) error {
	var nerr, oerr error
	c.namespaces, nerr = selector(namespaces)
	c.objects, oerr = selector(objects)
	return errors.Join(nerr, oerr)
}

// selector reads a selector; unlike elsewhere, one that is not there selects
// everything.
func selector(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(s)
}

// Matcher matches requests.
type Matcher struct {
	// Reader shows the namespaces.
	Reader access.Reader
	Kinds  *kinds.Registry
}

// Match returns the kind as which a request matches: its own or, for a rule
// about another version of the resource, that one; nil if it does not match.
func (m Matcher) Match(ctx context.Context, c *Constraints, r *admission.Request) (*kinds.Kind, error) {
	kind := m.byRules(c, r)
	if kind == nil || !matchesObject(c.objects, r) {
		return nil, nil
	}
	ok, err := m.inNamespace(ctx, c.namespaces, r)
	if err != nil || !ok {
		return nil, err
	}
	return kind, nil
}

// byRules matches a request by the rules alone.
func (m Matcher) byRules(c *Constraints, r *admission.Request) *kinds.Kind {
	switch {
	case m.anyRule(c.excluded, c.equivalent, r) != nil:
		return nil
	case c.everything:
		return r.Kind
	}
	return m.anyRule(c.rules, c.equivalent, r)
}

// anyRule returns the kind as which a request matches a rule.
func (m Matcher) anyRule(rules []Rule, equivalent bool, r *admission.Request) *kinds.Kind {
	matches := func(kind *kinds.Kind) func(Rule) bool {
		return func(rule Rule) bool { return matchesRule(&rule, r, kind) }
	}
	if slices.ContainsFunc(rules, matches(r.Kind)) {
		return r.Kind
	}
	if !equivalent {
		return nil
	}
	others := m.Kinds.Equivalents(r.Kind)
	for _, rule := range rules {
		for _, other := range others {
			if matches(other)(rule) {
				return other
			}
		}
	}
	return nil
}

// matchesRule matches a request as one about kind.
func matchesRule(rule *Rule, r *admission.Request, kind *kinds.Kind) bool {
	return matchesScope(rule.Scope, r.Kind) &&
		has(rule.Operations, admissionv1.OperationType(r.Operation)) &&
		has(rule.APIGroups, kind.Group) && has(rule.APIVersions, kind.Version) &&
		matchesResource(rule.Resources, kind.Resource, r.Subresource) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, r.Name))
}

// has says whether a list has an item, or a wildcard.
func has[T ~string](list []T, item T) bool {
	return slices.ContainsFunc(list, func(i T) bool { return i == "*" || i == item })
}

func matchesScope(scope *admissionv1.ScopeType, kind *kinds.Kind) bool {
	if scope == nil || *scope == admissionv1.AllScopes {
		return true
	}
	return kind.Namespaced == (*scope == admissionv1.NamespacedScope)
}

func matchesResource(list []string, resource, subresource string) bool {
	return slices.ContainsFunc(list, func(item string) bool {
		res, sub, _ := strings.Cut(item, "/")
		return (res == "*" || res == resource) && (sub == "*" || sub == subresource)
	})
}

// matchesObject matches the labels of the object or of what it was before.
func matchesObject(s labels.Selector, r *admission.Request) bool {
	if s.Empty() {
		return true
	}
	return r.Object != nil && s.Matches(labels.Set(r.Object.GetLabels())) ||
		r.Old != nil && s.Matches(labels.Set(r.Old.GetLabels()))
}

// inNamespace matches the labels of the request's namespace. Objects that are in
// none, and are none, match always.
func (m Matcher) inNamespace(ctx context.Context, s labels.Selector, r *admission.Request) (bool, error) {
	name := NamespaceOf(r)
	if name == "" || s.Empty() {
		return true, nil
	}
	namespace, err := m.Namespace(ctx, r)
	if err != nil {
		return false, err
	}
	return s.Matches(labels.Set(namespace.Labels)), nil
}

// NamespaceOf returns the namespace that a request is about: a Namespace counts
// as being in itself. It is empty for other cluster-scoped objects.
func NamespaceOf(r *admission.Request) string {
	if isNamespace(r.Kind) {
		return r.Name
	}
	return r.Namespace
}

func isNamespace(kind *kinds.Kind) bool { return kind.Group == "" && kind.Resource == "namespaces" }

// Namespace returns the namespace that a request is about, as the request would
// leave it; nil if it is about none.
func (m Matcher) Namespace(ctx context.Context, r *admission.Request) (*corev1.Namespace, error) {
	name := NamespaceOf(r)
	if name == "" {
		return nil, nil
	}
	if isNamespace(r.Kind) && r.Subresource == "" && r.Object != nil {
		return r.Object.(*corev1.Namespace), nil
	}
	obj, err := m.Reader.Get(ctx, corev1.SchemeGroupVersion.WithResource("namespaces"), "", name)
	switch {
	case apierrors.IsNotFound(err):
		return nil, err
	case err != nil:
		return nil, apierrors.NewInternalError(err)
	}
	return obj.(*corev1.Namespace), nil
}
