// Package nodevolumelimits keeps a pod off nodes whose storage drivers cannot
// attach its volumes beside those that are there, by the limits in the node's
// CSINode, and off nodes that lack a driver which says that it is needed.
//
// A volume that several pods of a node use counts once. A claim without a
// volume counts as one of its class's driver. A volume of a built-in kind whose
// place a driver took is that driver's.
//
//	nodevolumelimits.go  the extension points
//	migrated.go          volumes of built-in kinds
//	advise.go            what would have to change on a node that is rejected
package nodevolumelimits

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/component-helpers/storage/volume"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
	"navarch.dev/navarch/services/scheduler/storage"
)

// Name of the plugin.
const Name = "NodeVolumeLimits"

// Reason is what users read where a driver can attach no more; where one is
// missing, it is the driver's name and ReasonNoDriver.
const (
	Reason         = "node(s) exceed max volume count"
	ReasonNoDriver = "CSI driver is not installed on the node"
)

// Plugin implements framework.Filter.
type Plugin struct {
	storage storage.Reader
	wanted  *framework.Key[volumes]
}

// New returns the plugin.
func New(reader storage.Reader) *Plugin {
	return &Plugin{storage: reader, wanted: framework.NewKey[volumes]()}
}

// Name of the plugin.
func (*Plugin) Name() string { return Name }

// handle tells a volume from others of its driver: the driver's own name of it
// or, while there is none, the claim.
type handle struct{ driver, volume, claim string }

// volumes are those that drivers attach.
type volumes map[handle]bool

// PreFilter finds the volumes that drivers must attach for the pod. Claims that
// are missing are VolumeBinding's.
func (p *Plugin) PreFilter(_ context.Context, state *framework.CycleState, pod *snapshot.PodInfo, _ *snapshot.Snapshot) ([]string, *framework.Status) {
	wanted := volumes{}
	p.addPod(wanted, pod.Pod)
	if len(wanted) == 0 {
		return nil, framework.NewStatus(framework.Skip)
	}
	p.wanted.Set(state, wanted)
	return nil, nil
}

// addPod adds a pod's volumes.
func (p *Plugin) addPod(to volumes, pod *corev1.Pod) {
	for i := range pod.Spec.Volumes {
		if h, ok := handleOfInline(&pod.Spec.Volumes[i], pod.Namespace); ok {
			to[h] = true
		}
	}
	for _, ref := range storage.ClaimsOf(pod) {
		claim, ok := p.storage.Claim(pod.Namespace, ref.Name)
		if !ok {
			continue
		}
		if h, ok := p.handleOf(claim); ok {
			to[h] = true
		}
	}
}

// handleOf returns a claim's volume; false if no driver attaches it.
func (p *Plugin) handleOf(claim *corev1.PersistentVolumeClaim) (handle, bool) {
	if pv, ok := p.storage.Volume(claim.Spec.VolumeName); ok {
		return handleOfVolume(pv)
	}
	class, ok := p.storage.Class(volume.GetPersistentVolumeClaimClass(claim))
	if !ok || class.Provisioner == volume.NotSupportedProvisioner {
		return handle{}, false
	}
	return handle{driver: driverFor(class.Provisioner), claim: claim.Namespace + "/" + claim.Name}, true
}

func handleOfVolume(pv *corev1.PersistentVolume) (handle, bool) {
	csi := pv.Spec.CSI
	if csi == nil {
		csi = migrated(pv)
	}
	if csi == nil {
		return handle{}, false
	}
	return handle{driver: csi.Driver, volume: csi.VolumeHandle}, true
}

// Filter counts what each driver would have attached.
func (p *Plugin) Filter(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) *framework.Status {
	wanted := p.wanted.Get(state)
	csiNode, _ := p.storage.CSINode(node.Name())
	if drivers := p.missing(wanted, csiNode); len(drivers) > 0 {
		return framework.NewStatus(framework.Unschedulable, drivers[0]+" "+ReasonNoDriver)
	}
	limits := limitsOf(csiNode)
	if len(limits) == 0 {
		return nil
	}
	if len(overfull(p.attached(node, nil), wanted, limits)) > 0 {
		return framework.NewStatus(framework.Unschedulable, Reason)
	}
	return nil
}

// excess is a driver that has to attach more than it can.
type excess struct {
	driver             string
	limit, there, more int
}

// overfull returns the drivers that cannot attach what is wanted beside what is
// there, by name.
func overfull(there, wanted volumes, limits map[string]int) []excess {
	all := make(map[string]*excess)
	for name, limit := range limits {
		all[name] = &excess{driver: name, limit: limit}
	}
	for h := range there {
		if e := all[h.driver]; e != nil {
			e.there++
		}
	}
	for h := range wanted {
		if e := all[h.driver]; e != nil && !there[h] {
			e.more++
		}
	}
	var out []excess
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if e := all[name]; e.more > 0 && e.there+e.more > e.limit {
			out = append(out, *e)
		}
	}
	return out
}

// attached returns the volumes that the node's pods use, and those that are
// attached to it for whatever reason; without what is only there for pods that
// are gone.
func (p *Plugin) attached(node *snapshot.NodeInfo, gone []*snapshot.PodInfo) volumes {
	there, theirs := volumes{}, volumes{}
	for _, pod := range node.Pods {
		if slices.Contains(gone, pod) {
			p.addPod(theirs, pod.Pod)
		} else {
			p.addPod(there, pod.Pod)
		}
	}
	for _, attachment := range p.storage.Attachments(node.Name()) {
		name := attachment.Spec.Source.PersistentVolumeName
		if name == nil {
			continue
		}
		pv, ok := p.storage.Volume(*name)
		if !ok || pv.Spec.CSI == nil {
			continue
		}
		if h := (handle{driver: attachment.Spec.Attacher, volume: pv.Spec.CSI.VolumeHandle}); !theirs[h] {
			there[h] = true
		}
	}
	return there
}

// missing returns the drivers that must be on a node before its pods are, and
// are not.
func (p *Plugin) missing(wanted volumes, node *storagev1.CSINode) (drivers []string) {
	for h := range wanted {
		driver, ok := p.storage.CSIDriver(h.driver)
		if !ok || driver.Spec.PreventPodSchedulingIfMissing == nil || !*driver.Spec.PreventPodSchedulingIfMissing {
			continue
		}
		if driverOf(node, h.driver) == nil {
			drivers = append(drivers, h.driver)
		}
	}
	slices.Sort(drivers)
	return slices.Compact(drivers)
}

// driverOf returns what a node says of a driver; nil if nothing.
func driverOf(node *storagev1.CSINode, name string) *storagev1.CSINodeDriver {
	if node == nil {
		return nil
	}
	for i := range node.Spec.Drivers {
		if node.Spec.Drivers[i].Name == name {
			return &node.Spec.Drivers[i]
		}
	}
	return nil
}

// limitsOf returns how many volumes each driver can attach; those that set no
// limit are not in it.
func limitsOf(node *storagev1.CSINode) map[string]int {
	if node == nil {
		return nil
	}
	limits := make(map[string]int)
	for _, d := range node.Spec.Drivers {
		if d.Allocatable != nil && d.Allocatable.Count != nil {
			limits[d.Name] = int(*d.Allocatable.Count)
		}
	}
	return limits
}

// EventsToRegister: a pod with volumes goes, a volume is detached, a node has a
// driver that it had not, or one that attaches more.
func (*Plugin) EventsToRegister() []framework.EventHint {
	return []framework.EventHint{
		{Resource: framework.AssignedPod, Action: framework.Delete, Helps: hadVolumes},
		{Resource: framework.VolumeAttachment, Action: framework.Delete},
		{Resource: framework.CSINode, Action: framework.Add},
		{Resource: framework.CSINode, Action: framework.Update, Helps: attachesMore},
		{Resource: framework.Node, Action: framework.Add},
	}
}

func hadVolumes(_ *snapshot.PodInfo, e framework.Event) bool {
	pod, ok := e.Old.(*corev1.Pod)
	return ok && (len(storage.ClaimsOf(pod)) > 0 || slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		_, counts := handleOfInline(&v, pod.Namespace)
		return counts
	}))
}

// attachesMore says whether some driver is new, has a higher limit than before,
// or none any more.
func attachesMore(_ *snapshot.PodInfo, e framework.Event) bool {
	old, okOld := e.Old.(*storagev1.CSINode)
	now, okNow := e.New.(*storagev1.CSINode)
	if !okOld || !okNow {
		return false
	}
	before, after := limitsOf(old), limitsOf(now)
	for _, d := range now.Spec.Drivers {
		was, wasLimited := before[d.Name]
		is, limited := after[d.Name]
		if driverOf(old, d.Name) == nil || wasLimited && (!limited || is > was) {
			return true
		}
	}
	return false
}
