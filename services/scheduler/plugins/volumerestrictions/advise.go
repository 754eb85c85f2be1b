package volumerestrictions

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Advise implements framework.Advisor: it says which pods have the claims.
func (p *Plugin) Advise(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, _ *snapshot.NodeInfo) framework.Advice {
	users := p.users.Get(state)
	if len(users) == 0 {
		return framework.Advice{}
	}
	var pods []*snapshot.PodInfo
	details, claims := make([]string, len(users)), make([]string, len(users))
	for i, u := range users {
		details[i] = fmt.Sprintf("claim %s is for one pod at a time, and %s on %s uses it", u.claim, u.pod.Key(), u.node)
		claims[i] = u.claim
		if !slices.Contains(pods, u.pod) {
			pods = append(pods, u.pod)
		}
	}
	slices.Sort(claims)
	return framework.Advice{
		Detail: strings.Join(details, "; "),
		Remedies: append(
			framework.MakeRoom(pods, pod, func(gone []*snapshot.PodInfo) bool { return len(gone) == len(pods) }, nil),
			framework.Remedy{Kind: framework.ChangePod, Description: "use another claim than " + strings.Join(slices.Compact(claims), ", ")},
		),
	}
}
