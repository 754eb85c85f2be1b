package volumebinding

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/component-helpers/storage/volume"

	"navarch.dev/navarch/internal/storageclass"
	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/snapshot"
	"navarch.dev/navarch/services/scheduler/storage"
)

// Advise implements framework.Advisor: it says where the volumes are, or what a
// claim that waits would need on the node. That a volume cannot be reached from
// a node is a fact, so no label is proposed.
func (p *Plugin) Advise(_ context.Context, state *framework.CycleState, _ *snapshot.PodInfo, node *snapshot.NodeInfo) framework.Advice {
	claims := p.claims.Get(state)
	if len(claims.missing) > 0 {
		return missing(claims.missing)
	}
	var details, elsewhere []string
	for _, b := range claims.bound {
		if p.reaches(b, node.Node) != nil {
			details = append(details, fmt.Sprintf("claim %s is bound to volume %s that is only on %s", b.claim.Name, b.pv.Name, place(p.as(b, node.Node))))
			elsewhere = append(elsewhere, b.claim.Name)
		}
	}
	var remedies []framework.Remedy
	if _, stuck := p.decide(claims.waiting, node.Node); stuck != nil {
		detail, remedy := stuck.advise(node.Node)
		details, elsewhere = append(details, detail), append(elsewhere, stuck.claim.Name)
		if len(details) == 1 && remedy != "" {
			remedies = append(remedies, framework.Remedy{Kind: framework.ChangeClaim, Description: remedy})
		}
	}
	if len(details) == 0 {
		return framework.Advice{}
	}
	remedies = append(remedies, framework.Remedy{Kind: framework.ChangePod, Description: "use another claim than " + strings.Join(elsewhere, ", ")})
	return framework.Advice{Detail: strings.Join(details, "; "), Remedies: remedies}
}

// AdvisePod implements framework.PodAdvisor: it says which claims are not there,
// on their way out, or not bound though they do not wait for the pod's node.
func (p *Plugin) AdvisePod(_ context.Context, pod *snapshot.PodInfo) framework.Advice {
	var details, remedies []string
	add := func(remedy, detail string, args ...any) {
		details = append(details, fmt.Sprintf(detail, args...))
		if remedy != "" {
			remedies = append(remedies, remedy)
		}
	}
	for _, ref := range storage.ClaimsOf(pod.Pod) {
		claim, ok := p.storage.Claim(pod.Pod.Namespace, ref.Name)
		switch {
		case !ok && ref.Ephemeral:
			add("", "claim %s of the pod itself is being made", ref.Name)
		case !ok:
			add("create claim "+ref.Name, "claim %s does not exist", ref.Name)
		case claim.Status.Phase == corev1.ClaimLost:
			add("make claim "+ref.Name+" anew", "claim %s is bound to volume %s that does not exist", ref.Name, claim.Spec.VolumeName)
		case claim.DeletionTimestamp != nil:
			add("make claim "+ref.Name+" anew once it is gone", "claim %s is being deleted", ref.Name)
		case ref.Ephemeral && ephemeral.VolumeIsForPod(pod.Pod, claim) != nil:
			add("delete claim "+ref.Name, "claim %s is not the pod's own", ref.Name)
		case storage.IsBound(claim) || claim.Spec.VolumeName == "" && p.delayed(claim):
		case claim.Spec.VolumeName != "":
			add("", "claim %s is being bound to volume %s", ref.Name, claim.Spec.VolumeName)
		default:
			p.adviseUnbound(claim, add)
		}
	}
	advice := framework.Advice{Detail: strings.Join(details, "; ")}
	if len(remedies) > 0 {
		advice.Remedies = []framework.Remedy{{Kind: framework.ChangeClaim, Description: strings.Join(remedies, " and ")}}
	}
	return advice
}

// adviseUnbound says why a claim that is to be bound at once is not: its class
// makes no volumes, or has not made this one.
func (p *Plugin) adviseUnbound(claim *corev1.PersistentVolumeClaim, add func(remedy, detail string, args ...any)) {
	asked := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	name := volume.GetPersistentVolumeClaimClass(claim)
	class, ok := p.storage.Class(name)
	switch {
	case name == "":
		add("add a volume without a class with "+asked.String(), "claim %s has no class, and finds no free volume with %s", claim.Name, asked.String())
	case !ok:
		add("create class "+name, "claim %s is of class %s that does not exist, and finds no free volume", claim.Name, name)
	case class.Provisioner == volume.NotSupportedProvisioner:
		add("add a volume of class "+name+" with "+asked.String(), "claim %s finds no free volume of class %s with %s", claim.Name, name, asked.String())
	default:
		add("see that "+class.Provisioner+" runs", "the volume of claim %s is being made by %s", claim.Name, class.Provisioner)
	}
}

func missing(claims []*corev1.PersistentVolumeClaim) framework.Advice {
	details, names := make([]string, len(claims)), make([]string, len(claims))
	for i, claim := range claims {
		details[i] = fmt.Sprintf("claim %s is bound to volume %s that does not exist", claim.Name, claim.Spec.VolumeName)
		names[i] = claim.Name
	}
	return framework.Advice{Detail: strings.Join(details, "; "), Remedies: []framework.Remedy{
		{Kind: framework.ChangeClaim, Description: "make claim " + strings.Join(names, ", ") + " anew"},
	}}
}

// advise says what keeps a claim from a volume on the node, and what would have
// to be done; that is empty if nothing can be.
func (w *obstacle) advise(node *corev1.Node) (detail, remedy string) {
	name := w.claim.Name
	switch {
	case w.pv != nil:
		return fmt.Sprintf("claim %s is being bound to volume %s that is only on %s", name, w.pv.Name, place(w.pv)), ""
	case w.node != "" && w.node != node.Name:
		return fmt.Sprintf("the volume of claim %s is being made on %s", name, w.node), ""
	}
	asked := w.size()
	class := cmp.Or(volume.GetPersistentVolumeClaimClass(w.claim), `""`)
	add := fmt.Sprintf("add a volume of class %s with %s that the node can use", class, asked.String())
	if w.reason == ReasonNoSpace {
		return w.adviseSpace(node, add)
	}
	if w.class == nil || w.class.Provisioner == "" || w.class.Provisioner == volume.NotSupportedProvisioner {
		return fmt.Sprintf("claim %s finds no free volume of class %s with %s on the node", name, class, asked.String()), add
	}
	if !storageclass.Allows(w.class, node.Labels) {
		return fmt.Sprintf("claim %s is of class %s whose volumes are made only on %s", name, class, topologies(w.class)), add
	}
	return fmt.Sprintf("claim %s finds no volume of class %s on the node", name, class), add
}

// adviseSpace says how much a volume of the claim's class can have on the node;
// add is the remedy where it can have none.
func (w *obstacle) adviseSpace(node *corev1.Node, add string) (detail, remedy string) {
	name, asked := w.claim.Name, w.size()
	largest := w.space.largest(node)
	if largest == nil || limit(largest).IsZero() {
		return fmt.Sprintf("claim %s needs %s of class %s, and %s has no space that the node can use", name, asked.String(), w.class.Name, w.class.Provisioner), add
	}
	most := limit(largest).String()
	return fmt.Sprintf("claim %s needs %s of class %s, a volume can have %s on the node", name, asked.String(), w.class.Name, most),
		fmt.Sprintf("make claim %s anew with at most %s", name, most)
}

// place is where a volume can be used.
func place(pv *corev1.PersistentVolume) string {
	if pv.Spec.NodeAffinity == nil {
		return "no node"
	}
	return framework.Where(pv.Spec.NodeAffinity.Required)
}

// topologies is where volumes of a class are made.
func topologies(class *storagev1.StorageClass) string {
	alternatives := make([]string, len(class.AllowedTopologies))
	for i, t := range class.AllowedTopologies {
		parts := make([]string, len(t.MatchLabelExpressions))
		for j, r := range t.MatchLabelExpressions {
			parts[j] = framework.Requirement(corev1.NodeSelectorRequirement{Key: r.Key, Operator: corev1.NodeSelectorOpIn, Values: r.Values})
		}
		alternatives[i] = strings.Join(parts, " and ")
	}
	return strings.Join(alternatives, " or ")
}
