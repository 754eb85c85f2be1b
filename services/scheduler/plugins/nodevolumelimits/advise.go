package nodevolumelimits

import (
	"context"
	"fmt"
	"strings"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Advise implements framework.Advisor: it says which drivers are missing, or can
// attach no more, and which pods would make room.
func (p *Plugin) Advise(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) framework.Advice {
	wanted := p.wanted.Get(state)
	csiNode, _ := p.storage.CSINode(node.Name())
	if drivers := p.missing(wanted, csiNode); len(drivers) > 0 {
		names := strings.Join(drivers, ", ")
		return framework.Advice{Detail: "the node has no driver " + names, Remedies: []framework.Remedy{
			{Kind: framework.ChangeNode, Description: "install driver " + names + " on the node"},
		}}
	}
	limits := limitsOf(csiNode)
	over := overfull(p.attached(node, nil), wanted, limits)
	if len(over) == 0 {
		return framework.Advice{}
	}
	details, fewer := make([]string, len(over)), make([]string, 0, len(over))
	for i, e := range over {
		details[i] = e.String()
		if left := e.limit - e.there; left > 0 {
			fewer = append(fewer, fmt.Sprintf("%d of driver %s", left, e.driver))
		}
	}
	advice := framework.Advice{Detail: strings.Join(details, "; "), Remedies: framework.MakeRoom(node.Pods, pod, func(gone []*snapshot.PodInfo) bool {
		return len(overfull(p.attached(node, gone), wanted, limits)) == 0
	}, nil)}
	if len(fewer) == len(over) {
		advice.Remedies = append(advice.Remedies, framework.Remedy{Kind: framework.ChangePod, Description: "use new volumes, at most " + strings.Join(fewer, " and ")})
	}
	return advice
}

// String is "the node has 3 of 3 volumes of driver d in use, 1 more is needed".
func (e excess) String() string {
	more := "1 more is needed"
	if e.more > 1 {
		more = fmt.Sprintf("%d more are needed", e.more)
	}
	return fmt.Sprintf("the node has %d of %d volumes of driver %s in use, %s", e.there, e.limit, e.driver, more)
}
