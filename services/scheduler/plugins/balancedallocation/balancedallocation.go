// Package balancedallocation prefers nodes whose resources the pod brings
// closer to being used to the same degree, so that none is stranded.
package balancedallocation

import (
	"context"
	"math"

	corev1 "k8s.io/api/core/v1"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/services/scheduler/devices"
	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/plugins/devicestock"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Name of the plugin.
const Name = "NodeResourcesBalancedAllocation"

// Plugin implements framework.Score.
type Plugin struct {
	resources []corev1.ResourceName
	devices   devicestock.Counter
}

// New returns the plugin. stock may be nil: then devices stand for nothing.
func New(args *configv1.NodeResourcesBalancedAllocationArgs, stock func([]corev1.ResourceName) *devices.Stock) *Plugin {
	p := &Plugin{devices: devicestock.New(stock)}
	for _, r := range args.Resources {
		p.resources = append(p.resources, corev1.ResourceName(r.Name))
	}
	return p
}

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// NodeLocal: the score depends on the pod and the node alone.
func (*Plugin) NodeLocal() {}

// PreScore opts out for pods that request nothing: they change no balance. It has
// devices counted for those that request a resource that they may stand for.
func (p *Plugin) PreScore(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, _ *snapshot.Snapshot, _ snapshot.Selection) *framework.Status {
	var requested []corev1.ResourceName
	for _, name := range p.resources {
		if pod.Requests.Of(name) != 0 {
			requested = append(requested, name)
		}
	}
	if len(requested) == 0 {
		return framework.NewStatus(framework.Skip)
	}
	p.devices.Prepare(state, requested)
	return nil
}

// Score is best where the pod brings the fractions closer together, least where
// it drives them apart. Either balance is from half of MaxScore to MaxScore,
// so the score is too; where nothing changes it is three quarters.
func (p *Plugin) Score(ctx context.Context, state *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) (int64, *framework.Status) {
	with, without := make([]float64, 0, len(p.resources)), make([]float64, 0, len(p.resources))
	for _, name := range p.resources {
		wanted := pod.Requests.Of(name)
		capacity, used := p.devices.Of(ctx, state, node, name, wanted, node.Requested.Of(name))
		if capacity <= 0 {
			continue
		}
		with = append(with, fraction(used+wanted, capacity))
		without = append(without, fraction(used, capacity))
	}
	const half = framework.MaxScore / 2
	return half + (half+balance(with)-balance(without))/2, nil
}

func fraction(used, capacity int64) float64 {
	return math.Min(float64(used)/float64(capacity), 1)
}

// balance is MaxScore for equal fractions, less by their standard deviation,
// which is never above one half.
func balance(fractions []float64) int64 {
	return int64((1 - deviation(fractions)) * float64(framework.MaxScore))
}

// deviation is the standard deviation. Of two numbers it is half their
// distance, which is also more exact that way.
func deviation(fractions []float64) float64 {
	switch len(fractions) {
	case 0, 1:
		return 0
	case 2:
		return math.Abs((fractions[0] - fractions[1]) / 2)
	}
	var mean, squares float64
	for _, f := range fractions {
		mean += f
	}
	mean /= float64(len(fractions))
	for _, f := range fractions {
		squares += (f - mean) * (f - mean)
	}
	return math.Sqrt(squares / float64(len(fractions)))
}
