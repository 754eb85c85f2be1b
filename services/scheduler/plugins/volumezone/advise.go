package volumezone

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Advise implements framework.Advisor: it says where the volumes are. That of a
// node is a fact, so no label is proposed.
func (p *Plugin) Advise(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) framework.Advice {
	var details, claims []string
	for _, pl := range p.places.Get(state) {
		if pl.has(node.Node) {
			continue
		}
		have := "no " + pl.keys[0]
		for _, key := range pl.keys {
			if value, ok := node.Node.Labels[key]; ok {
				have = key + "=" + value
				break
			}
		}
		details = append(details, fmt.Sprintf("claim %s is bound to volume %s that is only in %s=%s (the node has %s)",
			pl.claim, pl.volume, pl.keys[0], strings.Join(pl.values, " or "), have))
		claims = append(claims, pl.claim)
	}
	if len(details) == 0 {
		return framework.Advice{}
	}
	return framework.Advice{Detail: strings.Join(details, "; "), Remedies: []framework.Remedy{
		{Kind: framework.ChangePod, Description: "use another claim than " + strings.Join(slices.Compact(claims), ", ")},
	}}
}
