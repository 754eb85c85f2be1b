package kinds

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"navarch.dev/navarch/internal/kinds/podspec"
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
		create:         func(*corev1.Node) {},
		update:         func(n, old *corev1.Node) { n.Status = old.Status },
		statusUpdate:   func(n, old *corev1.Node) { n.Spec = old.Spec },
		defaults:       defaultNode,
		warnings:       warnOfNode,
		validate:       validateNode,
		validateUpdate: validateNodeUpdate,
		validateStatus: validateNodeStatus,
	})
	return s
}

func defaultNode(n *corev1.Node) {
	if first := n.Spec.PodCIDR; first != "" && (len(n.Spec.PodCIDRs) == 0 || n.Spec.PodCIDRs[0] != first) {
		n.Spec.PodCIDRs = []string{first} // what an older client has set
	}
	if n.Spec.PodCIDR == "" && len(n.Spec.PodCIDRs) > 0 {
		n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	}
	if len(n.Status.Allocatable) == 0 {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
}

func validateNode(n *corev1.Node) field.ErrorList {
	return rule.Join(
		validateTaints(n.Spec.Taints, field.NewPath("metadata", "taints")),
		rule.Each(n.Spec.PodCIDRs, specPath("podCIDRs"), func(cidr *string, at *field.Path) field.ErrorList { return rule.CIDR(*cidr, at) }),
		rule.OnePerFamily(n.Spec.PodCIDRs, n.Spec.PodCIDRs, "CIDR", specPath("podCIDRs")),
		validateNodeResources(n),
	)
}

// warnOfNode warns of fields without effect, and of ranges that some read in another way.
func warnOfNode(n *corev1.Node) (out []string) {
	if n.Spec.ConfigSource != nil { //nolint:staticcheck // stored nodes may still have it
		out = append(out, "spec.configSource: the feature is removed")
	}
	if n.Spec.DoNotUseExternalID != "" {
		out = append(out, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
	}
	for i, cidr := range n.Spec.PodCIDRs {
		out = append(out, validation.GetWarningsForCIDR(specPath("podCIDRs").Index(i), cidr)...)
	}
	return out
}

// declaredFeature is what a node can call a feature that it has.
var declaredFeature = regexp.MustCompile(`^[A-Z][a-zA-Z0-9]*(/[a-zA-Z][a-zA-Z0-9]*)*$`)

// validateFeatures: the features that a node says it has are sorted, each once.
func validateFeatures(features []string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, f := range features {
		at := at.Index(i)
		switch {
		case len(f) > validation.DNS1123SubdomainMaxLength:
			errs = append(errs, field.Invalid(at, f, fmt.Sprintf("invalid feature name %q: must be no more than %d characters", f, validation.DNS1123SubdomainMaxLength)))
		case !declaredFeature.MatchString(f):
			errs = append(errs, field.Invalid(at, f, fmt.Sprintf("invalid feature name %q: must start with an UpperCamelCase segment, with subsequent segments separated by '/' "+
				"(e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes", f)))
		}
		switch {
		case i > 0 && features[i-1] == f:
			errs = append(errs, field.Duplicate(at, f))
		case i > 0 && features[i-1] > f:
			errs = append(errs, field.Invalid(at, f, "list must be sorted alphabetically"))
		}
	}
	return errs
}

func validateNodeResources(n *corev1.Node) field.ErrorList {
	errs := validateFeatures(n.Status.DeclaredFeatures, field.NewPath("status", "declaredFeatures"))
	for _, list := range []struct {
		field  string
		values corev1.ResourceList
	}{{"capacity", n.Status.Capacity}, {"allocatable", n.Status.Allocatable}} {
		for _, name := range slices.Sorted(maps.Keys(list.values)) {
			errs = append(errs, podspec.ValidateQuantity(name, list.values[name], field.NewPath("status", list.field, string(name)))...)
		}
	}
	return errs
}

// validateNodeUpdate: what a node's pods were addressed from cannot change
// under them.
func validateNodeUpdate(n, old *corev1.Node) field.ErrorList {
	var errs field.ErrorList
	if was := old.Spec.PodCIDRs; len(was) > 0 && !slices.Equal(n.Spec.PodCIDRs, was) {
		errs = append(errs, field.Forbidden(specPath("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid"))
	}
	errs = append(errs, rule.Kept(n.Spec.ProviderID, old.Spec.ProviderID, specPath("providerID"))...)
	if n.Spec.DoNotUseExternalID != old.Spec.DoNotUseExternalID {
		errs = append(errs, field.Forbidden(specPath("externalID"), "may not be updated"))
	}
	return errs
}

func validateNodeStatus(n, _ *corev1.Node) field.ErrorList {
	seen := rule.Seen[corev1.NodeAddress]{}
	return rule.Join(validateNodeResources(n),
		rule.Each(n.Status.Addresses, field.NewPath("status", "addresses"), func(a *corev1.NodeAddress, at *field.Path) field.ErrorList {
			return seen.Once(*a, at)
		}))
}

// validateTaints returns what is wrong with a node's taints.
func validateTaints(taints []corev1.Taint, at *field.Path) field.ErrorList {
	seen := rule.Seen[string]{}
	return rule.Each(taints, at, func(t *corev1.Taint, at *field.Path) field.ErrorList {
		errs := metavalidation.ValidateLabelName(t.Key, at.Child("key"))
		if messages := validation.IsValidLabelValue(t.Value); len(messages) > 0 {
			errs = append(errs, field.Invalid(at.Child("value"), t.Value, strings.Join(messages, ";")))
		}
		errs = append(errs, podspec.ValidateTaintEffect(t.Effect, at.Child("effect"))...)
		if len(seen.Once(t.Key+":"+string(t.Effect), at)) > 0 {
			twice := field.Duplicate(at, *t)
			twice.Detail = "taints must be unique by key and effect pair"
			errs = append(errs, twice)
		}
		return errs
	})
}
