package snapshot

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// PodTerm is one parsed affinity or anti-affinity term.
type PodTerm struct {
	TopologyKey string
	// Weight is that of a preferred term, 0 of a required one.
	Weight     int64
	namespaces []string
	// namespaceSelector matches further namespaces by their labels; nil: none.
	namespaceSelector labels.Selector
	selector          labels.Selector
	// group is equal for terms that speak of the same pods, id for those that speak of
	// the same domains as well.
	group, id string
}

// NamespaceLabels returns the labels of a namespace.
type NamespaceLabels func(namespace string) labels.Set

// Matches says whether the term speaks of pod.
func (t *PodTerm) Matches(pod *corev1.Pod, namespaceLabels NamespaceLabels) bool {
	return t.inNamespace(pod.Namespace, namespaceLabels) && t.selector.Matches(labels.Set(pod.Labels))
}

// ID is equal for terms that speak of the same pods and the same domains.
func (t *PodTerm) ID() string { return t.id }

// Group is equal for terms that speak of the same pods, now and later; it is
// empty if namespaces can come to be among those that are meant.
func (t *PodTerm) Group() string {
	if t.namespaceSelector != nil && !t.namespaceSelector.Empty() {
		return ""
	}
	return t.group
}

// Selector is that of the labels of the pods which the term speaks of.
func (t *PodTerm) Selector() labels.Selector { return t.selector }

func (t *PodTerm) inNamespace(namespace string, namespaceLabels NamespaceLabels) bool {
	if slices.Contains(t.namespaces, namespace) {
		return true
	}
	if t.namespaceSelector == nil {
		return false
	}
	return t.namespaceSelector.Empty() || t.namespaceSelector.Matches(namespaceLabels(namespace))
}

// PodTerms are a pod's terms of one kind.
type PodTerms struct {
	Required, Preferred []PodTerm
}

func (t PodTerms) empty() bool { return len(t.Required) == 0 && len(t.Preferred) == 0 }

func newPodTerms(pod *corev1.Pod, required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) PodTerms {
	var out PodTerms
	for i := range required {
		out.Required = append(out.Required, newPodTerm(pod, &required[i], 0))
	}
	for i := range preferred {
		out.Preferred = append(out.Preferred, newPodTerm(pod, &preferred[i].PodAffinityTerm, int64(preferred[i].Weight)))
	}
	return out
}

func newPodTerm(pod *corev1.Pod, term *corev1.PodAffinityTerm, weight int64) PodTerm {
	t := PodTerm{
		TopologyKey: term.TopologyKey, Weight: weight, namespaces: term.Namespaces,
		selector: selectorWithPodLabels(term.LabelSelector, pod, term.MatchLabelKeys, term.MismatchLabelKeys),
	}
	if term.NamespaceSelector != nil {
		t.namespaceSelector = Selector(term.NamespaceSelector)
	} else if len(t.namespaces) == 0 {
		t.namespaces = []string{pod.Namespace}
	}
	t.group = strings.Join(t.namespaces, " ") + "; " + text(t.namespaceSelector) + "; " + text(t.selector)
	t.id = t.TopologyKey + " of " + t.group
	return t
}

// text writes a selector such that different ones differ.
func text(s labels.Selector) string {
	switch {
	case s == nil:
		return "none"
	case s.Empty():
		return "all"
	}
	if _, selectable := s.Requirements(); !selectable {
		return "nothing"
	}
	return s.String()
}

// Selector parses a label selector; nil, and one that the API would not have
// accepted, match nothing.
func Selector(s *metav1.LabelSelector) labels.Selector {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return selector
}

// selectorWithPodLabels narrows a selector to pods that have the pod's own
// values of the match keys and not those of the mismatch keys.
func selectorWithPodLabels(s *metav1.LabelSelector, pod *corev1.Pod, match, mismatch []string) labels.Selector {
	if s == nil || len(match)+len(mismatch) == 0 {
		return Selector(s)
	}
	s = s.DeepCopy()
	add := func(keys []string, op metav1.LabelSelectorOperator) {
		for _, key := range keys {
			if value, ok := pod.Labels[key]; ok {
				s.MatchExpressions = append(s.MatchExpressions,
					metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{value}})
			}
		}
	}
	add(match, metav1.LabelSelectorOpIn)
	add(mismatch, metav1.LabelSelectorOpNotIn)
	return Selector(s)
}

// spreadSelector is the selector of a topology spread constraint with its
// match keys applied.
func spreadSelector(pod *corev1.Pod, c *corev1.TopologySpreadConstraint) labels.Selector {
	s := c.LabelSelector
	if s == nil && len(c.MatchLabelKeys) == 0 {
		return labels.Nothing()
	}
	if s == nil {
		s = &metav1.LabelSelector{}
	}
	s = &metav1.LabelSelector{MatchLabels: maps.Clone(s.MatchLabels), MatchExpressions: slices.Clone(s.MatchExpressions)}
	return selectorWithPodLabels(s, pod, c.MatchLabelKeys, nil)
}
