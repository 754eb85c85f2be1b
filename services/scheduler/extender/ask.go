package extender

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// maxBinds is how many bindings an extender is asked for at once.
const maxBinds = 16

// filter asks which nodes the pod may go to.
func (e *extender) filter(ctx context.Context, pod *snapshot.PodInfo, nodes []*snapshot.NodeInfo) (map[string]*framework.Status, error) {
	var result extenderv1.ExtenderFilterResult
	err := e.caller.call(ctx, e.config.FilterVerb, e.args(pod, nodes), &result)
	if err == nil && result.Error != "" {
		err = errors.New(result.Error)
	}
	var rejected map[string]*framework.Status
	if err == nil {
		rejected, err = e.verdicts(nodes, &result)
	}
	if err != nil {
		return nil, e.ignore(ctx, "filter", err)
	}
	return rejected, nil
}

// args is the pod and the nodes, by name only if the extender knows them.
func (e *extender) args(pod *snapshot.PodInfo, nodes []*snapshot.NodeInfo) *extenderv1.ExtenderArgs {
	args := &extenderv1.ExtenderArgs{Pod: pod.Pod}
	if e.config.NodeCacheCapable {
		names := make([]string, len(nodes))
		for i, n := range nodes {
			names[i] = n.Name()
		}
		args.NodeNames = &names
		return args
	}
	args.Nodes = &corev1.NodeList{Items: make([]corev1.Node, len(nodes))}
	for i, n := range nodes {
		args.Nodes.Items[i] = *n.Node
	}
	return args
}

// verdicts returns what an answer says of the nodes that are not in it.
func (e *extender) verdicts(nodes []*snapshot.NodeInfo, result *extenderv1.ExtenderFilterResult) (map[string]*framework.Status, error) {
	var left []string
	switch {
	case e.config.NodeCacheCapable && result.NodeNames != nil:
		left = *result.NodeNames
	case result.Nodes != nil:
		for i := range result.Nodes.Items {
			left = append(left, result.Nodes.Items[i].Name)
		}
	}
	rejected := make(map[string]*framework.Status, len(nodes))
	for _, n := range nodes {
		rejected[n.Name()] = e.verdict(n.Name(), result)
	}
	for _, name := range left {
		if rejected[name] == nil {
			return nil, fmt.Errorf("extender %q claims a filtered node %q which is not found in the input node list", e.name, name)
		}
	}
	for _, name := range left {
		delete(rejected, name)
	}
	return rejected, nil
}

// verdict is why a node is not left.
func (e *extender) verdict(node string, result *extenderv1.ExtenderFilterResult) *framework.Status {
	if why, ok := result.FailedAndUnresolvableNodes[node]; ok {
		return framework.NewStatus(framework.UnschedulableAndUnresolvable, why)
	}
	if why, ok := result.FailedNodes[node]; ok {
		return framework.NewStatus(framework.Unschedulable, why)
	}
	return framework.NewStatus(framework.Unschedulable, "node(s) were filtered out by extender "+e.name)
}

// score asks how good nodes are. It brings the answers to the scale of plugins.
func (e *extender) score(ctx context.Context, pod *snapshot.PodInfo, nodes []*snapshot.NodeInfo) (map[string]int64, error) {
	const scale = framework.MaxScore / extenderv1.MaxExtenderPriority
	var result extenderv1.HostPriorityList
	if err := e.caller.call(ctx, e.config.PrioritizeVerb, e.args(pod, nodes), &result); err != nil {
		e.log.WarnContext(ctx, "the extender gives no scores", "error", err)
		return nil, err
	}
	scores := make(map[string]int64, len(result))
	for _, r := range result {
		scores[r.Host] = min(max(r.Score, extenderv1.MinExtenderPriority), extenderv1.MaxExtenderPriority) * scale
	}
	return scores, nil
}

// ignore returns nil if the extender may fail, having said so.
func (e *extender) ignore(ctx context.Context, call string, err error) error {
	if !e.config.Ignorable {
		return err
	}
	e.log.WarnContext(ctx, "an extender that may be ignored failed", "call", call, "error", err)
	return nil
}

// binder implements framework.Bind for the pods that the extender manages.
type binder struct{ extender *extender }

// Name of the extender.
func (b *binder) Name() string { return b.extender.name }

// Bind asks the extender to bind its pods, several at once. The others are
// skipped, and those that an ignorable extender does not bind.
func (b *binder) Bind(ctx context.Context, bindings []framework.Binding) []*framework.Status {
	results := make([]*framework.Status, len(bindings))
	var group errgroup.Group
	group.SetLimit(maxBinds)
	for i, binding := range bindings {
		if !b.extender.interested(binding.Pod.Pod) {
			results[i] = framework.NewStatus(framework.Skip)
			continue
		}
		group.Go(func() error {
			results[i] = b.bind(ctx, binding)
			return nil
		})
	}
	_ = group.Wait() // every result has its own error
	return results
}

func (b *binder) bind(ctx context.Context, binding framework.Binding) *framework.Status {
	pod := binding.Pod.Pod
	args := &extenderv1.ExtenderBindingArgs{PodName: pod.Name, PodNamespace: pod.Namespace, PodUID: pod.UID, Node: binding.Node}
	var result extenderv1.ExtenderBindingResult
	err := b.extender.caller.call(ctx, b.extender.config.BindVerb, args, &result)
	if err == nil && result.Error != "" {
		err = errors.New(result.Error)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("extender %s: bind pod %s to node %s: %w", b.Name(), binding.Pod.Key(), binding.Node, err)
	if b.extender.ignore(ctx, "bind", err) == nil {
		return framework.NewStatus(framework.Skip)
	}
	return framework.AsStatus(err)
}
