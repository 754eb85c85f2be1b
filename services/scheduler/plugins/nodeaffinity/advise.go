package nodeaffinity

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Advise implements framework.Advisor: it says which labels are in the way, of
// the term that wants the fewest changes.
func (p *Plugin) Advise(_ context.Context, _ *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) framework.Advice {
	if p.added != nil && !p.added.Match(node.Node) {
		return framework.Advice{Detail: "the profile keeps its pods to other nodes", Remedies: []framework.Remedy{
			{Kind: framework.ChangePod, Description: "use another schedulerName"},
		}}
	}
	wrong := wrongSelectors(pod.Pod.Spec.NodeSelector, node.Node)
	if terms, ok := requiredTerms(pod.Pod); ok {
		wrong = append(wrong, closest(terms, node.Node)...)
	}
	if len(wrong) == 0 {
		return framework.Advice{}
	}
	return adviceOn(wrong)
}

// mismatch is one requirement that a node does not meet.
type mismatch struct {
	// wants is the requirement, has what the node has instead.
	wants, has string
	// change is what would have to be done to the node; empty if it cannot be.
	change string
}

func adviceOn(wrong []mismatch) framework.Advice {
	var wants, changes []string
	for _, m := range wrong {
		wants = append(wants, fmt.Sprintf("%s (the node has %s)", m.wants, m.has))
		if m.change != "" {
			changes = append(changes, m.change)
		}
	}
	advice := framework.Advice{Detail: "wants " + strings.Join(wants, " and ")}
	if len(changes) == len(wrong) {
		advice.Remedies = append(advice.Remedies, framework.Remedy{Kind: framework.ChangeNode, Description: strings.Join(changes, " and ")})
	}
	var dropped []string
	for _, m := range wrong {
		dropped = append(dropped, m.wants)
	}
	advice.Remedies = append(advice.Remedies, framework.Remedy{Kind: framework.ChangePod, Description: "no longer require " + strings.Join(dropped, " and ")})
	return advice
}

func wrongSelectors(selector map[string]string, node *corev1.Node) []mismatch {
	var out []mismatch
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		if have, ok := node.Labels[key]; !ok || have != selector[key] {
			out = append(out, mismatch{wants: key + "=" + selector[key], has: labelOf(node, key), change: setLabel(key, selector[key])})
		}
	}
	return out
}

// labelOf is what a node has of a label.
func labelOf(node *corev1.Node, key string) string {
	if have, ok := node.Labels[key]; ok {
		return key + "=" + have
	}
	return "no " + key
}

// setLabel is how a node gets a label; empty for those that say what a node is,
// and would be wrong.
func setLabel(key, value string) string {
	if factual(key) {
		return ""
	}
	return "label the node " + key + "=" + value
}

func removeLabel(key string) string {
	if factual(key) {
		return ""
	}
	return "take the label " + key + " off the node"
}

// factual says whether a label is one that the node's agent or its provider
// sets.
func factual(key string) bool {
	switch key {
	case corev1.LabelHostname, corev1.LabelArchStable, corev1.LabelOSStable, corev1.LabelInstanceTypeStable,
		corev1.LabelTopologyZone, corev1.LabelTopologyRegion:
		return true
	}
	return false
}

// closest returns what is wrong by the term, of which one must match, that has
// the least wrong.
func closest(terms []corev1.NodeSelectorTerm, node *corev1.Node) []mismatch {
	var best []mismatch
	for i := range terms {
		wrong, ok := wrongIn(&terms[i], node)
		if ok && len(wrong) == 0 {
			return nil
		}
		if ok && (best == nil || len(wrong) < len(best)) {
			best = wrong
		}
	}
	return best
}

// wrongIn returns the requirements of a term that the node does not meet; false
// if the term can match nothing.
func wrongIn(term *corev1.NodeSelectorTerm, node *corev1.Node) ([]mismatch, bool) {
	if len(term.MatchExpressions)+len(term.MatchFields) == 0 {
		return nil, false
	}
	var out []mismatch
	for _, r := range term.MatchFields {
		one := corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{r}}
		if !matchesTerm(one, node) {
			out = append(out, mismatch{wants: framework.Requirement(r), has: metav1.ObjectNameField + "=" + node.Name})
		}
	}
	for _, r := range term.MatchExpressions {
		one := corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{r}}
		if !matchesTerm(one, node) {
			out = append(out, mismatch{wants: framework.Requirement(r), has: labelOf(node, r.Key), change: change(r)})
		}
	}
	return out, true
}

func matchesTerm(term corev1.NodeSelectorTerm, node *corev1.Node) bool {
	selector, err := nodeaffinity.NewNodeSelector(&corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term}})
	return err == nil && selector.Match(node)
}

// change is what would have to be done to the node for a requirement; empty if
// nothing sensible can be.
func change(r corev1.NodeSelectorRequirement) string {
	switch r.Operator {
	case corev1.NodeSelectorOpIn:
		if len(r.Values) > 0 {
			return setLabel(r.Key, r.Values[0])
		}
	case corev1.NodeSelectorOpExists:
		if !factual(r.Key) {
			return "label the node with " + r.Key
		}
	case corev1.NodeSelectorOpNotIn, corev1.NodeSelectorOpDoesNotExist:
		return removeLabel(r.Key)
	}
	return ""
}
