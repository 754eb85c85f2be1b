package topologyspread

import (
	"context"
	"fmt"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Advise implements framework.Advisor: it says how far ahead the node's domain
// is, and of which.
func (p *Plugin) Advise(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) framework.Advice {
	for _, c := range p.hard.Get(state) {
		d, ok := c.domains.Of(node)
		if !ok {
			return framework.Advice{Detail: "the node has no label " + c.key, Remedies: []framework.Remedy{
				{Kind: framework.ChangeNode, Description: "label the node with " + c.key},
			}}
		}
		skew := c.counts[d] + c.self - c.fewest
		if skew <= c.maxSkew {
			continue
		}
		detail := fmt.Sprintf("%s=%s has %d matching pods", c.key, c.domains.Values[d], c.counts[d])
		if c.present < c.minDomains {
			detail += fmt.Sprintf(", and there are %d of at least %d domains", c.present, c.minDomains)
		} else {
			detail += fmt.Sprintf(", %s has %d", c.emptiest(), c.fewest)
		}
		advice := framework.Advice{Detail: detail}
		if c.present >= c.minDomains {
			advice.Remedies = append(advice.Remedies, framework.Remedy{
				Kind: framework.AddPod, Description: fmt.Sprintf("make room for a matching pod in %s", c.emptiest()),
			})
		}
		advice.Remedies = append(advice.Remedies, framework.Remedy{
			Kind: framework.ChangePod, Description: fmt.Sprintf("let maxSkew over %s be %d", c.key, skew),
		})
		return advice
	}
	return framework.Advice{}
}

// emptiest is the domain with the fewest matching pods, the first by name.
func (c *constraint) emptiest() string {
	first, found := "", false
	for d, value := range c.domains.Values {
		if c.members[d] > 0 && c.counts[d] == c.fewest && (!found || value < first) {
			first, found = value, true
		}
	}
	return c.key + "=" + first
}
