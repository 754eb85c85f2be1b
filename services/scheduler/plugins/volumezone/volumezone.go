// Package volumezone keeps a pod to the zones and regions that its volumes'
// labels name.
package volumezone

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
	"navarch.dev/navarch/services/scheduler/storage"
)

// Name of the plugin.
const Name = "VolumeZone"

// Reason is what users read.
const Reason = "node(s) had no available volume zone"

// separator is between the zones of a volume that is in several.
const separator = "__"

// place is one label of a volume and the values that suit it. A node may have
// the value under the label's older name.
type place struct {
	keys   [2]string
	values []string
	// claim and volume are whose label it is.
	claim, volume string
}

// Plugin implements framework.Filter.
type Plugin struct {
	storage storage.Reader
	places  *framework.Key[[]place]
}

// New returns the plugin.
func New(reader storage.Reader) *Plugin {
	return &Plugin{storage: reader, places: framework.NewKey[[]place]()}
}

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// PreFilter collects where the pod's volumes are. Claims that are missing or
// not bound are VolumeBinding's.
func (p *Plugin) PreFilter(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, _ *snapshot.Snapshot) ([]string, *framework.Status) {
	var places []place
	for _, ref := range storage.ClaimsOf(pod.Pod) {
		claim, ok := p.storage.Claim(pod.Pod.Namespace, ref.Name)
		if !ok || claim.Spec.VolumeName == "" {
			continue
		}
		if pv, ok := p.storage.Volume(claim.Spec.VolumeName); ok {
			places = append(places, placesOf(claim, pv)...)
		}
	}
	if len(places) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	p.places.Set(state, places)
	return nil, nil
}

func placesOf(claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) []place {
	var places []place
	for _, keys := range [][2]string{
		{corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaZone},
		{corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaRegion},
	} {
		for _, key := range keys {
			if value, ok := pv.Labels[key]; ok {
				places = append(places, place{keys: keys, values: strings.Split(value, separator), claim: claim.Name, volume: pv.Name})
				break
			}
		}
	}
	return places
}

// Filter rejects nodes that are elsewhere. A cluster whose nodes tell nothing of
// zones has one.
func (p *Plugin) Filter(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) *framework.Status {
	if !zoned(node.Node) {
		return nil
	}
	if slices.ContainsFunc(p.places.Get(state), func(pl place) bool { return !pl.has(node.Node) }) {
		return framework.NewStatus(framework.UnschedulableAndUnresolvable, Reason)
	}
	return nil
}

// has says whether a node is in the place.
func (p *place) has(node *corev1.Node) bool {
	return slices.ContainsFunc(p.keys[:], func(key string) bool {
		value, ok := node.Labels[key]
		return ok && slices.Contains(p.values, value)
	})
}

func zoned(node *corev1.Node) bool {
	return slices.ContainsFunc([]string{
		corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
	}, func(key string) bool { return node.Labels[key] != "" })
}

// EventsToRegister: a node comes or moves, or a claim gets a volume.
func (*Plugin) EventsToRegister() []framework.EventHint {
	return append(storage.Events(), framework.EventHint{Resource: framework.Node, Action: framework.Add | framework.UpdateNodeLabels})
}
