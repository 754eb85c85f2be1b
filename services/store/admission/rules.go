package admission

import (
	"slices"

	"navarch.dev/navarch/services/store/access"
)

// The names of the Store's rules, by which they can be switched on and off.
// They are those of Kubernetes' admission plugins.
const (
	NamespaceLifecycle       = "NamespaceLifecycle"
	LimitRanger              = "LimitRanger"
	ServiceAccount           = "ServiceAccount"
	TaintNodesByCondition    = "TaintNodesByCondition"
	PodSecurity              = "PodSecurity"
	Priority                 = "Priority"
	DefaultTolerationSeconds = "DefaultTolerationSeconds"
	DefaultStorageClass      = "DefaultStorageClass"
	StorageObjectInUse       = "StorageObjectInUseProtection"
	ClaimResize              = "PersistentVolumeClaimResize"
	RuntimeClass             = "RuntimeClass"
	CertificateRestriction   = "CertificateSubjectRestriction"
	DefaultIngressClass      = "DefaultIngressClass"
	DenyServiceExternalIPs   = "DenyServiceExternalIPs"
	PodResize                = "PodResizeValidator"
	// The rules that the cluster's users make come after the others; packages
	// webhook and policy have them.
	MutatingAdmissionPolicy    = "MutatingAdmissionPolicy"
	MutatingAdmissionWebhook   = "MutatingAdmissionWebhook"
	ValidatingAdmissionPolicy  = "ValidatingAdmissionPolicy"
	ValidatingAdmissionWebhook = "ValidatingAdmissionWebhook"
	// ResourceQuota is applied by the registry, as it charges for what is
	// written in the transaction that writes it.
	ResourceQuota = "ResourceQuota"
)

// rule is a plugin that can be chosen.
type rule struct {
	name string
	// optional rules apply only where an operator asks for them.
	optional bool
	make     func(access.Reader) Plugin
}

// rules lists every rule, as chosen, in the order in which Kubernetes applies them.
func rules(c Choice) []rule {
	return []rule{
		{name: NamespaceLifecycle, make: func(r access.Reader) Plugin { return namespaceLifecycle{reader: r} }},
		{name: LimitRanger, make: func(r access.Reader) Plugin { return limitRanger{reader: r} }},
		{name: ServiceAccount, make: func(r access.Reader) Plugin { return serviceAccount{reader: r} }},
		{name: TaintNodesByCondition, make: func(access.Reader) Plugin { return nodeTaint{} }},
		{name: PodSecurity, make: func(r access.Reader) Plugin { return podSecurity{reader: r} }},
		{name: Priority, make: func(r access.Reader) Plugin { return podPriority{reader: r} }},
		{name: DefaultTolerationSeconds, make: func(access.Reader) Plugin { return c.tolerations() }},
		{name: DefaultStorageClass, make: func(r access.Reader) Plugin { return defaultStorageClass{reader: r} }},
		{name: StorageObjectInUse, make: func(access.Reader) Plugin { return storageInUse{} }},
		{name: ClaimResize, make: func(r access.Reader) Plugin { return claimResize{reader: r} }},
		{name: RuntimeClass, make: func(r access.Reader) Plugin { return runtimeClass{reader: r} }},
		{name: CertificateRestriction, make: func(access.Reader) Plugin { return certificateSubject{} }},
		{name: DefaultIngressClass, make: func(r access.Reader) Plugin { return defaultIngressClass{reader: r} }},
		{name: DenyServiceExternalIPs, optional: true, make: func(access.Reader) Plugin { return externalIPs{} }},
		{name: PodResize, make: func(r access.Reader) Plugin { return podResize{reader: r} }},
		{name: MutatingAdmissionPolicy},
		{name: MutatingAdmissionWebhook},
		{name: ValidatingAdmissionPolicy},
		{name: ValidatingAdmissionWebhook},
		{name: ResourceQuota},
	}
}

// Names returns the names of all rules, in their order.
func Names() []string {
	var names []string
	for _, r := range rules(Choice{}) {
		names = append(names, r.name)
	}
	return names
}

// Choice is what an operator says about the rules. The zero value is the stock
// set.
type Choice struct {
	// Enabled names rules that apply although they are not in the stock set.
	Enabled []string
	// Disabled names rules that do not apply; it wins over Enabled.
	Disabled []string
	// Tolerations are how long pods that do not say so tolerate their node's
	// failure; nil is the stock time.
	Tolerations *Tolerations
}

// Tolerations are seconds for which pods stay on a node that is not ready, or
// not heard of.
type Tolerations struct {
	NotReady, Unreachable int64
}

// StockTolerations are Kubernetes'.
func StockTolerations() Tolerations { return Tolerations{NotReady: 300, Unreachable: 300} }

func (c Choice) tolerations() podTolerations {
	t := StockTolerations()
	if c.Tolerations != nil {
		t = *c.Tolerations
	}
	return podTolerations{notReady: t.NotReady, unreachable: t.Unreachable}
}

// Applies says whether a rule applies.
func (c Choice) Applies(name string) bool {
	if slices.Contains(c.Disabled, name) {
		return false
	}
	optional := slices.ContainsFunc(rules(c), func(r rule) bool { return r.name == name && r.optional })
	return !optional || slices.Contains(c.Enabled, name)
}
