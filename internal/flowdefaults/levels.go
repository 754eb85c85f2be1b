// Package flowdefaults holds the FlowSchemas and PriorityLevelConfigurations that
// every cluster has: the mandatory ones, by which every request is classified,
// and those that Kubernetes suggests, which administrators may change.
//
//	FlowSchema                     precedence  priority level
//	exempt                                  1  exempt
//	probes                                  2  exempt
//	system-leader-election                100  leader-election
//	system-node-high                      400  node-high
//	system-nodes                          500  system
//	navarch-services                      500  system
//	kube-controller-manager               800  workload-high
//	kube-scheduler                        800  workload-high
//	kube-system-service-accounts          900  workload-high
//	service-accounts                     9000  workload-low
//	global-default                       9900  global-default
//	catch-all                           10000  catch-all
//
// All are Kubernetes', but navarch-services: the gateways and proxies, which are
// no pods here, and have no service accounts.
package flowdefaults

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Levels returns the priority levels: the mandatory ones, then the suggested ones.
func Levels() []*flowcontrolv1.PriorityLevelConfiguration {
	return append(MandatoryLevels(),
		queued("system", 30, 33, 64, 6),
		queued("node-high", 40, 25, 64, 6),
		queued("leader-election", 10, 0, 16, 4),
		queued("workload-high", 40, 50, 128, 6),
		queued("workload-low", 100, 90, 128, 6),
		queued("global-default", 20, 50, 128, 6),
	)
}

// MandatoryLevels returns the priority levels that no cluster can be without.
func MandatoryLevels() []*flowcontrolv1.PriorityLevelConfiguration {
	return []*flowcontrolv1.PriorityLevelConfiguration{
		level(flowcontrolv1.PriorityLevelConfigurationNameExempt, flowcontrolv1.PriorityLevelConfigurationSpec{
			Type:   flowcontrolv1.PriorityLevelEnablementExempt,
			Exempt: &flowcontrolv1.ExemptPriorityLevelConfiguration{NominalConcurrencyShares: ptr.To[int32](0), LendablePercent: ptr.To[int32](0)},
		}),
		limited(flowcontrolv1.PriorityLevelConfigurationNameCatchAll, 5, 0, flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject}),
	}
}

// queueLength is how many requests each queue holds.
const queueLength = 50

func queued(name string, shares, lendable, queues, hand int32) *flowcontrolv1.PriorityLevelConfiguration {
	return limited(name, shares, lendable, flowcontrolv1.LimitResponse{
		Type:    flowcontrolv1.LimitResponseTypeQueue,
		Queuing: &flowcontrolv1.QueuingConfiguration{Queues: queues, HandSize: hand, QueueLengthLimit: queueLength},
	})
}

func limited(name string, shares, lendable int32, response flowcontrolv1.LimitResponse) *flowcontrolv1.PriorityLevelConfiguration {
	return level(name, flowcontrolv1.PriorityLevelConfigurationSpec{
		Type: flowcontrolv1.PriorityLevelEnablementLimited,
		Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
			NominalConcurrencyShares: &shares, LendablePercent: &lendable, LimitResponse: response,
		},
	})
}

func level(name string, spec flowcontrolv1.PriorityLevelConfigurationSpec) *flowcontrolv1.PriorityLevelConfiguration {
	return &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: updated(name), Spec: spec}
}

// updated is the metadata of an object whose spec follows the program's.
func updated(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Annotations: map[string]string{flowcontrolv1.AutoUpdateAnnotationKey: "true"}}
}
