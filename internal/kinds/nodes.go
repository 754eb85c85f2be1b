package kinds

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/rule"
)

func nodeColumns() []Column {
	info := corev1.NodeSystemInfo{}.SwaggerDoc()
	addresses := corev1.NodeStatus{}.SwaggerDoc()["addresses"]
	return columns(
		text("Status", "The status of the node", nodeStatus),
		text("Roles", "The roles of the node", nodeRoles),
		ageColumn(),
		text("Version", info["kubeletVersion"], func(n *corev1.Node) string { return n.Status.NodeInfo.KubeletVersion }),
		wide(text("Internal-IP", addresses, func(n *corev1.Node) string { return nodeAddress(n, corev1.NodeInternalIP) })),
		wide(text("External-IP", addresses, func(n *corev1.Node) string { return nodeAddress(n, corev1.NodeExternalIP) })),
		wide(text("OS-Image", info["osImage"], func(n *corev1.Node) string { return orUnknown(n.Status.NodeInfo.OSImage) })),
		wide(text("Kernel-Version", info["kernelVersion"], func(n *corev1.Node) string { return orUnknown(n.Status.NodeInfo.KernelVersion) })),
		wide(text("Container-Runtime", info["containerRuntimeVersion"], func(n *corev1.Node) string { return orUnknown(n.Status.NodeInfo.ContainerRuntimeVersion) })),
	)
}

func orUnknown(s string) string {
	if s == "" {
		return unknown
	}
	return s
}

func nodeStatus(n *corev1.Node) string {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		status = "NotReady"
		if c.Status == corev1.ConditionTrue {
			status = "Ready"
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

func nodeRoles(n *corev1.Node) string {
	roles := sets.New[string]()
	for key, value := range n.Labels {
		if role, ok := strings.CutPrefix(key, "node-role.kubernetes.io/"); ok && role != "" {
			roles.Insert(role)
		}
		if key == "kubernetes.io/role" && value != "" {
			roles.Insert(value)
		}
	}
	return orNone(strings.Join(sets.List(roles), ","))
}

func nodeAddress(n *corev1.Node, kind corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == kind {
			return a.Address
		}
	}
	return none
}

func nodeFields(n *corev1.Node) map[string]string {
	return map[string]string{"spec.unschedulable": strconv.FormatBool(n.Spec.Unschedulable)}
}

// nodeStrategy: an agent registers its node with its first status, so a
// creator may set it, and reports labels along with the status.
func nodeStrategy() Strategy {
	s := plain(rules[*corev1.Node]{
		update:         func(n, old *corev1.Node) { n.Status = old.Status },
		statusUpdate:   func(n, old *corev1.Node) { n.Spec = old.Spec },
		defaults:       defaultNode,
		validate:       validateNode,
		validateUpdate: validateNodeUpdate,
	})
	return s
}

func defaultNode(n *corev1.Node) {
	if len(n.Spec.PodCIDRs) == 0 && n.Spec.PodCIDR != "" {
		n.Spec.PodCIDRs = []string{n.Spec.PodCIDR}
	}
	if n.Spec.PodCIDR == "" && len(n.Spec.PodCIDRs) > 0 {
		n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	}
	if len(n.Status.Allocatable) == 0 {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
}

func validateNode(n *corev1.Node) field.ErrorList {
	errs := validateTaints(n.Spec.Taints, specPath("taints"))
	for i, cidr := range n.Spec.PodCIDRs {
		errs = append(errs, validation.IsValidCIDRForLegacyField(specPath("podCIDRs").Index(i), cidr, false, nil)...)
	}
	return errs
}

// validateNodeUpdate: what a node's pods were addressed from cannot change
// under them.
func validateNodeUpdate(n, old *corev1.Node) field.ErrorList {
	var errs field.ErrorList
	if len(old.Spec.PodCIDRs) > 0 {
		errs = append(errs, rule.Immutable(n.Spec.PodCIDRs, old.Spec.PodCIDRs, specPath("podCIDRs"))...)
	}
	if old.Spec.ProviderID != "" && n.Spec.ProviderID != old.Spec.ProviderID {
		errs = append(errs, field.Forbidden(specPath("providerID"), "node updates may not change providerID except from \"\" to valid"))
	}
	return errs
}

// validateTaints returns what is wrong with a node's taints.
func validateTaints(taints []corev1.Taint, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, t := range taints {
		at := path.Index(i)
		errs = append(errs, rule.Invalids(at.Child("key"), t.Key, validation.IsQualifiedName(t.Key))...)
		errs = append(errs, rule.Invalids(at.Child("value"), t.Value, validation.IsValidLabelValue(t.Value))...)
		errs = append(errs, rule.OneOf(t.Effect, at.Child("effect"),
			corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)...)
		key := t.Key + ":" + string(t.Effect)
		if seen.Has(key) {
			errs = append(errs, field.Duplicate(at, t))
		}
		seen.Insert(key)
	}
	return errs
}
