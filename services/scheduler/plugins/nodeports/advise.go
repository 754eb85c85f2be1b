package nodeports

import (
	"context"
	"fmt"
	"strings"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
)

// Advise implements framework.Advisor: it says which pods have the ports.
func (*Plugin) Advise(_ context.Context, _ *framework.CycleState, pod *snapshot.PodInfo, node *snapshot.NodeInfo) framework.Advice {
	var holders []*snapshot.PodInfo
	evictable, going := true, true
	for _, other := range node.Pods {
		if free(pod.Ports, other.Ports) {
			continue
		}
		holders = append(holders, other)
		evictable = evictable && (framework.Going(other) || framework.Evictable(other, pod))
		going = going && framework.Going(other)
	}
	var taken []string
	for _, w := range pod.Ports {
		if !free([]snapshot.HostPort{w}, node.Ports) {
			taken = append(taken, fmt.Sprintf("%d/%s", w.Port, w.Protocol))
		}
	}
	if len(taken) == 0 {
		return framework.Advice{}
	}
	advice := framework.Advice{Detail: "host port " + strings.Join(taken, ", ") + " is taken"}
	switch {
	case going && len(holders) > 0:
		advice.Remedies = append(advice.Remedies, framework.Await(holders...))
	case evictable && len(holders) > 0:
		advice.Remedies = append(advice.Remedies, framework.Evict(holders...))
	}
	advice.Remedies = append(advice.Remedies, framework.Remedy{Kind: framework.ChangePod, Description: "use another host port than " + strings.Join(taken, ", ")})
	return advice
}
