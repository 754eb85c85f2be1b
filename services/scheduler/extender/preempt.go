package extender

import (
	"context"
	"fmt"

	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// preempt asks which candidates may be carried out, and whom that ends.
func (e *extender) preempt(ctx context.Context, pod *snapshot.PodInfo, nodes *snapshot.Snapshot, candidates []framework.Candidate) ([]framework.Candidate, error) {
	var result extenderv1.ExtenderPreemptionResult
	err := e.caller.call(ctx, e.config.PreemptVerb, e.preemptionArgs(pod, candidates), &result)
	var left []framework.Candidate
	if err == nil {
		left, err = e.agreed(nodes, candidates, &result)
	}
	if err != nil {
		return candidates, e.ignore(ctx, "preempt", err)
	}
	return left, nil
}

// preemptionArgs has the victims by UID only if the extender knows them.
func (e *extender) preemptionArgs(pod *snapshot.PodInfo, candidates []framework.Candidate) *extenderv1.ExtenderPreemptionArgs {
	args := &extenderv1.ExtenderPreemptionArgs{Pod: pod.Pod}
	if e.config.NodeCacheCapable {
		args.NodeNameToMetaVictims = make(map[string]*extenderv1.MetaVictims, len(candidates))
		for _, c := range candidates {
			victims := &extenderv1.MetaVictims{NumPDBViolations: int64(c.Violations)}
			for _, v := range c.Victims {
				victims.Pods = append(victims.Pods, &extenderv1.MetaPod{UID: string(v.Pod.UID)})
			}
			args.NodeNameToMetaVictims[c.Node] = victims
		}
		return args
	}
	args.NodeNameToVictims = make(map[string]*extenderv1.Victims, len(candidates))
	for _, c := range candidates {
		victims := &extenderv1.Victims{NumPDBViolations: int64(c.Violations)}
		for _, v := range c.Victims {
			victims.Pods = append(victims.Pods, v.Pod)
		}
		args.NodeNameToVictims[c.Node] = victims
	}
	return args
}

// agreed reads an answer, in the order of the candidates. A node that is none
// of them cannot be chosen, and a candidate without victims is only left by an
// extender that may fail.
func (e *extender) agreed(nodes *snapshot.Snapshot, candidates []framework.Candidate, result *extenderv1.ExtenderPreemptionResult) ([]framework.Candidate, error) {
	answers := make(map[string]*extenderv1.MetaVictims, len(result.NodeNameToMetaVictims))
	for node, victims := range result.NodeNameToMetaVictims {
		answers[node] = victims
	}
	var out []framework.Candidate
	for _, c := range candidates {
		victims, ok := answers[c.Node]
		delete(answers, c.Node)
		switch {
		case !ok:
			continue
		case victims == nil || len(victims.Pods) == 0:
			if e.config.Ignorable {
				continue
			}
			return nil, fmt.Errorf("extender %q names no victims on node %q", e.name, c.Node)
		}
		pods, err := e.victims(nodes.Get(c.Node), victims)
		if err != nil {
			return nil, err
		}
		out = append(out, framework.Candidate{Node: c.Node, Victims: pods, Violations: int(victims.NumPDBViolations)})
	}
	for node := range answers {
		return nil, fmt.Errorf("extender %q names node %q, which is no candidate", e.name, node)
	}
	return out, nil
}

// victims finds the pods on their node.
func (e *extender) victims(node *snapshot.NodeInfo, victims *extenderv1.MetaVictims) ([]*snapshot.PodInfo, error) {
	var out []*snapshot.PodInfo
	for _, v := range victims.Pods {
		pod := podOn(node, v)
		if pod == nil {
			return nil, fmt.Errorf("extender %q names a victim %q that is not on node %q", e.name, uidOf(v), node.Name())
		}
		out = append(out, pod)
	}
	return out, nil
}

func podOn(node *snapshot.NodeInfo, victim *extenderv1.MetaPod) *snapshot.PodInfo {
	for _, p := range node.Pods {
		if string(p.Pod.UID) == uidOf(victim) {
			return p
		}
	}
	return nil
}

func uidOf(victim *extenderv1.MetaPod) string {
	if victim == nil {
		return ""
	}
	return victim.UID
}
