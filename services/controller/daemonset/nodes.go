package daemonset

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// fit is whether a set's pod may come to be on a node, and whether one that is
// there may stay.
type fit struct{ run, stay bool }

// demand is what a set's pods ask of nodes. It is the same for all of them.
type demand struct {
	// node is the only one that the template names, "" if it names none.
	node        string
	affinity    nodeaffinity.RequiredNodeAffinity
	tolerations []corev1.Toleration
}

func demandOf(set *appsv1.DaemonSet) demand {
	pod := &corev1.Pod{Spec: *set.Spec.Template.Spec.DeepCopy()}
	addTolerations(&pod.Spec)
	return demand{pod.Spec.NodeName, nodeaffinity.GetRequiredNodeAffinity(pod), pod.Spec.Tolerations}
}

// fits judges a node by the pods' node name, selector, affinity and tolerations. A
// taint NoSchedule keeps new pods away and leaves old ones.
func (d *demand) fits(node *corev1.Node) (fit, error) {
	if d.node != "" && d.node != node.Name {
		return fit{}, nil
	}
	matches, err := d.affinity.Match(node)
	if err != nil || !matches {
		return fit{}, err
	}
	f := fit{run: true, stay: true}
	for _, taint := range node.Spec.Taints {
		if taint.Effect == corev1.TaintEffectPreferNoSchedule || tolerated(d.tolerations, taint) {
			continue
		}
		f.run = false
		f.stay = f.stay && taint.Effect != corev1.TaintEffectNoExecute
	}
	return f, nil
}

func tolerated(tolerations []corev1.Toleration, taint corev1.Taint) bool {
	for _, t := range tolerations {
		if (t.Effect != "" && t.Effect != taint.Effect) || (t.Key != "" && t.Key != taint.Key) {
			continue
		}
		if t.Operator == corev1.TolerationOpExists || (t.Key != "" && (t.Operator == "" || t.Operator == corev1.TolerationOpEqual) && t.Value == taint.Value) {
			return true
		}
	}
	return false
}

// nodeOf returns the node that a pod is on or meant for.
func nodeOf(pod *corev1.Pod) string {
	if pod.Spec.NodeName != "" {
		return pod.Spec.NodeName
	}
	a := pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, f := range term.MatchFields {
			if f.Key == nodeNameField && f.Operator == corev1.NodeSelectorOpIn && len(f.Values) == 1 {
				return f.Values[0]
			}
		}
	}
	return ""
}
