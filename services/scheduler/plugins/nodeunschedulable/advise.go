package nodeunschedulable

import (
	"context"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Advise implements framework.Advisor.
func (*Plugin) Advise(_ context.Context, _ *framework.CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) framework.Advice {
	return framework.Advice{Detail: "the node is cordoned", Remedies: []framework.Remedy{
		{Kind: framework.ChangeNode, Description: "uncordon the node (kubectl uncordon " + node.Name() + ")"},
	}}
}
