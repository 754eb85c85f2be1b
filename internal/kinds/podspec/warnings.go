package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// DeprecatedNodeLabel says what is wrong with the use of a label of nodes; false if
// nothing is.
func DeprecatedNodeLabel(key string) (message string, deprecated bool) {
	switch key {
	case "beta.kubernetes.io/arch":
		return `deprecated since v1.14; use "kubernetes.io/arch" instead`, true
	case "beta.kubernetes.io/os":
		return `deprecated since v1.14; use "kubernetes.io/os" instead`, true
	case corev1.LabelFailureDomainBetaRegion:
		return `deprecated since v1.17; use "topology.kubernetes.io/region" instead`, true
	case corev1.LabelFailureDomainBetaZone:
		return `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`, true
	case corev1.LabelInstanceType:
		return `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`, true
	case "app.kubernetes.io/created-by":
		return "deprecated since v1.9", true
	case "scheduler.alpha.kubernetes.io/preferAvoidPods":
		return "deprecated since v1.22; use Taints and Tolerations instead", true
	case "node-role.kubernetes.io/master":
		return `use "node-role.kubernetes.io/control-plane" instead`, true
	}
	return "", false
}

// notes are what an author is told of a pod. Paths are made where something is to
// be told only: most pods are in order.
type notes struct {
	pod *field.Path
	out []string
}

// Warnings returns what an author of an accepted pod probably did not mean. path is
// that of the pod or of the template; nil is the object itself.
func Warnings(meta *metav1.ObjectMeta, spec *corev1.PodSpec, path *field.Path) []string {
	n := &notes{pod: path}
	n.placement(spec)
	n.oldAnnotations(meta)
	n.volumes(spec.Volumes)
	n.repeated(spec)
	for _, name := range inBytes {
		n.bytes(name, spec.Overhead, func() *field.Path { return n.spec("overhead") })
	}
	n.profiles(meta, spec)
	n.containers(spec)
	n.ports(spec)
	if s := deref(spec.TerminationGracePeriodSeconds); s < 0 {
		n.add(n.spec("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	n.company(spec.Affinity)
	n.addresses(spec)
	return n.out
}

func (n *notes) add(at *field.Path, format string, args ...any) {
	n.out = append(n.out, at.String()+": "+fmt.Sprintf(format, args...))
}

func (n *notes) spec(names ...string) *field.Path { return n.pod.Child("spec", names...) }

func (n *notes) annotation(key string) *field.Path {
	return n.pod.Child("metadata", "annotations").Key(key)
}

// placement tells of labels of nodes that have other names now, and of spreading
// that counts no pods.
func (n *notes) placement(spec *corev1.PodSpec) {
	for _, key := range sortedKeys(spec.NodeSelector) {
		if message, ok := DeprecatedNodeLabel(key); ok {
			n.add(n.spec("nodeSelector").Key(key), "%s", message)
		}
	}
	if a := spec.Affinity; a != nil && a.NodeAffinity != nil {
		at := n.spec("affinity", "nodeAffinity")
		if r := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
			for i := range r.NodeSelectorTerms {
				n.term(&r.NodeSelectorTerms[i], false, at.Child("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms").Index(i))
			}
		}
		for i := range a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			n.term(&a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution[i].Preference, true, at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("preference"))
		}
	}
	for i := range spec.TopologySpreadConstraints {
		c := &spec.TopologySpreadConstraints[i]
		if message, ok := DeprecatedNodeLabel(c.TopologyKey); ok {
			n.add(n.spec("topologySpreadConstraints").Index(i).Child("topologyKey"), "%s is %s", c.TopologyKey, message)
		}
		n.selector(c.LabelSelector, func() *field.Path { return n.spec("topologySpreadConstraints").Index(i).Child("labelSelector") })
	}
}

func (n *notes) term(t *corev1.NodeSelectorTerm, values bool, at *field.Path) {
	for i := range t.MatchExpressions {
		e, at := &t.MatchExpressions[i], at.Child("matchExpressions").Index(i)
		if message, ok := DeprecatedNodeLabel(e.Key); ok {
			n.add(at.Child("key"), "%s is %s", e.Key, message)
		}
		if !values { // those of required terms are validated
			continue
		}
		for j, value := range e.Values {
			for _, message := range validation.IsValidLabelValue(value) {
				n.add(at.Child("values").Index(j), "%s is invalid, %s", value, message)
			}
		}
	}
}

// selector tells of none, which selects nothing.
func (n *notes) selector(s *metav1.LabelSelector, at func() *field.Path) {
	if s == nil {
		n.add(at(), "a null labelSelector results in matching no pod")
	}
}

func (n *notes) oldAnnotations(meta *metav1.ObjectMeta) {
	for _, old := range [][2]string{
		{"scheduler.alpha.kubernetes.io/critical-pod", `non-functional in v1.16+; use the "priorityClassName" field instead`},
		{"security.alpha.kubernetes.io/sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
		{"security.alpha.kubernetes.io/unsafe-sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
	} {
		if _, ok := meta.Annotations[old[0]]; ok {
			n.add(n.annotation(old[0]), "%s", old[1])
		}
	}
}

// repeated tells of items that come twice, and of pull secrets without a name.
func (n *notes) repeated(spec *corev1.PodSpec) {
	seen := sets.New[string]()
	for i := range spec.HostAliases {
		if ip := spec.HostAliases[i].IP; seen.Has(ip) {
			n.add(n.spec("hostAliases").Index(i).Child("ip"), "duplicate ip %q", ip)
		}
		seen.Insert(spec.HostAliases[i].IP)
	}
	seen = sets.New[string]()
	for i, ref := range spec.ImagePullSecrets {
		if seen.Has(ref.Name) {
			n.add(n.spec("imagePullSecrets").Index(i).Child("name"), "duplicate name %q", ref.Name)
		}
		seen.Insert(ref.Name)
	}
	for i, ref := range spec.ImagePullSecrets {
		if ref.Name == "" {
			n.add(n.spec("imagePullSecrets").Index(i).Child("name"), "invalid empty name %q", ref.Name)
		}
	}
}

// inBytes are resources that are counted in bytes.
var inBytes = [...]corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage}

// bytes tells of an amount of bytes that is none.
func (n *notes) bytes(name corev1.ResourceName, amounts corev1.ResourceList, at func() *field.Path) {
	if q, ok := amounts[name]; ok && q.MilliValue()%1000 != 0 {
		n.add(at().Key(string(name)), "fractional byte value %q is invalid, must be an integer", q.String())
	}
}

// profiles tells of profiles that annotations name and no field does.
func (n *notes) profiles(meta *metav1.ObjectMeta, spec *corev1.PodSpec) {
	if len(meta.Annotations) == 0 {
		return
	}
	old := func(key string) {
		if _, ok := meta.Annotations[key]; ok {
			n.add(n.annotation(key), `non-functional in v1.27+; use the "seccompProfile" field instead`)
		}
	}
	security := deref(spec.SecurityContext)
	if security.SeccompProfile == nil {
		old(seccompPod)
	}
	visit(spec, func(c *corev1.Container, _ func() *field.Path) {
		own := deref(c.SecurityContext)
		if own.SeccompProfile == nil {
			old(seccompContainer + c.Name)
		}
		key := "container.apparmor.security.beta.kubernetes.io/" + c.Name
		profile, ok := meta.Annotations[key]
		if ok && own.AppArmorProfile == nil && (security.AppArmorProfile == nil || !equality.Semantic.DeepEqual(security.AppArmorProfile, appArmor(profile))) {
			n.add(n.annotation(key), `deprecated since v1.30; use the "appArmorProfile" field instead`)
		}
	}, n.pod)
}

// appArmor returns the profile that an annotation names, nil if it names none.
func appArmor(annotation string) *corev1.AppArmorProfile {
	name, local := strings.CutPrefix(annotation, "localhost/")
	switch {
	case local && name != "":
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
	case annotation == "runtime/default":
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	case annotation == "unconfined":
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	}
	return nil
}

// visit calls f with each container of a pod, and with what returns its path.
func visit(spec *corev1.PodSpec, f func(c *corev1.Container, at func() *field.Path), pod *field.Path) {
	for _, list := range []struct {
		name string
		all  []corev1.Container
	}{{"initContainers", spec.InitContainers}, {"containers", spec.Containers}} {
		for i := range list.all {
			f(&list.all[i], func() *field.Path { return pod.Child("spec", list.name).Index(i) })
		}
	}
	for i := range spec.EphemeralContainers {
		f((*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon), func() *field.Path { return pod.Child("spec", "ephemeralContainers").Index(i) })
	}
}

// containers tells of variables that hide others, and of resources.
func (n *notes) containers(spec *corev1.PodSpec) {
	visit(spec, func(c *corev1.Container, at func() *field.Path) {
		for _, name := range inBytes {
			n.bytes(name, c.Resources.Limits, func() *field.Path { return at().Child("resources", "limits") })
			n.bytes(name, c.Resources.Requests, func() *field.Path { return at().Child("resources", "requests") })
		}
		seen := sets.New[string]()
		for i := range c.Env {
			env := &c.Env[i]
			self := "$(" + env.Name + ")"
			extends := env.ValueFrom == nil && env.Value != self && strings.Contains(env.Value, self)
			if seen.Has(env.Name) && !extends {
				n.add(at().Child("env").Index(i), "hides previous definition of %q, which may be dropped when using apply", env.Name)
			}
			seen.Insert(env.Name)
		}
	}, n.pod)
}

// company tells of terms about other pods that select none.
func (n *notes) company(a *corev1.Affinity) {
	if a == nil {
		return
	}
	terms := func(name string, required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i := range required {
			n.selector(required[i].LabelSelector, func() *field.Path {
				return n.spec("affinity", name, "requiredDuringSchedulingIgnoredDuringExecution").Index(i).Child("labelSelector")
			})
		}
		for i := range preferred {
			n.selector(preferred[i].PodAffinityTerm.LabelSelector, func() *field.Path {
				return n.spec("affinity", name, "preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("podAffinityTerm", "labelSelector")
			})
		}
	}
	if p := a.PodAffinity; p != nil {
		terms("podAffinity", p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		terms("podAntiAffinity", p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

// addresses tells of IP addresses that are read in more than one way.
func (n *notes) addresses(spec *corev1.PodSpec) {
	if spec.DNSConfig != nil {
		for i, server := range spec.DNSConfig.Nameservers {
			n.out = append(n.out, validation.GetWarningsForIP(n.spec("dnsConfig", "nameservers").Index(i), server)...)
		}
	}
	for i := range spec.HostAliases {
		n.out = append(n.out, validation.GetWarningsForIP(n.spec("hostAliases").Index(i).Child("ip"), spec.HostAliases[i].IP)...)
	}
}
