// Package preemption makes room for a pod by ending pods of lower priority.
//
// On every node where taking pods away could help, it takes all pods of lower
// priority away in thought, and puts back those that fit beside the new one,
// the most important first. Of the nodes where this works it chooses the one
// whose loss is smallest, ends the victims there and nominates the node.
package preemption

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Name of the plugin.
const Name = "DefaultPreemption"

// What users read where preemption does not help.
const (
	reasonNotHelpful = "Preemption is not helpful for scheduling"
	reasonExtenders  = "no candidate is left that extenders agree to"
	reasonNoVictims  = "No preemption victims found for incoming pod"
)

// Cluster is what preemption needs beside the snapshot.
type Cluster interface {
	// Evict ends a victim, for the sake of pod, on node.
	Evict(ctx context.Context, victim, pod *corev1.Pod, node string) error
	// Budgets returns the disruption budgets of a namespace.
	Budgets(namespace string) []*policyv1.PodDisruptionBudget
	// Nominated returns the pods for which room is being made on a node, that
	// pod aside, and that have at least its priority.
	Nominated(node string, pod *snapshot.PodInfo) []*snapshot.PodInfo
	// Displace takes the nominations to a node back of pods with a lower priority
	// than pod's.
	Displace(node string, pod *snapshot.PodInfo)
}

// Plugin implements framework.PostFilter.
type Plugin struct {
	cluster Cluster
	// In a large cluster no more nodes are tried than give this share of all
	// nodes, and this number, of candidates.
	minPercentage, minAbsolute int
}

// New returns the plugin. Its arguments have their defaults and are valid.
func New(args *configv1.DefaultPreemptionArgs, cluster Cluster) *Plugin {
	return &Plugin{cluster: cluster, minPercentage: int(*args.MinCandidateNodesPercentage), minAbsolute: int(*args.MinCandidateNodesAbsolute)}
}

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// PostFilter ends victims and nominates their node.
func (p *Plugin) PostFilter(ctx context.Context, filters framework.Filters, state *framework.CycleState, pod *snapshot.PodInfo, nodes *snapshot.Snapshot, why *framework.Diagnosis) (string, *framework.Status) {
	if reason := notEligible(pod, nodes, why); reason != "" {
		// Room that is being made stays the pod's.
		return pod.Pod.Status.NominatedNodeName, framework.NewStatus(framework.Unschedulable, "preemption: "+reason)
	}
	candidates, failures, err := p.candidates(ctx, &trial{filters: filters, state: state, pod: pod, nodes: nodes, nominated: p.cluster.Nominated}, why)
	if err != nil {
		return "", framework.AsStatus(err)
	}
	if len(candidates) == 0 {
		return "", framework.NewStatus(framework.Unschedulable, "preemption: "+failures.Message())
	}
	found, err := filters.ExtendPreemption(ctx, pod, nodes, candidates)
	if err != nil {
		return "", framework.AsStatus(err)
	}
	if len(found) == 0 {
		return "", framework.NewStatus(framework.Unschedulable, "preemption: "+reasonExtenders)
	}
	chosen := cheapest(found)
	for _, victim := range chosen.Victims {
		if err := p.cluster.Evict(ctx, victim.Pod, pod.Pod, chosen.Node); err != nil {
			return "", framework.AsStatus(fmt.Errorf("preempt pod %s on node %s: %w", victim.Key(), chosen.Node, err))
		}
	}
	p.cluster.Displace(chosen.Node, pod)
	return chosen.Node, nil
}

// notEligible says why the pod may not preempt; "" if it may.
func notEligible(pod *snapshot.PodInfo, nodes *snapshot.Snapshot, why *framework.Diagnosis) string {
	if policy := pod.Pod.Spec.PreemptionPolicy; policy != nil && *policy == corev1.PreemptNever {
		return "not eligible due to preemptionPolicy=Never."
	}
	nominated := nodes.Get(pod.Pod.Status.NominatedNodeName)
	if nominated == nil || why.Verdict(nominated.Name()).Code() == framework.UnschedulableAndUnresolvable {
		return ""
	}
	for _, other := range nominated.Pods {
		if other.Pod.DeletionTimestamp != nil && other.Priority() < pod.Priority() {
			return "not eligible due to a terminating pod on the nominated node."
		}
	}
	return ""
}

// enough is how many candidates are worth finding.
func (p *Plugin) enough(nodes int) int { return max(nodes*p.minPercentage/100, p.minAbsolute, 1) }

// candidates tries the nodes where taking pods away could help. failures says
// why each of the others does not.
func (p *Plugin) candidates(ctx context.Context, t *trial, why *framework.Diagnosis) ([]framework.Candidate, *framework.Diagnosis, error) {
	failures := &framework.Diagnosis{
		AllNodes: why.AllNodes, Rejections: make(map[string]*framework.Status),
		Absent: framework.NewStatus(framework.UnschedulableAndUnresolvable, reasonNotHelpful),
	}
	var found []framework.Candidate
	for _, n := range t.nodes.Nodes() {
		if why.Verdict(n.Name()).Code() != framework.Unschedulable {
			continue
		}
		c, failure, err := t.try(ctx, n, p.cluster.Budgets)
		switch {
		case err != nil:
			return nil, nil, err
		case failure != nil:
			failures.Rejections[n.Name()] = failure
		default:
			found = append(found, c)
		}
		if len(found) >= p.enough(len(t.nodes.Nodes())) {
			break
		}
	}
	return found, failures, nil
}
